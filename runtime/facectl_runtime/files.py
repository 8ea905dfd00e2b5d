"""Files and folders that appear whole or not at all: written beside, then renamed."""

import errno
import glob
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from facectl_runtime.errors import FacectlError, UsageError, reason

_NEW = ".facectl.new."  # how a folder begins that is about to be locked
_AT_CWD, _EXCHANGE = -100, 2  # AT_FDCWD, and RENAME_EXCHANGE of Linux as well as RENAME_SWAP of macOS
_FULL = (errno.ENOSPC, errno.EDQUOT)
# What an old kernel says, a file system without it, and a container that does not let it through.
_NOT_HERE = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM)


@contextmanager
def scratch_beside(target: Path) -> Iterator[Path]:
    """Give an empty folder on `target`'s file system, removed at the end whatever happens.

    Raises what `unwritable` gives where `target`'s parent cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch, lock = _new_scratch(target)
    except OSError as error:
        raise unwritable(str(target), error) from error
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def unwritable(what: str, error: BaseException) -> FacectlError:
    """Give the error to raise for a place that cannot be written: of usage, unless its disk is full."""
    why = f"{what}: cannot be written ({getattr(error, 'strerror', None) or reason(error)})"
    if getattr(error, "errno", None) in _FULL:
        return FacectlError(f"{why}; make room, or give another place")
    return UsageError(f"{why}; give another place")


def _new_scratch(target: Path) -> tuple[Path, int | None]:
    """Make an empty folder that takes the name that `remove_abandoned` looks for once it is locked."""
    new = Path(tempfile.mkdtemp(prefix=_NEW, dir=target.parent))
    lock = _locked(new)
    try:
        return new.rename(new.with_name(_scratch_name(target) + new.name.removeprefix(_NEW))), lock
    except OSError:  # such as of a name that is too long
        new.rmdir()
        if lock is not None:
            os.close(lock)
        raise


def remove_abandoned(target: Path) -> None:
    """Remove what `scratch_beside` made for `target` in processes that were killed; one still at work keeps its own."""
    for folder in target.parent.glob(f"{glob.escape(_scratch_name(target))}*"):
        if (lock := _locked(folder)) is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def _scratch_name(target: Path) -> str:
    return f".{target.name}.facectl."


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Wait until no other process has a folder for itself, and have it; where there are no locks, go on at once."""
    lock = _locked(folder, wait=True)
    try:
        yield
    finally:
        if lock is not None:
            os.close(lock)


def _locked(folder: Path, *, wait: bool = False) -> int | None:
    """Lock a folder until the descriptor given is closed; None where there are no locks, or another process has it.

    With `wait`, what another has is waited for.
    """
    try:
        import fcntl

        descriptor = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # also of a file system without locks, as some that come over a network
        os.close(descriptor)
        return None
    return descriptor


def swap_in(new: Path, target: Path, *, replace: bool = False) -> None:
    """Rename the folder `new` to `target`.

    With `replace`, what stands at `target` is removed once the new one is in its place, and stays where that fails; see
    `exchange`. Without, raises `UsageError` where something has come to stand there.
    """
    if not replace:
        try:
            new.rename(target)  # takes over an empty folder, and nothing else
        except OSError as error:
            raise UsageError(f"{target}: already there ({error.strerror}); give another place") from error
    elif not os.path.lexists(target):
        new.rename(target)
    else:
        exchange(new, target)
        _remove(new)


def exchange(new: Path, target: Path) -> None:
    """Let two files or folders of one file system change places.

    Linux and macOS do it in one step, so that a process killed at any moment leaves one of the two, whole, at `target`.
    Where the system or the file system cannot, it takes renames, and between them nothing stands there. Raises
    `OSError` where it fails; each is then where it was.
    """
    if _exchanged_at_once(new, target):
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent)) / target.name
    try:
        target.rename(aside)
        new.rename(target)
    finally:
        if os.path.lexists(aside):
            aside.rename(new if os.path.lexists(target) else target)
        aside.parent.rmdir()


def _exchanged_at_once(new: Path, target: Path) -> bool:
    """Ask the system for it; false where it cannot. Raises `OSError`."""
    if sys.platform == "win32":
        return False
    import ctypes

    libc, first, second = ctypes.CDLL(None, use_errno=True), os.fsencode(new), os.fsencode(target)
    if sys.platform == "darwin":
        failed = libc.renamex_np(first, second, _EXCHANGE)
    elif hasattr(libc, "renameat2"):
        failed = libc.renameat2(_AT_CWD, first, _AT_CWD, second, _EXCHANGE)
    else:
        return False
    number = ctypes.get_errno()
    if failed and number not in _NOT_HERE:
        raise OSError(number, os.strerror(number), str(target))
    return not failed


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
