"""Each photograph looked at once, on every core: whether it can be read, its content, its kind, its sharpness."""

import hashlib
import os
import signal
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path
from threading import Thread, active_count
from typing import NamedTuple

import numpy as np
from PIL import Image

from facectl_runtime.blur import blur
from facectl_runtime.devices import usable_cores
from facectl_runtime.errors import FacectlError, ImageError
from facectl_runtime.image import Header, decode_with_header, read
from facectl_runtime.spec import InputSpec, Squash
from facectl_trainer.data.check.perceptual import SIDE, Thumbnails, thumbnail
from facectl_trainer.data.contents import Progress
from facectl_trainer.pixels import room

_SPEC = InputSpec(width=256, height=256, resize=Squash())
"""JPEGs of more than three times this are decoded at reduced scale: what is looked at is smaller still."""
CLOSE = 64
"""Pixels of the side of a picture that is looked at in more detail."""
_CHUNK = 32  # photographs that a process is given at a time


class Look(NamedTuple):
    """What was seen of one photograph."""

    sha256: str
    """Of the file's bytes."""
    header: Header
    blur: float
    """From 0 (sharp) to 1."""

    @property
    def upright(self) -> tuple[int, int]:
        """Give width and height in pixels as people see it."""
        size = (self.header.width, self.header.height)
        return (size[1], size[0]) if self.header.orientation >= 5 else size


@dataclass(frozen=True)
class Scanned:
    """Photographs that could be read, and those that could not."""

    looks: dict[str, Look]
    """By path."""
    thumbnails: Thumbnails
    """N × SIDE × SIDE, in the order of `looks`."""
    errors: dict[str, str]
    """Path → why."""


def scan(root: Path, paths: Sequence[str], progress: Progress) -> Scanned:
    """Look at each photograph below `root`; some 2 kB of each are kept.

    Raises `FacectlError` where a process that reads is ended from outside, as for want of memory.
    """
    looks: dict[str, Look] = {}
    errors: dict[str, str] = {}
    thumbnails = room((len(paths), SIDE, SIDE), np.uint8)
    some = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
    # The processes come first: the progress bar has a thread, with which there is no fork.
    with (
        _seen([[root / path for path in chunk] for chunk in some]) as each,
        progress("looking at photographs", len(paths)) as advance,
    ):
        for chunk, (seen, small) in zip(some, each, strict=True):
            thumbnails[len(looks) : len(looks) + len(small)] = small
            looks |= {path: one for path, one in zip(chunk, seen, strict=True) if isinstance(one, Look)}
            errors |= {path: one for path, one in zip(chunk, seen, strict=True) if isinstance(one, str)}
            advance(len(chunk))
    return Scanned(looks, thumbnails[: len(looks)], errors)


def look(data: bytes) -> tuple[Look, Thumbnails]:
    """Look at one photograph, given as the bytes of its file. Raises `ImageError`."""
    image, header = decode_with_header(data, _SPEC, grey=True)
    return Look(hashlib.sha256(data).hexdigest(), header, round(blur(image), 3)), thumbnail(image)


def header(path: Path) -> Header:
    """Give what a photograph's file says of itself. Raises `ImageError`."""
    return decode_with_header(path, _SPEC, grey=True)[1]


def look_closer(path: Path) -> Thumbnails:
    """Give a photograph in more detail: CLOSE × CLOSE uint8; all black where it cannot be read any more."""
    try:
        return close_up(decode_with_header(path, _SPEC, grey=True)[0])
    except (ImageError, MemoryError):
        return np.zeros((CLOSE, CLOSE), np.uint8)


def close_up(grey: Image.Image) -> Thumbnails:
    """Give a picture of mode L as `look_closer` does."""
    return np.asarray(grey.resize((CLOSE, CLOSE), Image.Resampling.BOX))


_Chunk = tuple[list[Look | str], Thumbnails]


def _look_at(paths: Sequence[Path]) -> _Chunk:
    """Look at some photographs: in place of one that cannot be read stands why, and no thumbnail."""
    seen: list[Look | str] = []
    thumbnails = []
    for path in paths:
        try:
            one, small = look(read(path))
            thumbnails.append(small)
            seen.append(one)
        except ImageError as error:
            seen.append(str(error))
        except MemoryError:
            seen.append("takes more memory than this machine has; scale it down")
    return seen, np.stack(thumbnails) if thumbnails else np.empty((0, SIDE, SIDE), np.uint8)


@contextmanager
def _seen(some: Sequence[Sequence[Path]]) -> Iterator[Iterator[_Chunk]]:
    """Give what is seen of each chunk, in order: by processes, which Python keeps busier than threads."""
    if len(some) <= 2:
        yield map(_look_at, some)
        return
    others = set(active_children())
    # A fork begins at once; of a process with threads, which may hold locks, it may hang.
    way = "fork" if sys.platform == "linux" and active_count() == 1 else "spawn"
    pool = ProcessPoolExecutor(usable_cores(), get_context(way), _begin)
    try:
        yield _start(pool, some)
    except BrokenProcessPool as error:
        raise FacectlError(
            "a process that reads photographs was ended from outside, perhaps for want of memory; close other programs "
            "and check again"
        ) from error
    except BaseException:  # Ctrl-C above all: what the processes still read is of no use
        for process in set(active_children()) - others:
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _start(pool: ProcessPoolExecutor, some: Sequence[Sequence[Path]]) -> Iterator[_Chunk]:
    """Start the processes, and give what they see in order."""
    with _interrupts_held_back():
        # Not `pool.map`: it cancels what is left, on which a pool whose processes were ended stumbles.
        seen = deque(pool.submit(_look_at, chunk) for chunk in some)
    return (seen.popleft().result() for _ in range(len(seen)))


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Hold Ctrl-C back, as processes that are started meanwhile inherit: the first takes it, and ends the others."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin() -> None:
    """Begin a process that reads: it leaves Ctrl-C to the first process, and ends when that is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    Thread(target=_end_with_the_first, daemon=True).start()


def _end_with_the_first() -> None:
    if first := parent_process():
        first.join()
        os._exit(1)
