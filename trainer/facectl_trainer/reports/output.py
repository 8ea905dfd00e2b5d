"""Where reports are written: whole or not at all, and over nothing unasked."""

import os
from pathlib import Path

from facectl_runtime.errors import UsageError
from facectl_runtime.files import scratch_beside


def check_out(target: Path, force: bool, option: str = "--out") -> None:
    """Refuse a file that is there, and a folder, before any work is done. Raises `UsageError`."""
    if target.is_dir():
        raise UsageError(f"{target}: a folder; give the name of a file with {option}")
    if target.exists() and not force:
        raise UsageError(f"{target}: already there; give another {option}, or --force to replace it")


def check_writable(target: Path, option: str = "--out") -> None:
    """Refuse a place where no file can be made, before any work is done. Raises `UsageError`."""
    there = next(folder for folder in target.absolute().parents if os.path.lexists(folder))
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        why = "may not be written" if there.is_dir() else "is no folder"
        raise UsageError(f"{target}: cannot be written ({there} {why}); give another {option}")


def check_png(target: Path) -> None:
    """Refuse a name that would hide that a picture is a PNG. Raises `UsageError`."""
    if target.suffix.lower() != ".png":
        raise UsageError(f"{target}: the picture is a PNG; give a name that ends in .png")


def write_whole(target: Path, content: bytes) -> None:
    """Write a file beside, then rename it. Raises `UsageError` where the folder cannot be written."""
    with scratch_beside(target) as scratch:
        whole = scratch / target.name
        whole.write_bytes(content)
        whole.replace(target)
