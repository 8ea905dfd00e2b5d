"""Features kept on disk, so that a backbone sees each photograph once."""

import hashlib
import os
import re
import sqlite3
import stat
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from facectl_runtime.errors import UsageError, reason
from facectl_runtime.home import home

Features = npt.NDArray[np.float32]
_T = TypeVar("_T")

_VERSION = 0x0FACE002
"""In the file's header (PRAGMA user_version). To be raised whenever what follows changes."""
_SCHEMA = (
    # Vectors stand apart from their use, so that a use is noted without a vector being written again.
    "CREATE TABLE features (id INTEGER PRIMARY KEY, key BLOB UNIQUE, used INTEGER, size INTEGER, crc INTEGER)",
    "CREATE INDEX by_use ON features (used)",
    "CREATE TABLE vectors (id INTEGER PRIMARY KEY, vector BLOB)",
)
_PAGE = 16_384  # bytes; vectors of 5 kB are written three times as fast as with SQLite's own 4,096
_PATIENCE = 30  # seconds to wait while another run writes
_QUERY = 500  # keys in one query: SQLite takes 999 parameters, and a lock is held only so long
_DAMAGED = {1, 11, 24, 26, 1032}  # SQLite's ERROR (no such table), CORRUPT, FORMAT, NOTADB and READONLY_DBMOVED
_UNITS = {unit: 1 << 10 * power for power, unit in enumerate(("", "K", "M", "G", "T"))}


class _UnusableError(sqlite3.DatabaseError):
    """The file is no cache of this version, or no longer."""


