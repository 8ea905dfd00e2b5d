"""Cameras on this machine that film photographs: MJPEG over HTTP and, where GStreamer is there, H.264 over RTSP.

Both are those of the tests, each in a process of its own, on a port that stays the same when it is cut and restored.
"""

import multiprocessing
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common import ROOT

sys.path.append(str(ROOT / "tests"))

from clips import jpeg, write_clip
from rtsp import PACKAGES
from rtsp import Camera as RtspServer
from streams import Sent, multipart, serve

FPS, GOP, QUALITY = 30, 30, 85
RATE = {"preset": "veryfast", "tune": "zerolatency", "crf": "23", "x264-params": "aud=1"}


class Camera(NamedTuple):
    """A camera that films without an end."""

    address: str
    cut: Callable[[], object]
    """Break the connection, and take no other."""
    restore: Callable[[], object]
    """Listen again, on the same port."""
    sent: Callable[[], Sequence[Sent]]
    """The frames that left so far."""
    all_seen: bool
    """Whether who connects sees every frame that leaves for it, so that frames can be told by counting."""


@contextmanager
def http_camera(pictures: Sequence[np.ndarray]) -> Iterator[Camera]:
    """Film pictures again and again as MJPEG: every connection gets them from the first on."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    files = [jpeg(picture, quality=QUALITY) for picture in pictures]
    process = spawn.Process(target=_serve, args=(files, theirs), daemon=True)
    process.start()

    def ask(what: str) -> object:
        ours.send(what)
        return ours.recv()

    try:
        yield Camera(ask("address"), lambda: ask("cut"), lambda: ask("restore"), lambda: ask("sent"), True)
    finally:
        process.kill()
        process.join()


def _serve(files: Sequence[bytes], orders: Connection) -> None:
    kind = "multipart/x-mixed-replace; boundary=frame"
    with serve(lambda: multipart(cycle(files)), fps=FPS, content_type=kind) as stream:
        while True:
            match orders.recv():
                case "address":
                    orders.send(stream.address)
                case "sent":
                    orders.send(stream.sent)
                case "cut":
                    orders.send(stream.cut(refuse=True))
                case "restore":
                    orders.send(stream.restore())


@contextmanager
def rtsp_camera(pictures: Sequence[np.ndarray], folder: Path) -> Iterator[Camera]:
    """Film pictures again and again as H.264, with a key frame a second.

    Raises `FileNotFoundError` where GStreamer is not complete.
    """
    h264 = write_clip(folder / "film.h264", pictures, fps=FPS, gop=GOP, coder=RATE)
    jpegs = folder / "film.mjpeg"
    jpegs.write_bytes(jpeg(pictures[0]))
    height, width = pictures[0].shape[:2]
    try:
        server = RtspServer([width, height, FPS, GOP, h264, jpegs], login="")
    except FileNotFoundError as error:
        raise FileNotFoundError(f"apt-get install {PACKAGES} ({error})") from error
    try:
        yield Camera(server.address(), server.kill, server.restart, lambda: server.sent, False)
    finally:
        server.kill()
