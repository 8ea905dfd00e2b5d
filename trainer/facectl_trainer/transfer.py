"""One file over HTTP: written to a part, continued where it broke off, bounded, and by one process at a time."""

import errno
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urlsplit

from facectl_runtime.errors import FacectlError, reason
from facectl_runtime.progress import progress

if TYPE_CHECKING:
    import requests

TIMEOUT = (10.0, 30.0)
"""Seconds to wait for a connection, and for the next bytes."""
TRIES = 3
PAUSE = 1.0
"""Seconds before the second try; twice that before the third."""
LARGEST = 2 << 30
"""Bytes of a file whose size nobody has said."""
CHUNK = 1 << 16


class DownloadError(FacectlError):
    """A source does not give the file."""


class BrokenError(DownloadError):
    """A download that can go on when it is tried again."""


class UnreachableError(BrokenError):
    """A server that is not there at all: not asked twice in a run."""


@dataclass(frozen=True)
class Part:
    """A download under way."""

    path: Path
    url: str
    size: int
    """Of the whole, in bytes; 0 where nobody has said."""

    @property
    def limit(self) -> int:
        """Give the bytes at which it is cut off."""
        return self.size or LARGEST

    @property
    def label(self) -> str:
        """Give the file's name, short enough to leave a terminal's line to the bar."""
        name = self.path.name.removesuffix(".part")
        return name if len(name) <= 20 else name[:19] + "…"

    @property
    def tag(self) -> Path:
        """Give the note of which version the bytes are of, as the server names it."""
        return self.path.with_name(self.path.name + ".tag")

    def validator(self) -> str | None:
        """Give what `If-Range` takes, where the bytes so far are of this address."""
        with suppress(OSError, ValueError):
            url, validator = self.tag.read_text("ascii").split("\n")
            return validator if url == self.url and validator.isprintable() and validator else None
        return None

    def discard(self) -> None:
        """Remove what is there."""
        self.path.unlink(missing_ok=True)
        self.tag.unlink(missing_ok=True)


def transfer(
    part: Part, session: "requests.Session", finish: Callable[[Path], None], done: Callable[[], bool], quiet: bool
) -> None:
    """Get the whole part and hand it to `finish`, which moves it or refuses it with a `DownloadError`.

    What is broken off stays for the next time, what is refused goes. A second process waits for the first; `done` says
    whether that one has left nothing to do.

    Raises:
        BrokenError: the server is not there, or breaks off; the next call goes on from there.
        DownloadError: the server refuses, sends more than the size, or `finish` refuses it.
        FacectlError: the part cannot be written.
    """
    with _held(part, quiet) as file:
        try:
            if not done():
                with progress(f"{part.label}, bytes", part.size or None, quiet) as advance:
                    _try(part, file, session, advance)
                finish(part.path)
            part.discard()
        except BrokenError:
            if not _length(file):
                part.discard()
            raise
        except DownloadError:
            part.discard()
            raise


def write(file: BinaryIO, path: Path, chunk: bytes) -> None:
    """Write all of `chunk` to an unbuffered file; a full disk becomes a `FacectlError`."""
    rest = memoryview(chunk)
    try:
        while rest:
            rest = rest[file.write(rest) :]
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> FacectlError:
    """Say why a file cannot be written, and what to do."""
    advice = "make room, or " if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else ""
    return FacectlError(f"{path}: cannot be written ({error.strerror or error}); {advice}give another folder with --to")


def broken(source: str, error: "requests.RequestException") -> BrokenError:
    """Say in one line why a source did not answer: a server that hung up was there, and is asked again."""
    from urllib3.exceptions import ProtocolError

    if any(isinstance(cause, ProtocolError) for cause in error.args):
        return BrokenError(f"{source}: the connection broke")
    return UnreachableError(f"{source}: {_why(error)}")


def host(url: str) -> str:
    """Give the part of an address that says whose it is."""
    return urlsplit(url).hostname or url