class FeatureCache:
    """Feature vectors by content, in one SQLite file that several runs may share.

    A space is everything that decides a vector beside the photograph: backbone, weights, input, decode. The file
    keeps to `FACECTL_CACHE_BYTES` (4 GiB where not set): the vectors not used for longest make room. A file that is
    damaged or of another version is set aside, and a new one begun. A cache that cannot be read or written costs
    time, never a run: one warning is printed, and training goes on without it.
    """

    def __init__(self, space: str, file: Path | None = None) -> None:
        """Raise `UsageError` where `FACECTL_CACHE_BYTES` is not a size; only `get` and `put` touch the file."""
        self._space = hashlib.sha256(space.encode("utf-8", "surrogatepass")).digest()
        self._file = file or home() / "features.sqlite"
        self.limit = _size(os.environ.get("FACECTL_CACHE_BYTES") or "4G")
        """Bytes."""
        self._usable = self.limit > 0

    def fits(self, size: int) -> int:
        """Say how many vectors of `size` bytes the file can hold; 0 where it may hold none."""
        in_a_page = _PAGE // (size + 64)
        stored = _PAGE / in_a_page if in_a_page else (size // (_PAGE - 64) + 1) * _PAGE
        room = self.limit * 0.9 - 8 * _PAGE  # pages that are half full, and what a file begins with
        return max(0, int(room / (stored + 200)))  # and what is kept beside a vector

    def get(self, contents: Iterable[str]) -> dict[str, Features]:
        """Give the vectors that are known: content → float32, d; read-only, bit for bit what was put."""
        wanted = {self._key(content): content for content in contents}
        return self._attempt("read", lambda database: _read(database, wanted)) or {}

    def put(self, vectors: Mapping[str, Features]) -> None:
        """Keep vectors, all of them or, where the disk is full, none; those of a content that is known are replaced."""
        rows = {self._key(content): np.ascontiguousarray(vector, np.float32) for content, vector in vectors.items()}
        self._attempt("written", lambda database: _write(database, rows, self.limit))

    def _key(self, content: str) -> bytes:
        return hashlib.sha256(self._space + content.encode("utf-8", "surrogatepass")).digest()

    def _attempt(self, verb: str, work: Callable[[sqlite3.Connection], _T]) -> _T | None:
        """Do the work; once more in a new file, where this one turns out to be unusable."""
        if not self._usable:
            return None
        try:
            seen = self._identity()
            try:
                with self._open() as database:
                    return work(database)
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
                self._set_aside(seen, error)
            with self._open() as database:
                return work(database)
        except (sqlite3.Error, OSError) as error:
            self._usable = False
            print(
                f"facectl: the feature cache {self._file} could not be {verb} ({reason(error)}); going on without it",
                file=sys.stderr,
            )
            return None

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """Open the file anew each time (0.2 ms), so that one which another run set aside is not written on."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self._file, timeout=_PATIENCE, isolation_level=None)) as database:
            if _version(database) != _VERSION:
                _create(database)
            yield database

    def _identity(self) -> tuple[int, int] | None:
        """Say which file it is, if it is one: a device is never renamed."""
        try:
            status = self._file.stat()  # one look: another run may rename it at any time
        except (FileNotFoundError, NotADirectoryError):
            return None
        return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None

    def _set_aside(self, seen: tuple[int, int] | None, error: sqlite3.DatabaseError) -> None:
        """Rename the file, unless another run already has; raises `error` where there is nothing to rename.

        Its lock is held meanwhile: a run in the middle of writing would leave a journal for the new file to trip over.
        """
        if seen is None:
            raise error
        with closing(sqlite3.connect(self._file, timeout=_PATIENCE, isolation_level=None)) as database:
            try:
                database.execute("BEGIN EXCLUSIVE")
            except sqlite3.DatabaseError as locking:
                if not _is_damage(locking):
                    raise
            if self._identity() != seen:
                return
            aside = self._file.with_name(self._file.name + ".old")
            self._file.replace(aside)
        print(
            f"facectl: the feature cache {self._file} cannot be used ({reason(error)}); it is now {aside.name}, which "
            "may be deleted, and a new one is begun",
            file=sys.stderr,
        )


def _read(database: sqlite3.Connection, wanted: Mapping[bytes, str]) -> dict[str, Features]:
    found: dict[str, Features] = {}
    uses: dict[int, int] = {}
    for keys in _some(sorted(wanted)):
        query = f"SELECT id, used FROM features WHERE key IN ({_marks(keys)})"  # noqa: S608
        uses |= database.execute(query, keys)
    for ids in _some(sorted(uses)):  # in the order of the file
        query = f"SELECT key, crc, vector FROM features JOIN vectors USING (id) WHERE id IN ({_marks(ids)})"  # noqa: S608
        for key, crc, vector in database.execute(query, ids):
            if zlib.crc32(vector) != crc:  # SQLite itself does not notice
                raise _UnusableError("a vector in it does not have its checksum")
            if key in wanted:  # and not another's, whose number is the same since
                found[wanted[key]] = np.frombuffer(vector, np.float32)
    with suppress(sqlite3.OperationalError):  # a cache that may only be read, or a full disk, has given its vectors
        _note_use(database, uses)
    return found


def _note_use(database: sqlite3.Connection, uses: Mapping[int, int]) -> None:
    if uses and min(uses.values()) < _latest_use(database):
        with _transaction(database):
            now = _latest_use(database) + 1
            database.executemany("UPDATE features SET used = ? WHERE id = ?", ((now, number) for number in uses))


def _write(database: sqlite3.Connection, rows: Mapping[bytes, Features], limit: int) -> None:
    if (size := sum(vector.nbytes for vector in rows.values())) > limit:
        raise OSError(f"{size:,} bytes at once, and FACECTL_CACHE_BYTES allows {limit:,}")
    with _transaction(database):
        now = _latest_use(database) + 1
        for key, vector in rows.items():
            database.execute(
                "INSERT INTO features (key, used, size, crc) VALUES (?, ?, ?, ?) ON CONFLICT (key) "
                "DO UPDATE SET used = excluded.used, size = excluded.size, crc = excluded.crc",
                (key, now, vector.nbytes, zlib.crc32(vector.data)),
            )
            database.execute(
                "INSERT OR REPLACE INTO vectors VALUES ((SELECT id FROM features WHERE key = ?), ?)", (key, vector)
            )
        if _used_bytes(database) > limit:
            _make_room(database, limit)
    # What is free below the limit is filled by the next vectors; what the file has over it goes back to the disk.
    if (over := _pragma(database, "page_count") - limit // _PAGE) > 0 and _pragma(database, "freelist_count"):
        database.executescript(f"PRAGMA incremental_vacuum({over})")  # `execute` would free one page


def _make_room(database: sqlite3.Connection, limit: int) -> None:
    """Remove the vectors not used for longest, down to 95 % of the limit, so that this is not done at every write."""
    while (excess := _used_bytes(database) - limit * 0.95) > 0 and (ids := _oldest(database, excess)):
        database.executemany("DELETE FROM features WHERE id = ?", ids)
        database.executemany("DELETE FROM vectors WHERE id = ?", ids)


def _oldest(database: sqlite3.Connection, size: float) -> list[tuple[int]]:
    ids = []
    for number, its_size in database.execute("SELECT id, size FROM features ORDER BY used"):
        ids.append((number,))
        size -= its_size
        if size <= 0:
            break
    return ids


def _create(database: sqlite3.Connection) -> None:
    """Begin a cache in an empty file. Raises `_UnusableError` where the file is not empty."""
    database.execute(f"PRAGMA page_size = {_PAGE}")
    database.execute("PRAGMA auto_vacuum = INCREMENTAL")
    with _transaction(database):
        if _version(database) == _VERSION:  # another run was first
            return
        if _pragma(database, "schema_version"):
            raise _UnusableError("it is of another version")
        for statement in _SCHEMA:
            database.execute(statement)
        database.execute(f"PRAGMA user_version = {_VERSION}")


@contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[None]:
    with database:
        database.execute("BEGIN IMMEDIATE")  # a lock taken only at the first write may be refused without a wait
        yield


def _version(database: sqlite3.Connection) -> int:
    return _pragma(database, "user_version")


def _used_bytes(database: sqlite3.Connection) -> int:
    return (_pragma(database, "page_count") - _pragma(database, "freelist_count")) * _PAGE


def _pragma(database: sqlite3.Connection, name: str) -> int:
    return int(database.execute(f"PRAGMA {name}").fetchone()[0])


def _latest_use(database: sqlite3.Connection) -> int:
    return int(database.execute("SELECT coalesce(max(used), 0) FROM features").fetchone()[0])


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    code = getattr(error, "sqlite_errorcode", 0)
    return isinstance(error, _UnusableError) or code in _DAMAGED or code & 0xFF in _DAMAGED


def _some(values: list[_T]) -> Iterator[list[_T]]:
    return (values[start : start + _QUERY] for start in range(0, len(values), _QUERY))


def _marks(values: list[_T]) -> str:
    return ",".join("?" * len(values))


def _size(text: str) -> int:
    """Read a number of bytes: 4294967296, 500M, 4G (of 1,024 each)."""
    match = re.fullmatch(r"([0-9]{1,15})\s*([KMGT]?)(i?B)?", text.strip(), re.IGNORECASE)
    if not match:
        raise UsageError(f"FACECTL_CACHE_BYTES={text!r} is not a size; use a number of bytes, or such as 500M or 4G")
    return int(match[1]) * _UNITS[match[2].upper()]
