"""Images out of an archive into class folders: streamed and bounded, and nothing of it trusted.

What is no image in a class folder is passed over. Links, devices and names that lead elsewhere end it.
"""

import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from gzip import BadGzipFile, GzipFile
from pathlib import Path, PurePosixPath
from typing import IO

from facectl_runtime.errors import one_line
from facectl_runtime.sources import IMAGE_SUFFIXES
from facectl_trainer.archives import readable
from facectl_trainer.transfer import CHUNK, DownloadError, unwritable, write

_LONGEST_READ = 1 << 20  # tarfile reads a header of any length in one go


@dataclass(frozen=True)
class Bounds:
    """How much an archive may hold, whether it is wanted or not."""

    entries: int = 50_000
    """Files and folders."""
    file_bytes: int = 32 << 20
    total_bytes: int = 2 << 30


class UnpackError(DownloadError):
    """An archive holds what no archive of photographs does."""


def unpack(
    archive: Path, inner: str | None, top: str, folder: Path, advance: Callable[[int], None], bounds: Bounds
) -> int:
    """Put `top`/class/image of a `.tar.gz` (or of the one called `inner` in a zip) to `folder`/class/image.

    Gives the number of images. Raises `UnpackError` for whatever is wrong with the archive, and `FacectlError` where
    the disk is full.
    """
    count = 0
    with _tar(archive, inner, bounds) as tar:
        for member in _checked(tar, bounds):
            place = _place(member.name, top)
            file = tar.extractfile(member) if place and member.isreg() else None
            if place and file:
                with file:
                    _copy(file, folder / place)
                advance(1)
                count += 1
    if not count:
        raise UnpackError(f"the archive has no images in folders below {top}")
    return count


class _Gunzip(GzipFile):
    """Decompresses a little at a time, whatever a header in it asks for."""

    def read(self, size: int | None = -1) -> bytes:
        """Give at most `size` bytes."""
        if size is None or not 0 <= size <= _LONGEST_READ:
            raise UnpackError(f"the archive has a header of {size} bytes; at most {_LONGEST_READ} are allowed")
        return super().read(size)


@contextmanager
def _tar(archive: Path, inner: str | None, bounds: Bounds) -> Iterator[tarfile.TarFile]:
    """Open the tar to go through once. Raises `UnpackError` where something in it is damaged."""
    with readable("the archive", UnpackError), ExitStack() as stack:
        packed: IO[bytes] = stack.enter_context(archive.open("rb"))
        if inner is not None:
            packed = stack.enter_context(_member(packed, inner, bounds))
        unpacked = stack.enter_context(_Gunzip(fileobj=packed))
        yield stack.enter_context(tarfile.TarFile(fileobj=unpacked))


@contextmanager
def _member(packed: IO[bytes], name: str, bounds: Bounds) -> Iterator[IO[bytes]]:
    """Open one file of a zip; no path in it is followed."""
    with zipfile.ZipFile(packed) as pack:
        try:
            info = pack.getinfo(name)
        except KeyError as error:
            raise UnpackError(f"the archive has no {name}") from error
        if info.file_size > bounds.total_bytes:
            raise UnpackError(f"{name} has {info.file_size} bytes; at most {bounds.total_bytes} are allowed")
        with pack.open(info) as file:
            yield file


def _checked(tar: tarfile.TarFile, bounds: Bounds) -> Iterator[tarfile.TarInfo]:
    """Give the entries one by one, as far as they are harmless."""
    total = 0
    for number, member in enumerate(tar, 1):
        shown = repr(one_line(member.name)[:100])
        if number > bounds.entries:
            raise UnpackError(f"the archive has more than the {bounds.entries} entries that are allowed")
        if not (member.isdir() or member.isreg()) or member.issparse():
            raise UnpackError(f"{shown} in the archive is a link or a device; only files and folders are allowed")
        if _leads_away(member.name):
            raise UnpackError(f"{shown} in the archive is no path below it; such a name is not allowed")
        if member.size > bounds.file_bytes:
            raise UnpackError(f"{shown} in the archive has {member.size} bytes; {bounds.file_bytes} are allowed")
        total += member.size
        if total > bounds.total_bytes:
            raise UnpackError(f"the archive has more than the {bounds.total_bytes} bytes that are allowed")
        yield member


def _leads_away(name: str) -> bool:
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts or any(c in "\\:" or not c.isprintable() for c in name)


def _place(name: str, top: str) -> Path | None:
    """Give class and file of an entry, where it is an image in a class folder."""
    parts = PurePosixPath(name).parts
    if len(parts) != 3 or parts[0] != top or any(part.startswith(".") for part in parts):
        return None
    return Path(*parts[1:]) if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES else None


def _copy(source: IO[bytes], target: Path) -> None:
    try:
        target.parent.mkdir(exist_ok=True)
        with target.open("xb", buffering=0) as out:
            while chunk := source.read(CHUNK):
                write(out, target, chunk)
    except FileExistsError as error:
        raise UnpackError(f"{'/'.join(target.parts[-2:])!r} is in the archive twice") from error
    except (tarfile.TarError, BadGzipFile):  # the latter is an OSError
        raise
    except OSError as error:
        raise unwritable(target, error) from error
