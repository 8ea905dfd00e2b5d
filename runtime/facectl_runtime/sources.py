"""Sources: from what a person types to the images behind it, found lazily and in a fixed order."""

import glob
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from facectl_runtime.errors import UsageError
from facectl_runtime.video.selection import ALL, Selection

if TYPE_CHECKING:
    from PIL.Image import Image

    from facectl_runtime.image import Pixels
    from facectl_runtime.video.live import Live

IMAGE_SUFFIXES = frozenset(
    f".{suffix}"
    for suffix in "avif bmp gif heic heif jfif jpe jpeg jpg pbm pgm png pnm ppm tif tiff webp".split()  # noqa: SIM905
)
VIDEO_SUFFIXES = frozenset(
    f".{suffix}"
    for suffix in "3gp avi flv m2ts m4v mjpeg mkv mov mp4 mpeg mpg mts ogv ts webm wmv".split()  # noqa: SIM905
)
PICAMERA = "picamera"
_DIGITS = 3  # of a camera's number
SCHEMES = ("http", "https", "rtmp", "rtp", "rtsp", "rtsps", "tcp", "udp")
# Patterns are compiled where they are used: an image that is named by its path meets none of them.
_SCHEME = r"(?i)[a-z][a-z0-9+.-]*://"
TIMEOUT = 5.0
"""Seconds without anything after which a live source counts as lost."""
# A password may hold @ itself, or a / that ought to be %2F: what stands after the colon is then no port.
_LOGIN = r"(://[^/@:]*):(?:[^/]*@|(?!\d*(?:/|$)).*@)"
_HIDDEN_NAME = r"[\w-]*(?:password|passwd|pass|pwd|token|key|secret|auth|sig|signature)="
_HIDDEN = rf"(?i)([?&]{_HIDDEN_NAME})[^&#]*|(/{_HIDDEN_NAME})[^&/?#]*"
_DEVICE = r"/dev/(video\d+|v4l/.+)"
# Stricter than the reader's own signatures: a list of paths may begin with BMW.jpg.
_IMAGE_START = (
    rb"(?s)\xff\xd8\xff|\x89PNG\r\n\x1a\n|RIFF.{4}WEBP|GIF8[79]a|BM.{4}\0{4}|II[*+]\0|MM\0[*+]|P[1-6]\s+[#\d]|"
    rb"\0\0..ftyp"
)
_PEEK = 4096
_BINARY = rb"[\x01-\x08\x0e-\x1a\x1c-\x1f]"  # what no list of paths has, not even one separated by NUL
_LONGEST_NAME = 65_536  # bytes; file systems allow 4,096


class Source(msgspec.Struct, frozen=True):
    """One image to answer, or the reason why there is none."""

    name: str
    """As people see it."""
    data: "Path | bytes | Callable[[], Image | Pixels] | None"
    """An image file, what is in one, or a function that gives an upright RGB picture."""
    error: str | None = None
    frame: int | None = None
    """Its number in a video or a stream, from 0; None also where a video was not read from its beginning."""
    time: float | None = None
    """Of a video: seconds from its beginning."""
    arrived: float | None = None
    """Of a camera or a stream: when the frame came, by `time.monotonic`, in seconds."""


def open_sources(
    words: Sequence[str],
    *,
    exclude: Sequence[str] = (),
    selection: Selection = ALL,
    retries: int | None = None,
    timeout: float = TIMEOUT,
    say: Callable[[str], None] = lambda _: None,
) -> "tuple[Iterable[Source], list[Live]]":
    """Give the sources that words name, and the live ones behind them, which are begun to be read with the first.

    `exclude` is as in `expand`; `selection` says which frames are answered; `retries` and `say` are as in `Live`; a
    live source that gives nothing for `timeout` seconds counts as lost. Raises `UsageError` where live sources and
    others are mixed, and `MissingExtraError`.
    """
    live = [word for word in words if is_live(word)]
    if not live:
        return expand(words, exclude, selection), []
    if exclude:
        raise UsageError(f"--exclude is of folders and patterns, and {shown(live[0])} is neither; leave it out")
    if len(live) < len(words):
        other = next(word for word in words if word not in live)
        raise UsageError(f"{shown(live[0])} has no end, so {other} would never be reached; give live sources alone")
    from facectl_runtime.video.connect import live_sources
    from facectl_runtime.video.live import newest

    streams = live_sources(live, selection, retries=retries, timeout=timeout, say=say)
    return newest(streams), streams


