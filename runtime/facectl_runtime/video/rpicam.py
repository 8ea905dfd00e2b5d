"""The camera of a Raspberry Pi, by the pipe of `rpicam-vid`: JPEG pictures in a row, and no Python package."""

import atexit
import os
import selectors
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from time import monotonic

from facectl_runtime.errors import UsageError
from facectl_runtime.image import decode
from facectl_runtime.video.live import Arrived

PROGRAMS = ("rpicam-vid", "libcamera-vid")  # the name in Raspberry Pi OS from bookworm on, and before
_OPTIONS = ("-t", "0", "--codec", "mjpeg", "--nopreview", "--flush", "--verbose", "0", "-o", "-")
_CHUNK, _SAID = 2**16, 2**12  # bytes
_LONGEST = 2**25  # bytes of a picture
_START, _SCAN, _END = b"\xff\xd8\xff", 0xDA, b"\xff\xd9"
_SEGMENTS = frozenset(range(0xC0, 0xFF)) - frozenset(range(0xD0, 0xDA))  # the markers after which a length comes


def find_program() -> str:
    """Give the path of `rpicam-vid`. Raises `UsageError` where it is not here."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        raise UsageError("picamera: no rpicam-vid here; on a Raspberry Pi: sudo apt install rpicam-apps-lite")
    return program


@contextmanager
def open_picamera(timeout: float) -> Iterator[Iterator[Arrived]]:
    """Start `rpicam-vid`, which is stopped at the end; raises what `live.Connect` says.

    A camera that gives nothing for `timeout` seconds counts as lost.
    """
    program = find_program()
    pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
    with subprocess.Popen(
        [program, *_OPTIONS],
        stdin=nothing,
        stdout=pipe,
        stderr=pipe,
        bufsize=0,
        process_group=0,  # Ctrl-C is for facectl, which ends it
    ) as process:
        atexit.register(process.kill)  # for a process that ends while this thread waits for a picture
        try:
            yield (Arrived(monotonic(), partial(decode, jpeg)) for jpeg in split(_chunks(process, timeout)))
        finally:
            atexit.unregister(process.kill)
            process.kill()


def _chunks(process: "subprocess.Popen[bytes]", timeout: float) -> Iterator[bytes]:
    """Give what comes, as it comes. Raises `OSError`."""
    assert process.stdout is not None
    assert process.stderr is not None
    said = b""  # the end of it: it may write for months
    due = monotonic() + timeout
    with selectors.DefaultSelector() as ready:
        for pipe in (process.stdout, process.stderr):
            ready.register(pipe, selectors.EVENT_READ)
        while found := ready.select(max(0.0, due - monotonic())):
            for key, _ in found:
                chunk = os.read(key.fd, _CHUNK)
                if not chunk:
                    ready.unregister(key.fileobj)
                elif key.fileobj is process.stderr:
                    said = (said + chunk)[-_SAID:]
                else:
                    due = monotonic() + timeout
                    yield chunk
            if not ready.get_map():
                raise OSError(f"rpicam-vid ended with {process.wait()}: {_last_line(said)}")
    raise TimeoutError(f"no picture for {timeout:g} s")


def _last_line(said: bytes) -> str:
    lines = [line.strip() for line in said.decode("utf-8", "replace").splitlines()]
    return next((line for line in reversed(lines) if line), "it said nothing")[:200]


def split(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Cut a sequence of JPEG pictures, which comes in pieces, into pictures; what stands between them is dropped."""
    data = bytearray()
    for chunk in chunks:
        data += chunk
        while True:
            start = data.find(_START)
            if start < 0:
                del data[: max(0, len(data) - len(_START) + 1)]
                break
            end = _length(data, start)
            if end is None and len(data) - start <= _LONGEST:
                del data[:start]
                break
            if end:
                yield bytes(data[start:end])
            del data[: end or start + len(_START)]


def _length(data: bytearray, start: int) -> int | None:
    """Give where the picture that begins at `start` ends; None where more has to come, 0 where it is none.

    What is before the scan is skipped by its length: a thumbnail in it has an end of its own.
    """
    at = start + 2
    while at + 4 <= len(data):
        if data[at] != 0xFF or data[at + 1] not in _SEGMENTS:
            return 0
        if data[at + 1] == _SCAN:
            end = data.find(_END, at)
            return end + len(_END) if end >= 0 else None
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    return None
