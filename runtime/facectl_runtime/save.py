"""Pictures kept in a folder a label, to be trained on or looked through, up to a number of files and bytes."""

import os
import re
import secrets
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from io import BytesIO
from itertools import count
from pathlib import Path, PurePath
from time import monotonic

from facectl_runtime.errors import ImageError, UsageError, counted, did_you_mean
from facectl_runtime.files import unwritable
from facectl_runtime.image import decode_with_header, read
from facectl_runtime.names import file_stem, folder_name
from facectl_runtime.picture import picture_of
from facectl_runtime.rows import Answered, Row
from facectl_runtime.sources import IMAGE_SUFFIXES, Source
from facectl_runtime.spec import UNKNOWN

MOST, MOST_BYTES = 1000, 10**9
"""How many files and bytes are kept unless it is said otherwise."""
_MARK = ".facectl"  # before the suffix: what is renamed, or moved elsewhere, is its owner's, and stays
_QUALITY = 95  # of JPEG, for frames; files are copied as they are
_PROBE = 4096  # bytes, for which a disk that is full has no room
_RETRY = 10.0  # seconds until it is tried again to write where that failed
_AT_ONCE = 100  # a hundredth of the bounds is written, and goes, at a time: the folder is seldom listed
_SUFFIXES = {"JPEG": ".jpg", "TIFF": ".tif"}  # of the formats that are not named as their suffix is
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_SIZE = re.compile(r"(\d+(?:\.\d+)?|\.\d+) ?([kmgt]?)b", re.IGNORECASE)


def parse_size(option: str, text: str) -> int:
    """Read a size such as `500MB`, `1.5GB` or `100kB`, in bytes: a kB has 1,000. Raises `UsageError`."""
    if (match := _SIZE.fullmatch(text)) and (size := int(float(match[1]) * _UNITS[match[2].lower()])):
        return size
    raise UsageError(f"{option} {text!r} is not a size; use one such as 500MB, 2GB or 100kB")


def saved(answered: Iterable[Answered], store: "Store") -> Iterator[Answered]:
    """Pass answers on, and keep their pictures in `store`."""
    for source, row in answered:
        store.keep(source, row)
        yield source, row


