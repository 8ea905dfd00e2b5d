"""Sources: from what a person types to the images behind it, found lazily and in a fixed order."""

import glob
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from facectl_runtime.errors import UsageError

IMAGE_SUFFIXES = frozenset(
    f".{suffix}"
    for suffix in "avif bmp gif heic heif jfif jpe jpeg jpg pbm pgm png pnm ppm tif tiff webp".split()  # noqa: SIM905
)
# Stricter than the reader's own signatures: a list of paths may begin with BMW.jpg.
_IMAGE_START = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|RIFF.{4}WEBP|GIF8[79]a|BM.{4}\0{4}|II[*+]\0|MM\0[*+]|P[1-6]\s+[#\d]|\0\0..ftyp",
    re.DOTALL,
)


_LONGEST_NAME = 65_536  # bytes; file systems allow 4,096


@dataclass(frozen=True)
class Source:
    """One image to answer, or the reason why there is none."""

    name: str
    """As people see it."""
    data: Path | bytes | None
    error: str | None = None


def expand(words: Iterable[str]) -> Iterator[Source]:
    """Turn files, folders (recursive), globs and `-` into sources.

    `-` is standard input: one image, or a list of paths, one a line (or separated by NUL, as of `find -print0`).
    What is not there becomes a source with an error; nothing is raised.
    """
    for word in words:
        if word == "-":
            yield from _standard_input()
        else:
            yield from _expand_path(word)


def _refuse(error: OSError) -> None:
    raise UsageError(f"{error.filename}: cannot be read ({error.strerror}); check its permissions") from error


def images_below(folder: Path, on_error: Callable[[OSError], None] = _refuse) -> Iterator[Path]:
    """Give every file below `folder` that is named as an image, sorted.

    Hidden files and folders, and links to folders, are passed over; `on_error` is told of folders that cannot be read.
    Without it one raises `UsageError`.
    """
    for here, folders, files in os.walk(folder, onerror=on_error):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(here, name)
            if path.suffix.lower() in IMAGE_SUFFIXES and not name.startswith("."):
                yield path


def display_name(path: str | Path) -> str:
    """Give a path as text that can always be printed: bytes that are not UTF-8 are replaced."""
    return os.fsencode(path).decode("utf-8", "replace")


def _expand_path(word: str) -> Iterator[Source]:
    if not word or "\0" in word:
        yield Source(display_name(word), None, "is not a path; give a file, a folder or a pattern")
        return
    path = Path(word)
    if os.path.isdir(word):  # unlike Path.is_dir, also false for a name that is too long  # noqa: PTH112
        yield from _or_error(_below(path), word, "no images in this folder")
    elif os.path.lexists(word) or not glob.has_magic(word):
        yield _of_path(path)
    else:
        matches = (source for name in sorted(glob.glob(word, recursive=True)) for source in _expand_path(name))
        yield from _or_error(matches, word, "nothing matches this pattern")


def _below(folder: Path) -> Iterator[Source]:
    errors: list[OSError] = []
    yield from map(_of_path, images_below(folder, errors.append))
    for error in errors:
        yield Source(display_name(error.filename), None, f"cannot be read: {error.strerror}; check its permissions")


def _of_path(path: Path) -> Source:
    return Source(display_name(path), path)


def _or_error(found: Iterator[Source], word: str, reason: str) -> Iterator[Source]:
    first = next(found, None)
    if first is None:
        kinds = " ".join(sorted(IMAGE_SUFFIXES))
        yield Source(display_name(word), None, f"{reason}; files named {kinds} are looked for")
        return
    yield first
    yield from found


def _standard_input() -> Iterator[Source]:
    if sys.stdin is None:
        yield Source("-", None, "stdin is closed; give files, folders or patterns")
        return
    stream = sys.stdin.buffer
    start = stream.peek(4096)  # type: ignore[union-attr]  # a BufferedReader, which typeshed calls BinaryIO
    if _IMAGE_START.match(start):
        from facectl_runtime.image import MAX_BYTES

        yield Source("-", stream.read(MAX_BYTES + 1))  # one more than decode takes
        return
    for name in _split(stream, b"\0" if b"\0" in start else b"\n"):
        if len(name) > _LONGEST_NAME:
            yield Source("-", None, f"a name on stdin has over {_LONGEST_NAME} bytes; give paths, one a line")
            return
        if name := name.rstrip(b"\r"):
            yield from _expand_path(os.fsdecode(name))


def _split(stream: BinaryIO, separator: bytes) -> Iterator[bytes]:
    """Give what stands between separators as it comes; a piece that grows too long ends it."""
    rest = b""
    while len(rest) <= _LONGEST_NAME and (chunk := stream.read1(_LONGEST_NAME)):  # type: ignore[attr-defined]
        *names, rest = (rest + chunk).split(separator)
        yield from names
    yield rest
