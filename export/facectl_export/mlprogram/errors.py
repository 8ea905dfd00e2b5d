"""What can be wrong with a program, in one line each."""

from pathlib import Path

from facectl_runtime.errors import ModelError, NoEngineError


class UnsupportedError(NoEngineError):
    """A sound program asks for what this reader does not know; Core ML may."""


def damaged(path: Path, part: str, what: str) -> ModelError:
    """Say that a part of a package is not what it should be."""
    return ModelError(f"{path}: damaged {part} ({what}); copy or export the package again")
