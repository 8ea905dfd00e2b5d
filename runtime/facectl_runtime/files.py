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


def swap_in(new: Path, target: Path) -> None:
    """Rename the folder `new` to `target`; what stood there is removed only once the new one is in its place."""
    if not target.exists():
        new.rename(target)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent)) / target.name
    target.rename(old)
    try:
        new.rename(target)
    except BaseException:
        old.rename(target)
        raise
    finally:
        shutil.rmtree(old.parent, ignore_errors=True)
