"""Names of files and folders that every file system takes, made from labels, sources and the names of other files."""

import re
from urllib.parse import quote

from facectl_runtime.errors import UsageError, one_line
from facectl_runtime.sources import display_name

_LONGEST = 255  # bytes of a name, on every common file system
_LONGEST_STEM = 200  # bytes, which leave room for a number and a suffix
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # names that Windows keeps for devices
_UNSAFE = '/\\:*?"<>|%'


def folder_name(label: str) -> str:
    """Give the name of a label's folder: the label itself, where every file system takes it.

    What they do not take is written as in a web address (`a/b` → `a%2Fb`), so that no two labels share a folder.
    Raises `UsageError` where the label is empty or too long.
    """
    text = "".join(quote(c, safe="") if c in _UNSAFE or not c.isprintable() else c for c in label)
    if text[:1] in (".", " ") or _RESERVED.fullmatch(text):
        text = f"%{ord(text[0]):02X}{text[1:]}"
    if text[-1:] in (".", " "):  # Windows drops them
        text = f"{text[:-1]}%{ord(text[-1]):02X}"
    if not text or len(text.encode()) > _LONGEST:
        shown = one_line(label)[:40]
        raise UsageError(f"the label {shown!r} cannot name a folder: it has {len(label)} characters; rename it")
    return text


def file_stem(text: str) -> str:
    """Give a name without suffix for a file that comes from `text`, such as an address; two texts may give the same.

    What file systems do not take becomes a hyphen: `rtsp://cam:554/a` → `rtsp-cam-554-a`.
    """
    safe = "".join("/" if c in _UNSAFE or not c.isprintable() else c for c in display_name(text))
    stem = re.sub("/+", "-", safe).strip(" .-") or "picture"
    return _cut(f"-{stem}" if _RESERVED.fullmatch(stem) else stem)


class Names:
    """Gives each name once: `a`, then `a-2`, `a-3`. In the same order, the same names are given."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}

    def give(self, stem: str, suffix: str) -> str:
        """Give a name that begins with `stem` and that no other has, in whatever case its letters are."""
        stem = _cut(display_name(stem))
        key = f"{stem}{suffix}".casefold()
        number = self._next.get(key, 1)
        while (name := f"{stem}-{number}{suffix}" if number > 1 else f"{stem}{suffix}").casefold() in self._taken:
            number += 1
        self._next[key] = number + 1
        self._taken.add(name.casefold())
        return name

    def __contains__(self, name: str) -> bool:
        return name.casefold() in self._taken


def _cut(stem: str) -> str:
    return stem.encode()[:_LONGEST_STEM].decode("utf-8", "ignore")