def expand(words: Iterable[str], exclude: Sequence[str] = (), selection: Selection = ALL) -> Iterator[Source]:
    """Turn files, folders (recursive), globs and `-` into sources; of a video, its chosen frames.

    `-` is standard input: one image, or a list of paths, one a line (or separated by NUL, as of `find -print0`).
    Folders give their images, and no videos. What is found in folders and by globs is left out where its path, its
    name or that of a folder on the way matches a pattern of `exclude`. What is not there becomes a source with an
    error, and so does a link to a folder in a folder. Raises `MissingExtraError` for a video without PyAV.
    """
    for word in words:
        if word == "-":
            yield from _standard_input(exclude, selection)
        else:
            yield from _expand_path(word, exclude, selection)


def _refuse(error: OSError) -> None:
    raise UsageError(f"{error.filename}: cannot be read ({error.strerror}); check its permissions") from error


def refuse_link(link: Path) -> None:
    """Raise `UsageError` for a link to a folder among folders of images that have a label."""
    raise UsageError(
        f"{link}: a link to a folder, which is not followed; put the images themselves there, or remove it"
    )


def images_below(
    folder: Path,
    on_error: Callable[[OSError], None] = _refuse,
    exclude: Sequence[str] = (),
    on_link: Callable[[Path], None] = lambda _: None,
) -> Iterator[Path]:
    """Give every file below `folder` that is named as an image, sorted.

    Hidden files and folders, and links to folders, are passed over, and so is what `exclude` names; `on_link` is told
    of the links, and `on_error` of folders that cannot be read. Without it one raises `UsageError`.
    """
    for here, folders, files in os.walk(folder, onerror=on_error):
        folders[:] = sorted(name for name in folders if not _hidden(Path(here, name), folder, exclude))
        for name in folders:
            if Path(here, name).is_symlink():
                on_link(Path(here, name))
        for name in sorted(files):
            path = Path(here, name)
            if path.suffix.lower() in IMAGE_SUFFIXES and not _hidden(path, folder, exclude):
                yield path


def _hidden(path: Path, folder: Path, exclude: Sequence[str]) -> bool:
    return path.name.startswith(".") or _excluded(path, folder, exclude)


def _excluded(path: Path, folder: Path, exclude: Sequence[str]) -> bool:
    """Tell whether a pattern matches a path, as it is shown or as it is below `folder`, or a name below that."""
    below = path.relative_to(folder)
    texts = (str(path), str(below), *below.parts)
    return any(fnmatch(text, os.path.normpath(pattern)) for pattern in exclude for text in texts)


def display_name(path: str | Path) -> str:
    """Give a path as text that can always be printed: bytes that are not UTF-8 are replaced."""
    return os.fsencode(path).decode("utf-8", "replace")


def is_live(word: str) -> bool:
    """Tell whether a word names a camera or a stream: `0`, `/dev/video0`, `picamera`, `rtsp://…`.

    A file that is named `0` or `picamera` comes first.
    """
    if is_stream(word) or (word.startswith("/dev/") and re.fullmatch(_DEVICE, word)):
        return True
    index = len(word) <= _DIGITS and word.isascii() and word.isdecimal()
    return (word == PICAMERA or index) and not os.path.lexists(word)


def is_stream(word: str) -> bool:
    """Tell whether a word is the address of a stream."""
    scheme, slashes, _ = word.partition("://")
    return bool(slashes) and scheme.lower() in SCHEMES


