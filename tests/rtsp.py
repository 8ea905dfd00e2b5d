"""The camera of `rtsp_server.py` as a process that a test can kill, freeze and start again on the same port."""

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from clips import Picture, jpeg, numbered, write_clip
from streams import Sent

PYTHON = "/usr/bin/python3"
"""Debian's, whose packages bring GStreamer."""
PACKAGES = "python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-good"
REQUIRED = "FACECTL_TEST_STREAMS"


class Camera:
    """An RTSP server on a port of this machine: it films whether anyone looks or not, and begins anew at the end."""

    def __init__(self, arguments: Sequence[object], login: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.arguments, self.login = arguments, login
        self.sent: list[Sent] = []
        """Frames that left for `/h264` or `/jpeg`; their `connection` is how often the server was started before."""
        self.starts = 0
        self.restart()

    def address(self, path: str = "/h264") -> str:
        return f"rtsp://{self.login + '@' if self.login else ''}127.0.0.1:{self.port}{path}"

    def restart(self) -> None:
        """Start the server, once it was killed, and return when it listens."""
        script = Path(__file__).with_name("rtsp_server.py")
        words = [PYTHON, script, self.port, *self.arguments, *self.login.split(":")[: 2 if self.login else 0]]
        self.process = subprocess.Popen([str(word) for word in words], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        said = self.process.stdout.readline().strip()
        if said != "ready":
            raise FileNotFoundError(said) if self.process.wait() == 3 else OSError(said)
        threading.Thread(target=self._listen, args=(self.process, self.starts), daemon=True).start()
        self.starts += 1

    def _listen(self, process: subprocess.Popen[str], start: int) -> None:
        for line in process.stdout or ():
            if line.endswith("\n"):  # not cut short by a kill
                _, number, at = line.split()
                self.sent.append(Sent(start, int(number), float(at)))

    def kill(self) -> None:
        """End the server at once, as when its plug is pulled; the port is free when this returns."""
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        """Send nothing more and keep the connections, until `thaw`."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)


@contextmanager
def film(
    folder: Path, pictures: Sequence[Picture] | None = None, *, fps: float = 30, gop: int = 15, login: str = ""
) -> Iterator[Camera]:
    """Film pictures, 240 numbered ones if none are given, with a key frame every `gop`; `login` is `name:password`.

    Skips the test where GStreamer is not complete, and fails it there if FACECTL_TEST_STREAMS is `required`.
    """
    pictures = numbered(240, hold=15) if pictures is None else pictures
    assert len(pictures) % gop == 0
    coder = {"tune": "zerolatency", "x264-params": "aud=1"}
    h264 = write_clip(folder / "film.h264", pictures, fps=fps, gop=gop, coder=coder)
    jpegs = folder / "film.mjpeg"
    jpegs.write_bytes(b"".join(map(jpeg, pictures)))
    height, width = pictures[0].shape[:2]
    camera = _start([width, height, fps, gop, h264, jpegs], login)
    try:
        yield camera
    finally:
        camera.kill()


def _start(arguments: Sequence[object], login: str) -> Camera:
    try:
        return Camera(arguments, login)
    except FileNotFoundError as error:
        reason = f"needs GStreamer: apt-get install {PACKAGES} ({error})"
        if os.environ.get(REQUIRED) == "required":
            pytest.fail(reason)
        pytest.skip(reason)
