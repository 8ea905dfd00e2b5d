"""The contents of images as their SHA-256, by which copies are told."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path

from facectl_runtime.labelled import content_hash
from facectl_runtime.sources import display_name

Progress = Callable[[str, int], AbstractContextManager[Callable[[float], None]]]
"""Shows how far a work has come: given its name and its steps."""


def contents(root: Path, paths: Iterable[str], advance: Callable[[int], None]) -> tuple[dict[str, str], dict[str, str]]:
    """Give ({path below `root`: SHA-256}, {path: why it has none}); `advance` is told of each.

    None has a name that is not UTF-8: no split file and no table could hold it.
    """
    hashes, left_out = {}, {}
    for path in paths:
        if (shown := display_name(path)) != path:
            left_out[shown] = "its name is not UTF-8; rename it"
        elif why := why_unreadable(root / path):
            left_out[path] = why
        else:
            hashes[path] = content_hash(root / path)
        advance(1)
    return hashes, left_out


def why_unreadable(path: Path) -> str | None:
    """Say why a file cannot be read at all, or None where it can. What its bytes mean is not looked at."""
    try:
        if not path.is_file():
            return "is not a file, or a link to nothing; give an image file"
        with path.open("rb") as file:
            return None if file.read(1) else "is empty (0 bytes); give an image file"
    except OSError as error:
        return f"cannot be read: {error.strerror}; check its permissions"