def shown(address: str) -> str:
    """Give an address as it may be printed: without a password."""
    login = re.sub(_LOGIN, r"\1:***@", address, count=1)
    return re.sub(_HIDDEN, r"\1\2***", login)


def _expand_path(word: str, exclude: Sequence[str], selection: Selection) -> Iterator[Source]:
    if not word or "\0" in word:
        yield Source(display_name(word), None, "is not a path; give a file, a folder or a pattern")
        return
    if "://" in word and re.match(_SCHEME, word) and not os.path.lexists(word):
        kinds = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        otherwise = f"is no address that facectl reads; use {kinds}"
        why = "is a stream; give it on the command line, and alone" if is_stream(word) else otherwise
        yield Source(shown(word), None, why)
        return
    path = Path(word)
    if os.path.isdir(word):  # unlike Path.is_dir, also false for a name that is too long  # noqa: PTH112
        kinds = " ".join(sorted(IMAGE_SUFFIXES))
        nothing = f"no images in this folder, of {kinds} (videos are given by name, or by a pattern such as '*.mp4')"
        yield from _or_error(_below(path, exclude), word, nothing)
    elif os.path.lexists(word) or not glob.has_magic(word):
        yield from _of_path(path, selection)
    else:
        found = (
            name
            for name in sorted(glob.glob(word, recursive=True))
            if not _excluded(Path(name), Path(Path(name).anchor), exclude)
        )
        matches = (source for name in found for source in _expand_path(name, exclude, selection))
        yield from _or_error(matches, word, "nothing matches this pattern; check it, and quote it where ** is in it")


def _below(folder: Path, exclude: Sequence[str]) -> Iterator[Source]:
    errors: list[OSError] = []
    links: list[Path] = []
    for path in images_below(folder, errors.append, exclude, links.append):
        yield Source(display_name(path), path)
    for link in links:
        yield Source(display_name(link), None, "a link to a folder, which is not followed; give it by its own name")
    for error in errors:
        yield Source(display_name(error.filename), None, f"cannot be read: {error.strerror}; check its permissions")


def _of_path(path: Path, selection: Selection) -> Iterator[Source]:
    if path.suffix.lower() in VIDEO_SUFFIXES:
        from facectl_runtime.video.clip import clip

        yield from clip(path, selection)
    else:
        yield Source(display_name(path), path)


def _or_error(found: Iterator[Source], word: str, reason: str) -> Iterator[Source]:
    first = next(found, None)
    if first is None:
        yield Source(display_name(word), None, reason)
        return
    yield first
    yield from found


def _standard_input(exclude: Sequence[str], selection: Selection) -> Iterator[Source]:
    if sys.stdin is None:
        yield Source("-", None, "stdin is closed; give files, folders or patterns")
        return
    stream = sys.stdin.buffer
    start = stream.peek(_PEEK)  # type: ignore[union-attr]  # a BufferedReader, which typeshed calls BinaryIO
    if re.match(_IMAGE_START, start):
        from facectl_runtime.image import MAX_BYTES

        yield Source("-", stream.read(MAX_BYTES + 1))  # one more than decode takes
        return
    if re.search(_BINARY, start):
        yield Source("-", None, "what comes on stdin is neither an image nor a list of paths; give a video by its path")
        return
    for name in _split(stream, b"\0" if b"\0" in start else b"\n"):
        if len(name) > _LONGEST_NAME:
            yield Source("-", None, f"a name on stdin has over {_LONGEST_NAME} bytes; give paths, one a line")
            return
        if name := name.rstrip(b"\r"):
            yield from _expand_path(os.fsdecode(name), exclude, selection)


def _split(stream: BinaryIO, separator: bytes) -> Iterator[bytes]:
    """Give what stands between separators as it comes; a piece that grows too long ends it."""
    rest = b""
    while len(rest) <= _LONGEST_NAME and (chunk := stream.read1(_LONGEST_NAME)):  # type: ignore[attr-defined]
        *names, rest = (rest + chunk).split(separator)
        yield from names
    yield rest
