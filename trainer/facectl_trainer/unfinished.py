"""A training in progress: the folder `RUN.unfinished`, locked, with a checkpoint to continue from.

It becomes the run folder by one rename, when all of it is written.
"""

import os
import shutil
import sys
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, TypeVar
from zipfile import BadZipFile

import msgspec
import numpy as np

from facectl_runtime.errors import UsageError, counted, reason
from facectl_runtime.files import scratch_beside, swap_in
from facectl_trainer.fit import DivergedError, Position

_T = TypeVar("_T")
_DAMAGED = (OSError, ValueError, LookupError, AssertionError, EOFError, BadZipFile, zlib.error)
"""What reading a checkpoint that is damaged raises, beside TensorFlow's own errors."""
_CHECKPOINT, _JOB, _LOCK = "checkpoint", "job.json", "lock"
SUFFIX = ".unfinished"
_ANEW = "give --force in place of --resume to begin anew"


class Unfinished:
    """The folder of a training in progress. Made by `begin`, which holds its lock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._every = 10.0  # seconds between checkpoints: a run loses no more than that and an epoch
        self._saved = time.monotonic()
        self._usable = True

    def check(self, identity: dict[str, Any]) -> None:
        """Refuse to continue what was begun with another value of a key. Raises `UsageError` naming it."""
        if not _checkpoints(self.folder):
            return
        before = _read(self.folder / _JOB, dict[str, Any])
        plain = msgspec.json.decode(msgspec.json.encode(identity))
        if changed := [_named(key, before.get(key), value) for key, value in plain.items() if before.get(key) != value]:
            raise UsageError(  # the first is the cause of those that follow
                f"{self.folder}: was begun with another {changed[0]}, and cannot be continued with this one; "
                "give what was given then, or --force in place of --resume to begin anew"
            )

    def claim(self, identity: dict[str, Any]) -> None:
        """Note what is trained here. Raises `UsageError` as `check`."""
        self.check(identity)
        note = self.folder / _JOB
        with scratch_beside(note) as scratch:
            (scratch / _JOB).write_bytes(msgspec.json.encode(identity))
            (scratch / _JOB).replace(note)

    def save(self, model: Any, optimizer: Any, position: Position, best: list[Any], *, now: bool = False) -> None:
        """Write a checkpoint, where the last is old enough or `now`. A full disk costs the checkpoint, not the run.

        Pass None for the optimizer where a stage is done.
        """
        if not self._usable or not (now or time.monotonic() - self._saved >= self._every):
            return
        import tensorflow as tf

        before = _checkpoints(self.folder)
        place = self.folder / f"{_CHECKPOINT}-{_number(before) + 1:06d}"
        try:
            with scratch_beside(place) as scratch:
                new = scratch / place.name
                new.mkdir()
                _checkpoint(model, optimizer).write(str(new / "values"))
                np.savez(new / "best.npz", *best)
                (new / "position.json").write_bytes(msgspec.json.encode(asdict(position)))
                _sync(new)
                new.rename(place)
            for older in before:  # never before the new one is whole: a kill or a power cut leaves one of the two
                shutil.rmtree(older, ignore_errors=True)
            self._saved = time.monotonic()
        except (OSError, UsageError, tf.errors.OpError) as error:
            self._usable = False
            print(
                f"facectl: no checkpoint could be written to {self.folder} ({reason(error)}); going on without, so "
                "that an interruption would lose this training",
                file=sys.stderr,
            )

    def position(self) -> Position:
        """Give where the checkpoint stands; the very beginning where there is none. Raises `UsageError`."""
        kept = _checkpoints(self.folder)
        return _read(kept[-1] / "position.json", Position) if kept else Position()

    def restore(self, model: Any, optimizer: Any) -> list[Any]:
        """Set the values of the checkpoint; gives the best weights so far. Raises `UsageError` where it is damaged.

        Pass None for the optimizer of a stage that has not begun.
        """
        import tensorflow as tf

        place = _checkpoints(self.folder)[-1]
        try:
            kept = _checkpoint(model, optimizer).read(str(place / "values"))
            kept.expect_partial().assert_existing_objects_matched()
            with np.load(place / "best.npz", allow_pickle=False) as arrays:
                return [arrays[f"arr_{number}"] for number in range(len(arrays.files))]
        except (*_DAMAGED, tf.errors.OpError) as error:
            raise UsageError(f"{place}: cannot be read ({reason(error)}); {_ANEW}") from error

    def finish(self, out: Path, *, replace: bool) -> None:
        """Make this folder the run folder `out`; where that fails, it stays as it is."""
        for half in self.folder.glob(f".{_CHECKPOINT}*"):  # of a training that was killed
            shutil.rmtree(half, ignore_errors=True)
        try:
            swap_in(self.folder, out, replace=replace)
        except UsageError as error:
            raise UsageError(
                f"{out}: the finished run cannot be renamed to it ({reason(error.__cause__ or error)}); move what is "
                f"there away and give --resume: {self.folder} keeps all of this training"
            ) from error
        _drop_checkpoints(out)
        for rest in (_JOB, _LOCK):
            (out / rest).unlink(missing_ok=True)


def _read(path: Path, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read ({reason(error)}); {_ANEW}") from error


def _named(key: str, before: Any, now: Any) -> str:
    """Name what differs: of a table its keys, of what is short its value then."""
    if isinstance(before, dict) and isinstance(now, dict) and len(before) < 50:
        return f"{key} ({', '.join(each for each in now if before.get(each) != now[each])})"
    return f"{key} ({before})" if isinstance(before, str | int) and len(str(before)) < 50 else key


def _checkpoint(model: Any, optimizer: Any) -> Any:
    import tensorflow as tf

    return tf.train.Checkpoint(model=model, **({} if optimizer is None else {"optimizer": optimizer}))


def _checkpoints(folder: Path) -> list[Path]:
    """Give the whole checkpoints in a folder, the newest last."""
    return sorted(folder.glob(f"{_CHECKPOINT}-*"))


def _number(checkpoints: Sequence[Path]) -> int:
    return int(checkpoints[-1].name.rpartition("-")[2]) if checkpoints else 0


def _drop_checkpoints(folder: Path) -> None:
    for checkpoint in _checkpoints(folder):
        shutil.rmtree(checkpoint, ignore_errors=True)


def _sync(folder: Path) -> None:
    """Wait until the files of a folder are on the disk."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def can_resume(out: Path) -> bool:
    """Say whether a training of `out` was interrupted and left a checkpoint."""
    return bool(_checkpoints(_folder(out)))