@contextmanager
def _held(part: Part, quiet: bool) -> Iterator[BinaryIO]:
    """Open the part to append to, for this process alone."""
    try:
        part.path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            with part.path.open("a+b", buffering=0) as file:
                _lock(file, part.path, quiet)
                if _is_still(part.path, file):
                    yield file
                    return
    except OSError as error:
        raise unwritable(part.path, error) from error


def _lock(file: BinaryIO, path: Path, quiet: bool) -> None:
    if sys.platform != "win32":
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not quiet:
                print(f"{path}: another process is at it; waiting for it", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)


def _is_still(path: Path, file: BinaryIO) -> bool:
    """Say whether an open file is still the one of that name: a process that was waited for renames or removes it."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _length(file: BinaryIO) -> int:
    return file.seek(0, os.SEEK_END)


def _try(part: Part, file: BinaryIO, session: "requests.Session", advance: Callable[[int], None]) -> None:
    shown = 0

    def show(have: int) -> None:
        nonlocal shown
        advance(have - shown)
        shown = have

    for tries in range(1, TRIES + 1):
        try:
            _go_on(part, file, session, show)
            return
        except UnreachableError:
            raise
        except BrokenError:
            if tries == TRIES:
                raise
            time.sleep(PAUSE * tries)


def _go_on(part: Part, file: BinaryIO, session: "requests.Session", show: Callable[[int], None]) -> None:
    """Ask for the bytes that are missing, or for all where the server cannot tell that they go together.

    Source: RFC 9110 (HTTP Semantics), 13.1.5 If-Range and 14 Range Requests.
    """
    import requests

    have = _length(file)
    show(have)
    if have == part.size > 0:
        return
    headers, validator = {"Accept-Encoding": "identity"}, part.validator()
    if 0 < have < part.limit and validator:
        headers |= {"Range": f"bytes={have}-", "If-Range": validator}
    try:
        answer = session.get(part.url, stream=True, timeout=TIMEOUT, headers=headers)
    except requests.RequestException as error:
        raise broken(host(part.url), error) from error
    with answer:
        if not _continues(answer, have, file):
            file.truncate(have := 0)
            part.tag.write_text(f"{part.url}\n{_validator_of(answer)}", "ascii", "ignore")
        try:
            _receive(answer, part, file, have, show)
        except requests.RequestException as error:
            raise BrokenError(f"{host(part.url)}: the connection broke after {_length(file)} bytes") from error


def _continues(answer: "requests.Response", have: int, file: BinaryIO) -> bool:
    """Say whether what comes goes on from the bytes there are, rather than being the whole."""
    status, name = answer.status_code, host(answer.url)
    if "Range" in answer.request.headers:
        if status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            return True
        if status in (206, 416):
            file.truncate(0)
            raise BrokenError(f"{name}: does not go on from byte {have}")
    if status >= 500 or status in (408, 429):
        raise BrokenError(f"{name}: answers {status} {answer.reason}")
    if status != 200:
        raise DownloadError(f"{name}: answers {status} {answer.reason}")
    return False


def _validator_of(answer: "requests.Response") -> str:
    """Give the version of what is sent: a strong `ETag`, else `Last-Modified`, else nothing."""
    tag = answer.headers.get("ETag", "")
    return tag if tag.startswith('"') else answer.headers.get("Last-Modified", "")


def _receive(answer: "requests.Response", part: Part, file: BinaryIO, have: int, show: Callable[[int], None]) -> None:
    for chunk in answer.iter_content(CHUNK):
        have += len(chunk)
        if have > part.limit:
            raise DownloadError(f"{host(part.url)}: sends more than the {part.limit} bytes that are expected")
        write(file, part.path, chunk)
        show(have)


def _why(error: "requests.RequestException") -> str:
    import requests

    words = {
        requests.Timeout: "does not answer in time",
        requests.exceptions.ProxyError: "the proxy does not let it through",
        requests.exceptions.SSLError: "its certificate is not accepted",
        requests.ConnectionError: "cannot be reached",
    }
    return next((text for kind, text in words.items() if isinstance(error, kind)), reason(error))
