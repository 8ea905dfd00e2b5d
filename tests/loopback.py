"""A small HTTP server on this machine, that can misbehave as real ones do."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Reply:
    """One answer, made by a test."""

    body: bytes = b""
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()


@dataclass
class Site:
    """What the server answers; a test changes it as it goes."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    """By path, such as `/net.h5`."""
    routes: dict[str, Callable[[dict[str, str]], Reply]] = field(default_factory=dict)
    """By path, what gives the answer to a query."""
    ranges: bool = True
    validator: tuple[str, str] | None = ("ETag", '"one"')
    cuts: list[int] = field(default_factory=list)
    """After how many bytes each of the next answers breaks off."""
    hang_ups: int = 0
    """How many of the next requests get no answer at all."""
    statuses: list[int] = field(default_factory=list)
    """Of the next answers, instead of files."""
    chunked: bool = False
    """Do not say beforehand how much comes."""
    pause: threading.Event | None = None
    """What an answer waits for in its middle."""
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    """Path and `Range` of each request."""
    agents: set[str] = field(default_factory=set)
    """Of all requests."""

    def put(self, path: str, content: bytes) -> str:
        """Offer a file, and give its address."""
        self.files[path] = content
        return self.address + path

    def offer(self, project: str, filename: str, content: bytes, sha256: str | None = None) -> None:
        """Offer a package as an index does (PEP 503)."""
        sha256 = sha256 or hashlib.sha256(content).hexdigest()
        address = self.put(f"/packages/{filename}", content)
        page = f'<!DOCTYPE html><html><body><a href="{address}#sha256={sha256}">{filename}</a></body></html>'
        self.put(f"/simple/{project}/", page.encode())

    @property
    def endpoint(self) -> str:
        return self.address + "/simple/"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits 40 ms between its head and its body
    site: Site

    def do_GET(self) -> None:
        site, wanted = self.site, self.headers.get("Range")
        site.asked.append((self.path, wanted))
        site.agents.add(self.headers.get("User-Agent", ""))
        parts = urlsplit(self.path)
        if parts.path in site.routes and not site.statuses:
            reply = site.routes[parts.path](dict(parse_qsl(parts.query)))
            return self._send(reply.status, reply.body, *reply.headers)
        content = site.files.get(self.path)
        status = site.statuses.pop(0) if site.statuses else 404 if content is None else 200
        if status != 200 or content is None:
            return self._send(status, b"<html>sorry</html>")
        same = self.headers.get("If-Range") in (None, site.validator and site.validator[1])
        if not (site.ranges and wanted and same):
            return self._send(200, content)
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if start >= len(content):
            return self._send(416, b"")
        where = ("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        return self._send(206, content[start:], where)

    def _send(self, status: int, body: bytes, *headers: tuple[str, str]) -> None:
        site = self.site
        if site.hang_ups:
            site.hang_ups -= 1
            self.close_connection = True
            return
        self.send_response(status)
        length = ("Transfer-Encoding", "chunked") if site.chunked else ("Content-Length", str(len(body)))
        kind = ("Content-Type", "text/html" if body.startswith(b"<") else "application/octet-stream")
        for name, value in (length, kind, *headers, *([site.validator] if site.validator else [])):
            self.send_header(name, value)
        self.end_headers()
        cut = site.cuts.pop(0) if site.cuts else None
        middle = len(body) // 2 if site.pause else 0
        for part in (body[:middle], body[middle:cut]):
            if site.chunked:
                part = f"{len(part):x}\r\n".encode() + part + b"\r\n" if part else b""
            self.wfile.write(part)
            if site.pause and middle:
                site.pause.wait(10)
        if site.chunked and cut is None:
            self.wfile.write(b"0\r\n\r\n")
        self.close_connection = cut is not None and cut < len(body)

    def handle(self) -> None:
        with suppress(ConnectionError):  # who asked has had enough
            super().handle()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serve() -> Iterator[Site]:
    """Run a server on a free port of this machine."""
    site = Site()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"site": site}))
    server.daemon_threads = True
    site.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
