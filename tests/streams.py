"""HTTP servers on this machine that stream as cameras do, at a camera's pace, and misbehave as real ones do."""

import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any, NamedTuple

from clips import Picture, jpeg

KINDS = {b"\xff\xd8": "image/jpeg", b"\x89P": "image/png"}
TS_PACKET, TS_VIDEO = 188, 0x100


class Sent(NamedTuple):
    """One frame that left."""

    connection: int
    number: int
    at: float
    """By `time.monotonic()`."""


class Stream:
    """One address; every connection gets `parts()` from its start, part k at k / `fps` seconds after that start.

    A part that is late is sent at once, so that the pace holds however busy the machine is. No `fps` is no pace: as
    fast as it goes. At the end of the parts the connection closes, or stays open in silence if `stall`.
    """

    def __init__(
        self,
        parts: Callable[[], Iterable[bytes]],
        fps: float | None,
        content_type: str,
        status: int,
        headers: dict[str, str],
        stall: bool,
    ) -> None:
        self.parts, self.fps, self.stall = parts, fps, stall
        self.status, self.headers = status, {"Content-Type": content_type, "Connection": "close", **headers}
        self.port = self.connections = 0
        self.sent: list[Sent] = []
        self._live: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._server: ThreadingHTTPServer | None = None
        self.restore()

    def restore(self) -> None:
        """Listen, on the same port as before."""
        if self._server is None:
            self._over.clear()
            self._server = ThreadingHTTPServer(("127.0.0.1", self.port), type("Handler", (_Handler,), {"stream": self}))
            self._server.daemon_threads = True
            self.port = self._server.server_port
            threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/stream"

    def cut(self, *, refuse: bool = False) -> None:
        """Break all connections; if `refuse`, stop listening until `restore`."""
        if refuse and self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
            self._over.set()
        with self._lock:
            for connection in self._live:
                with suppress(OSError):  # the other side was quicker
                    connection.shutdown(socket.SHUT_RDWR)

    def wait(self, connections: int = 1, frames: int = 0, seconds: float = 10) -> None:
        """Wait until so many connections came and so many frames left, or raise TimeoutError."""
        until = time.monotonic() + seconds
        while self.connections < connections or len(self.sent) < frames:
            if time.monotonic() > until:
                raise TimeoutError(f"{self.connections} connections and {len(self.sent)} frames in {seconds} s")
            time.sleep(0.002)

    @contextmanager
    def connected(self, connection: socket.socket) -> Iterator[int]:
        """Count a connection, and give its number; it can be cut from now on."""
        with self._lock:
            number, self.connections = self.connections, self.connections + 1
            self._live.add(connection)
        try:
            yield number
        finally:
            with self._lock:
                self._live.discard(connection)

    def play(self, connection: int, send: Callable[[bytes], Any]) -> None:
        """Send every part when its time has come."""
        began = time.monotonic()
        for number, part in enumerate(self.parts()):
            if self.fps and self._over.wait(max(0, began + number / self.fps - time.monotonic())):
                return
            self.sent.append(Sent(connection, number, time.monotonic()))
            send(part)


class _Handler(BaseHTTPRequestHandler):
    stream: Stream
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        with self.stream.connected(self.connection) as number:
            self.send_response(self.stream.status)
            for name, value in self.stream.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.stream.play(number, self.wfile.write)
            if self.stream.stall:
                self.connection.recv(1)  # nothing comes, until one side has had enough

    def handle(self) -> None:
        with suppress(OSError):  # who asked has had enough, or was cut off
            super().handle()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serve(
    parts: Callable[[], Iterable[bytes]] | Iterable[bytes],
    *,
    fps: float | None = None,
    content_type: str = "application/octet-stream",
    status: int = 200,
    headers: dict[str, str] | None = None,
    stall: bool = False,
) -> Iterator[Stream]:
    """Stream parts, or what a function gives anew for each connection; see `Stream`."""
    again = parts if callable(parts) else lambda: parts
    stream = Stream(again, fps, content_type, status, headers or {}, stall)
    try:
        yield stream
    finally:
        stream.cut(refuse=True)


def multipart(pictures: Iterable[bytes], boundary: str = "frame", lengths: bool = True) -> Iterator[bytes]:
    """Give encoded pictures as parts of `multipart/x-mixed-replace`, with or without Content-Length."""
    for picture in pictures:
        length = f"Content-Length: {len(picture)}\r\n" if lengths else ""
        head = f"--{boundary}\r\nContent-Type: {KINDS.get(picture[:2], 'image/jpeg')}\r\n{length}\r\n"
        yield head.encode() + picture + b"\r\n"


def mjpeg(
    pictures: Iterable[Picture | bytes],
    *,
    fps: float | None = 30,
    boundary: str = "frame",
    named: str | None = None,
    lengths: bool = True,
    stall: bool = False,
) -> AbstractContextManager[Stream]:
    """Stream pictures, or files of any kind, as MJPEG; `named` is the boundary that the header claims, if another."""
    files = [picture if isinstance(picture, bytes) else jpeg(picture) for picture in pictures]
    kind = f"multipart/x-mixed-replace; boundary={named or boundary}"
    return serve(lambda: multipart(files, boundary, lengths), fps=fps, content_type=kind, stall=stall)


def transport(*pieces: bytes, fps: float = 30, stall: bool = False) -> AbstractContextManager[Stream]:
    """Stream MPEG-TS, such as `clip_bytes` gives, frame by frame; size and codec may change with each piece."""
    frames = [frame for piece in pieces for frame in by_frame(piece)]
    return serve(frames, fps=fps, content_type="video/mp2t", stall=stall)


def by_frame(stream: bytes) -> list[bytes]:
    """Cut an MPEG-TS where frames of its video begin; the tables at its start are a part of the first."""
    starts = []
    for at in range(0, len(stream), TS_PACKET):
        begins, pid = stream[at + 1] & 0x40, (stream[at + 1] & 0x1F) << 8 | stream[at + 2]
        if begins and pid == TS_VIDEO:
            starts.append(at)
    return [stream[start:end] for start, end in pairwise([0, *starts[1:], len(stream)])]