def _folder(out: Path) -> Path:
    return out.parent / f"{out.name}{SUFFIX}"


@contextmanager
def begin(out: Path, *, resume: bool, force: bool) -> Iterator[Unfinished]:
    """Lock and give the folder in which a run is made; without a checkpoint in it, it goes where training fails.

    Raises `UsageError` where another training is at work there, where one was interrupted and neither `resume` nor
    `force` says what to do about it, and where there is nothing to resume.
    """
    folder = _folder(out)
    if resume and not can_resume(out):
        raise UsageError(f"{out}: no interrupted training to continue; leave --resume out")
    with _open_lock(folder) as lock:
        if not _locked(lock):
            raise UsageError(f"{out}: another training is at work there; wait for it, or give another --out")
        if not (folder / _LOCK).exists() or not os.path.samestat(os.fstat(lock.fileno()), (folder / _LOCK).stat()):
            raise UsageError(f"{out}: another training has just ended there; look at it, or give another --out")
        unfinished = Unfinished(folder)
        if can_resume(out) and not (resume or force):
            stands = unfinished.position()
            epochs = counted(len(stands.history), "epoch")
            raise UsageError(
                f"{out}: a training was interrupted there in stage {stands.stage + 1} after {epochs}; "
                "give --resume to continue it, or --force to begin anew"
            )
        if not resume:
            _clear(folder)
        try:
            yield unfinished
        except DivergedError:  # continued, it would come to the same end
            _drop_checkpoints(folder)
            raise
        except KeyboardInterrupt:
            print(_kept(unfinished), file=sys.stderr)
            raise
        finally:
            if folder.exists() and not _checkpoints(folder):
                _clear(folder)  # the lock goes last: without it, what is left would be taken for somebody's own
                shutil.rmtree(folder, ignore_errors=True)


def _kept(unfinished: Unfinished) -> str:
    """Say what an interrupted training leaves."""
    if _checkpoints(unfinished.folder):
        epochs = counted(len(unfinished.position().history), "epoch")
        return f"{unfinished.folder} keeps this training as it was after {epochs}; --resume continues it"
    return "nothing of this training is kept: the first checkpoint comes at the end of an epoch, after ten seconds"


def _open_lock(folder: Path) -> IO[str]:
    """Open the lock of a folder, which may be new. Raises `UsageError` where the folder is somebody's own."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()) and not (folder / _LOCK).is_file():
            raise UsageError(
                f"{folder}: is where this training would be kept until it is done, and holds something else; move "
                "that, or give another --out"
            )
        return (folder / _LOCK).open("w")
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written ({error.strerror}); give another place with --out") from error


def _locked(lock: IO[str]) -> bool:
    """Lock a file until it is closed; False where another process holds it."""
    if sys.platform == "win32":  # it has no such locks
        return True
    import fcntl

    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks, as some that come over a network
        return True
    return True


def _clear(folder: Path) -> None:
    """Remove what an earlier training left, all but the lock that is held."""
    for entry in folder.iterdir():
        if entry.name != _LOCK:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
