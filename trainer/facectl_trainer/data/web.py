"""What every download of photographs shares: a session that says who asks, and answers of bounded length."""

import ipaddress
import socket
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from facectl_runtime import __version__
from facectl_runtime.errors import FacectlError, MissingExtraError
from facectl_trainer.transfer import CHUNK, BrokenError, host

if TYPE_CHECKING:
    import requests

AGENT = f"facectl/{__version__}"
REDIRECTS = 5
"""Most of them in a row."""
LONGEST = 120.0
"""Seconds that one answer may take: a server that sends a byte now and then is never silent."""


class TooLongError(FacectlError):
    """An answer has more bytes than are taken."""


def open_session() -> "requests.Session":
    """Give a session to ask with. Raises `MissingExtraError` where requests is not installed."""
    try:
        import requests
    except ImportError as error:
        raise MissingExtraError(f"downloads need requests ({error}): pip install 'facectl[train]'") from error
    session = requests.Session()
    session.headers["User-Agent"] = AGENT
    session.max_redirects = REDIRECTS
    return session


def receive(answer: "requests.Response", limit: int) -> bytes:
    """Give the body of a streamed answer.

    Raises `TooLongError` past `limit` bytes, `BrokenError` where it takes too long, and what requests raises.
    """
    content, end = bytearray(), time.monotonic() + LONGEST
    for chunk in answer.iter_content(CHUNK):
        content += chunk
        if len(content) > limit:
            raise TooLongError(f"{host(answer.url)}: sends more than the {limit} bytes that are allowed")
        if time.monotonic() > end:
            raise BrokenError(f"{host(answer.url)}: takes more than {LONGEST:.0f} s")
    return bytes(content)


def is_web_address(url: str) -> bool:
    """Say whether an address is one of `http` or `https`, with a host."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False


def is_local(url: str) -> bool:
    """Say whether an address names a host by a number that is not of the whole Internet, or this machine by its name.

    What a name leads to is not asked.
    """
    try:
        name = (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return False
    try:
        return not _number(name).is_global
    except (OSError, ValueError):
        return name == "localhost" or name.endswith(".localhost")


def _number(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Read an IP address, also as C does: `127.1`, `0x7f000001`. Raises `OSError` or `ValueError` where it is none."""
    if ":" not in name:
        return ipaddress.IPv4Address(socket.inet_aton(name))
    address = ipaddress.IPv6Address(name)
    return address.ipv4_mapped or address
