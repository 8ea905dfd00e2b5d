"""A training in progress: the folder `RUN.unfinished`, locked, with a checkpoint to continue from.

It becomes the run folder by one rename, when all of it is written.
"""

import os
import shutil
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, TypeVar
from zipfile import BadZipFile

import msgspec
import numpy as np

from facectl_runtime.errors import UsageError, reason
from facectl_runtime.files import scratch_beside, swap_in
from facectl_trainer.fit import DivergedError, Position

_T = TypeVar("_T")
_DAMAGED = (OSError, ValueError, LookupError, AssertionError, EOFError, BadZipFile, zlib.error)
"""What reading a checkpoint that is damaged raises, beside TensorFlow's own errors."""
_CHECKPOINT, _JOB, _LOCK = "checkpoint", "job.json", "lock"


class Unfinished:
    """The folder of a training in progress. Made by `begin`, which holds its lock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._every = 10.0  # seconds between checkpoints: a run loses no more than that
        self._saved = time.monotonic()
        self._usable = True

    @property
    def _checkpoint(self) -> Path:
        return self.folder / _CHECKPOINT

    def claim(self, identity: dict[str, Any]) -> None:
        """Note what is trained here or, where a checkpoint is to be continued, check that it is the same.

        Raises `UsageError` naming what differs.
        """
        note = self.folder / _JOB
        encoded = msgspec.json.encode(identity)
        if self._checkpoint.exists():
            before = _read(note, dict[str, Any])
            if changed := [key for key, value in msgspec.json.decode(encoded).items() if before.get(key) != value]:
                raise UsageError(  # the first is the cause of those that follow
                    f"{self.folder}: was begun with another {changed[0]}, and cannot be continued with this one; "
                    "give what was given then, or --force to begin anew"
                )
        with scratch_beside(note) as scratch:
            (scratch / _JOB).write_bytes(encoded)
            (scratch / _JOB).replace(note)

    def save(self, model: Any, optimizer: Any, position: Position, best: list[Any], *, now: bool = False) -> None:
        """Write a checkpoint, where the last is old enough or `now`. A full disk costs the checkpoint, not the run.

        Pass None for the optimizer where a stage is done.
        """
        if not self._usable or not (now or time.monotonic() - self._saved >= self._every):
            return
        import tensorflow as tf

        try:
            with scratch_beside(self._checkpoint) as scratch:
                new = scratch / _CHECKPOINT
                new.mkdir()
                _checkpoint(model, optimizer).write(str(new / "values"))
                np.savez(new / "best.npz", *best)
                (new / "position.json").write_bytes(msgspec.json.encode(asdict(position)))
                swap_in(new, self._checkpoint, replace=True)
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
        path = self._checkpoint / "position.json"
        return _read(path, Position) if self._checkpoint.exists() else Position()

    def restore(self, model: Any, optimizer: Any) -> list[Any]:
        """Set the values of the checkpoint; gives the best weights so far. Raises `UsageError` where it is damaged.

        Pass None for the optimizer of a stage that has not begun.
        """
        import tensorflow as tf

        try:
            kept = _checkpoint(model, optimizer).read(str(self._checkpoint / "values"))
            kept.expect_partial().assert_existing_objects_matched()
            with np.load(self._checkpoint / "best.npz", allow_pickle=False) as arrays:
                return [arrays[f"arr_{number}"] for number in range(len(arrays.files))]
        except (*_DAMAGED, tf.errors.OpError) as error:
            raise UsageError(
                f"{self._checkpoint}: cannot be read ({reason(error)}); give --force to begin anew"
            ) from error

    def finish(self, out: Path, *, replace: bool) -> None:
        """Make this folder the run folder `out`; where that fails, it stays as it is."""
        for half in self.folder.glob(f".{_CHECKPOINT}.*"):  # of a training that was killed
            shutil.rmtree(half, ignore_errors=True)
        swap_in(self.folder, out, replace=replace)
        shutil.rmtree(out / _CHECKPOINT, ignore_errors=True)
        for rest in (_JOB, _LOCK):
            (out / rest).unlink(missing_ok=True)


def _read(path: Path, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read ({reason(error)}); give --force to begin anew") from error


def _checkpoint(model: Any, optimizer: Any) -> Any:
    import tensorflow as tf

    return tf.train.Checkpoint(model=model, **({} if optimizer is None else {"optimizer": optimizer}))


def can_resume(out: Path) -> bool:
    """Say whether a training of `out` was interrupted and left a checkpoint."""
    return (_folder(out) / _CHECKPOINT).exists()


def _folder(out: Path) -> Path:
    return out.parent / f"{out.name}.unfinished"


@contextmanager
def begin(out: Path, *, resume: bool, force: bool) -> Iterator[Unfinished]:
    """Lock and give the folder in which a run is made; without a checkpoint in it, it goes where training fails.

    Raises `UsageError` where another training is at work there, where one was interrupted and neither `resume` nor
    `force` says what to do about it, and where there is nothing to resume.
    """
    folder = _folder(out)
    if resume and not can_resume(out):
        raise UsageError(f"{out}: no interrupted training to continue; leave --resume out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / _LOCK).open("w")
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written ({error.strerror}); give another place with --out") from error
    with lock:
        if not _locked(lock):
            raise UsageError(f"{out}: another training is at work there; wait for it, or give another --out")
        if not (folder / _LOCK).exists() or not os.path.samestat(os.fstat(lock.fileno()), (folder / _LOCK).stat()):
            raise UsageError(f"{out}: another training has just ended there; look at it, or give another --out")
        unfinished = Unfinished(folder)
        if (folder / _CHECKPOINT).exists() and not (resume or force):
            stands = unfinished.position()
            raise UsageError(
                f"{out}: a training was interrupted there in stage {stands.stage + 1} after {len(stands.history)} "
                "epochs; give --resume to continue it, or --force to begin anew"
            )
        if not resume:
            _clear(folder)
        try:
            yield unfinished
        except DivergedError:  # continued, it would come to the same end
            shutil.rmtree(folder / _CHECKPOINT, ignore_errors=True)
            raise
        except KeyboardInterrupt:
            print(_kept(unfinished), file=sys.stderr)
            raise
        finally:
            if folder.exists() and not (folder / _CHECKPOINT).exists():
                shutil.rmtree(folder, ignore_errors=True)


def _kept(unfinished: Unfinished) -> str:
    """Say what an interrupted training leaves."""
    if (unfinished.folder / _CHECKPOINT).exists():
        epochs = len(unfinished.position().history)
        return f"{unfinished.folder} keeps this training as it was after {epochs} epochs; --resume continues it"
    return "nothing of this training is kept: the first checkpoint comes at the end of an epoch, after ten seconds"


def _locked(lock: IO[str]) -> bool:
    """Lock a file until it is closed; False where another process holds it."""
    if sys.platform == "win32":  # it has no such locks
        return True
    import fcntl

    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _clear(folder: Path) -> None:
    """Remove what an earlier training left, all but the lock that is held."""
    for entry in folder.iterdir():
        if entry.name != _LOCK:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
