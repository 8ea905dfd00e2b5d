"""Files and folders that appear whole or not at all: written beside, then renamed."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from facectl_runtime.errors import UsageError


@contextmanager
def scratch_beside(target: Path) -> Iterator[Path]:
    """Give an empty folder on `target`'s file system, removed at the end whatever happens.

    Raises `UsageError` where `target`'s parent cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise UsageError(f"{target}: cannot be written ({error.strerror}); give another place") from error
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def swap_in(new: Path, target: Path, *, replace: bool = False) -> None:
    """Rename the folder `new` to `target`.

    With `replace`, what stands at `target` is removed once the new one is in its place, and put back where that fails.
    Without, raises `UsageError` where something has come to stand there.
    """
    if not replace:
        try:
            new.rename(target)  # takes over an empty folder, and nothing else
        except OSError as error:
            raise UsageError(f"{target}: already there ({error.strerror}); give another place") from error
        return
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent)) / target.name
    try:
        if target.exists():
            target.rename(old)
        new.rename(target)
    finally:
        if old.exists() and not target.exists():
            old.rename(target)
        shutil.rmtree(old.parent, ignore_errors=True)
