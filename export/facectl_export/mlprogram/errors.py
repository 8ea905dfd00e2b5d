"""What can be wrong with a program, in one line each."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from facectl_runtime.errors import FacectlError, ModelError, NoEngineError, reason

_ODD = (ValueError, IndexError, KeyError, TypeError, ArithmeticError, AssertionError)
"""What numpy, onnx and Python raise for a program that contradicts itself."""


class UnsupportedError(NoEngineError):
    """A sound program asks for what this reader does not know; Core ML may."""


def damaged(path: Path, part: str, what: str) -> ModelError:
    """Say that a part of a package is not what it should be."""
    return ModelError(f"{path}: damaged {part} ({what}); copy or export the package again")


@contextmanager
def blamed(path: Path, what: str) -> Iterator[None]:
    """Turn what goes wrong inside into one line that names its place in the program. Raises `ModelError`."""
    try:
        yield
    except FacectlError:
        raise
    except _ODD as error:
        raise damaged(path, "program", f"{what}: {type(error).__name__}, {reason(error)}") from error