class Store:
    """A folder of pictures, with a folder a label; the oldest go where it would hold too much.

    What it has written, now or in former runs, is known by its name: `….facectl.jpg` in the folder of a label. Nothing
    else is counted or removed. What other processes write there meanwhile is counted each time that a hundredth of a
    bound has been written.
    """

    def __init__(
        self,
        folder: Path,
        known: Sequence[str],
        labels: Sequence[str] = (),
        *,
        most: int = MOST,
        most_bytes: int = MOST_BYTES,
        say: Callable[[str], None],
    ) -> None:
        """Prepare to keep pictures of `labels`, or of all that the model has (`known`), and of what is unknown to it.

        `say` is told in one line what goes wrong later. Raises `UsageError` for a label that is not known or cannot
        name a folder, and what `unwritable` gives where `folder` cannot be written.
        """
        for label in labels:
            if label not in (*known, UNKNOWN):
                hint = did_you_mean(label, (*known, UNKNOWN))
                raise UsageError(
                    f"--save-label {label!r}: no answer has this label{hint}; facectl inspect MODEL, or faces list, "
                    "shows them"
                )
        self._labels = {label: folder_name(label) for label in labels or (*known, UNKNOWN)}
        self._folder, self._most, self._most_bytes, self._say = folder, most, most_bytes, say
        self._said: set[str] = set()
        self._failed_at: float | None = None
        self.lost = 0
        """Pictures that were to be kept, and could not be written."""
        self._files, self._bytes = 0, 0
        self._new, self._new_bytes = 0, 0  # written since the folder was listed
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as probe:
                probe.write(bytes(_PROBE))
            self._absolute = folder.resolve()
            self._counted()
        except OSError as error:
            raise unwritable(f"--save {folder}", error) from error

    def keep(self, source: Source, row: Row) -> None:
        """Write the picture of an answer, where a label of it is to be kept and it can still be read.

        Where the folder cannot be written, that is said once, and tried again later.
        """
        folders = dict.fromkeys(self._labels[label] for label in row.labels if label in self._labels)
        if folders and not self._is_inside(source):
            for folder in folders:
                self._keep(folder, source, row)

    def _keep(self, folder: str, source: Source, row: Row) -> None:
        if self._failed_at is not None and monotonic() - self._failed_at < _RETRY:
            self.lost += 1
            return
        try:
            data, suffix = _contents(source)
        except (ImageError, MemoryError):
            return
        try:
            if self._has_room(len(data)):
                self._write(self._folder / folder, _stem(row), suffix, data)
        except OSError as error:
            if self._failed_at is None:
                why = error.strerror or str(error)
                self._say(f"--save {self._folder}: cannot be written ({why}); answers go on, and it is tried again")
            self._failed_at = monotonic()
            self.lost += 1
            return
        if self._failed_at is not None:
            self._failed_at = None
            self._say(f"--save {self._folder}: can be written again")

    def _is_inside(self, source: Source) -> bool:
        """Tell whether a picture lies in this folder already."""
        return isinstance(source.data, Path) and source.data.resolve().is_relative_to(self._absolute)

    def _has_room(self, size: int) -> bool:
        """Remove the oldest files until one of `size` bytes may be added; false where it is too large by itself."""
        if size > self._most_bytes:
            self._say_once("larger", f"a picture of {size:,} bytes is over --save-bytes; such are not kept")
            return False
        few = self._new < max(1, self._most // _AT_ONCE) and self._new_bytes < self._most_bytes // _AT_ONCE
        if few and self._fits(size):
            return True
        found = sorted(self._counted(), reverse=True)
        if self._fits(size):
            return True
        self._say_once(
            "full",
            f"holds {counted(self._files, 'file')} of {self._bytes / 1e6:,.1f} MB; from here on the oldest are removed "
            "(--save-most, --save-bytes)",
        )
        files = self._most - self._most // _AT_ONCE - 1
        total = min(self._most_bytes - self._most_bytes // _AT_ONCE, self._most_bytes - size)
        while found and (self._files > files or self._bytes > total):
            _, gone, path = found.pop()
            path.unlink(missing_ok=True)
            with suppress(OSError):  # other files are in it
                path.parent.rmdir()  # a label without a picture is refused where the folder is trained on
            self._files, self._bytes = self._files - 1, self._bytes - gone
        return True

    def _fits(self, size: int) -> bool:
        return self._files < self._most and self._bytes + size <= self._most_bytes

    def _counted(self) -> list[tuple[int, int, Path]]:
        """List and count what facectl wrote, also what it was killed over: (time in nanoseconds, bytes, path)."""
        found = []
        for path in self._folder.glob(f"*/*{_MARK}.*"):
            try:
                status = path.lstat()
            except FileNotFoundError:  # removed meanwhile
                continue
            if stat.S_ISREG(status.st_mode) and path.suffix.lower() in IMAGE_SUFFIXES:
                found.append((status.st_mtime_ns, status.st_size, path))
        self._files, self._bytes = len(found), sum(size for _, size, _ in found)
        self._new, self._new_bytes = 0, 0
        return found

    def _write(self, folder: Path, stem: str, suffix: str, data: bytes) -> None:
        """Write a file beside, and give it a name that nothing has, also of another process. Raises `OSError`."""
        folder.mkdir(parents=True, exist_ok=True)
        beside = folder / f".{secrets.token_hex(8)}-{stem}{_MARK}{suffix}"  # in containers, several have one process id
        try:
            beside.write_bytes(data)
            for number in count(1):
                with suppress(FileExistsError):
                    _name(beside, folder / f"{stem}{f'-{number}' if number > 1 else ''}{_MARK}{suffix}")
                    break
        finally:
            beside.unlink(missing_ok=True)
        self._files, self._bytes = self._files + 1, self._bytes + len(data)
        self._new, self._new_bytes = self._new + 1, self._new_bytes + len(data)

    def _say_once(self, what: str, line: str) -> None:
        if what not in self._said:
            self._said.add(what)
            self._say(f"--save {self._folder}: {line}")


def _name(file: Path, target: Path) -> None:
    """Give a file a name. Raises `FileExistsError` where something has it, and `OSError`."""
    if os.path.lexists(target):
        raise FileExistsError(target)
    try:
        os.link(file, target)  # unlike a renaming, it takes no name that has come meanwhile
    except FileExistsError:
        raise
    except OSError:  # the disk has no links: a memory card
        file.rename(target)


def _contents(source: Source) -> tuple[bytes, str]:
    """Give what is written, and its suffix: an image file as it is, a frame as JPEG. Raises `ImageError`."""
    if callable(source.data):
        stream = BytesIO()
        picture_of(source).save(stream, "JPEG", quality=_QUALITY)
        return stream.getvalue(), ".jpg"
    if source.data is None:
        raise ImageError("has no picture")
    data = read(source.data) if isinstance(source.data, Path) else source.data
    if isinstance(source.data, Path) and source.data.suffix.lower() in IMAGE_SUFFIXES:
        return data, source.data.suffix
    kind = decode_with_header(data)[1].format
    return data, _SUFFIXES.get(kind, f".{kind.lower()}")


def _stem(row: Row) -> str:
    """Name a picture: of a live source by when it came, of a video by the time in it, and else as its file is named."""
    if row.at is not None:
        return f"{row.at.replace('-', '').replace(':', '')}-{file_stem(row.source)}"
    stem = file_stem(PurePath(row.source).stem).removesuffix(_MARK)
    return stem if row.time is None else f"{stem}-{row.time:010.3f}s"
