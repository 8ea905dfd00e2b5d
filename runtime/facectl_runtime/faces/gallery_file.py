"""The SQLite file of a gallery: opened, made where there is none, and what can be wrong with it in one line."""

import os
import sqlite3
import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Literal, NamedTuple

from facectl_runtime.errors import FacectlError, UsageError, one_line, reason
from facectl_runtime.files import unwritable
from facectl_runtime.sources import display_name

_SQLITE, _HEADER = b"SQLite format 3\0", 100  # how a database begins, and how long that is
_APPLICATION = 0x0FACE9A1
"""In the file's header (PRAGMA application_id): what a gallery is known by."""
_VERSION = 1
"""Likewise (PRAGMA user_version). To be raised whenever what follows changes."""
_SCHEMA = (
    "CREATE TABLE gallery (embedding_id TEXT, size INTEGER, unswept INTEGER)",
    "CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT UNIQUE)",
    "CREATE TABLE photographs (id INTEGER PRIMARY KEY, person INTEGER, content BLOB, source TEXT, found_by TEXT, "
    "enrolled TEXT, embedding BLOB)",
    "CREATE INDEX by_content ON photographs (content)",
    "CREATE INDEX by_person ON photographs (person)",
)
_PATIENCE = 30.0  # seconds to wait while another process writes
_OPEN: Counter[tuple[int, int]] = Counter()
"""How often this process has a file open, by its device and number."""
_GUARD = Lock()
_ENROLL = "enrol somebody first with: facectl faces enroll"


class Opened(NamedTuple):
    """A gallery's file, and the model that it belongs to."""

    database: sqlite3.Connection
    where: str
    """The file, for messages."""
    embedding_id: str
    size: int


@contextmanager
def opened(path: Path, embedding_id: str | None, size: int | None, *, write: bool) -> Iterator[Opened]:
    """Open a gallery's file as `Gallery.open` says."""
    where = one_line(display_name(path))
    with _reserved(path, where, create=write and embedding_id is not None):
        with explained(where):
            database = _writable(path) if write else _readable(path, where)
        with closing(database):
            with explained(where):
                if write:
                    _prepare(database, embedding_id, size)
                file = Opened(database, where, *_identified(database, where))
                if path.stat().st_size % _pragma(database, "page_size"):
                    raise damaged(where, "it ends in the middle of a page")
            _check_model(file, embedding_id, size)
            yield file


@contextmanager
def _reserved(path: Path, where: str, *, create: bool) -> Iterator[None]:
    """Make the file if it is to be made, and look at it before SQLite does, unless this process has it open.

    To close a file takes from a process all its locks of it (POSIX), those of SQLite's connections too: another process
    would then write at the same time, and the file be lost (SQLite, "How To Corrupt An SQLite Database File", 2.2).
    """
    with _GUARD:
        if create:
            _make(path, where)
        status = _status(path, where)
        key = status.st_dev, status.st_ino
        if not _OPEN[key]:
            _check_head(path, where, status.st_size)
        _OPEN[key] += 1
    try:
        yield
    finally:
        with _GUARD:
            _OPEN[key] -= 1


def _readable(path: Path, where: str) -> sqlite3.Connection:
    """Connect so that nothing can be changed, except where a process was killed while it wrote: that is undone."""
    if path.stat().st_size == 0:  # left by a process that was killed before it enrolled anybody
        raise UsageError(f"{where}: nobody is enrolled in it; {_ENROLL}")
    database = _connect(path, "ro")
    try:
        _pragma(database, "schema_version")
    except sqlite3.OperationalError as error:
        database.close()
        if error.sqlite_errorcode != sqlite3.SQLITE_READONLY_ROLLBACK:
            raise
        return _rolled_back(path, where)
    except sqlite3.Error:
        database.close()
        raise
    return database


def _rolled_back(path: Path, where: str) -> sqlite3.Connection:
    with closing(_connect(path, "rw")) as database:
        try:
            _pragma(database, "schema_version")
        except sqlite3.OperationalError as error:
            raise UsageError(
                f"{where}: a process was ended while it wrote to it, and what it left cannot be undone from here "
                f"({reason(error)}); open the gallery once where it may be written, with: facectl faces list"
            ) from error
    return _connect(path, "ro")


def _writable(path: Path) -> sqlite3.Connection:
    database = _connect(path, "rw")
    for pragma in ("secure_delete = ON", "journal_mode = DELETE", "synchronous = EXTRA"):
        database.execute(f"PRAGMA {pragma}")
    return database


def _connect(path: Path, mode: Literal["ro", "rw"]) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    database = sqlite3.connect(uri, uri=True, timeout=_PATIENCE, isolation_level=None)
    database.execute("PRAGMA temp_store = MEMORY")  # no copies of embeddings in temporary files
    return database


def _make(path: Path, where: str) -> None:
    """Make an empty file where there is none, for its owner alone: who somebody is, is nobody else's business."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        if path.is_file() and not path.stat().st_size:
            path.chmod(0o600)
    except OSError as error:
        raise unwritable(where, error) from error


def _status(path: Path, where: str) -> os.stat_result:
    """Refuse what is not a file: SQLite would wait for a pipe for ever. Raises `UsageError`."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{where}: no such gallery; {_ENROLL}") from None
    except OSError as error:
        raise UsageError(f"{where}: cannot be read ({error.strerror}); give a gallery that can be") from error
    if not stat.S_ISREG(status.st_mode):
        what = "a folder" if stat.S_ISDIR(status.st_mode) else "not a file"
        raise UsageError(f"{where}: {what}; a gallery is the file that facectl faces enroll makes")
    return status


def _check_head(path: Path, where: str, size: int) -> None:
    """Refuse another program's file before SQLite opens it, which changes what it may write to. Raises `UsageError`."""
    if size == 1:  # which SQLite takes for an empty file
        raise _foreign(where)
    try:
        with path.open("rb") as file:
            head = file.read(_HEADER)
    except OSError as error:
        raise UsageError(f"{where}: cannot be read ({error.strerror}); give a gallery that can be") from error
    if head.startswith(_SQLITE) and int.from_bytes(head[68:72]) != _APPLICATION:
        raise _foreign(where)


def _prepare(database: sqlite3.Connection, embedding_id: str | None, size: int | None) -> None:
    """Make a gallery of a file that is empty, in one transaction: one that was begun and not finished is empty too."""
    if embedding_id is None or _pragma(database, "page_count"):
        return
    with transaction(database, "IMMEDIATE"):
        if _pragma(database, "schema_version"):  # another process was first
            return
        for statement in _SCHEMA:
            database.execute(statement)
        database.execute("INSERT INTO gallery VALUES (?, ?, 0)", (embedding_id, size))
        database.execute(f"PRAGMA application_id = {_APPLICATION}")
        database.execute(f"PRAGMA user_version = {_VERSION}")


def _identified(database: sqlite3.Connection, where: str) -> tuple[str, int]:
    """Give the embedding_id and the size of a gallery's embeddings. Raises `UsageError` where it is none."""
    if _pragma(database, "application_id") != _APPLICATION:
        empty = not _pragma(database, "page_count")
        raise UsageError(f"{where}: nobody is enrolled in it; {_ENROLL}") if empty else _foreign(where)
    version = _pragma(database, "user_version")
    if version > _VERSION:
        raise UsageError(
            f"{where}: the gallery has version {version} and this facectl reads {_VERSION}; "
            "upgrade with: pip install -U facectl"
        )
    rows = database.execute("SELECT embedding_id, size FROM gallery").fetchall()
    if version != _VERSION or len(rows) != 1 or [type(value) for value in rows[0]] != [str, int]:
        raise damaged(where, "it does not say which model it belongs to")
    return rows[0][0], rows[0][1]


def _check_model(file: Opened, embedding_id: str | None, size: int | None) -> None:
    """Hold a gallery to the model that is given, if one is. Raises `UsageError`."""
    if embedding_id is None or size is None or (embedding_id, size) == (file.embedding_id, file.size):
        return
    ours, theirs = repr(file.embedding_id), repr(embedding_id)
    if ours == theirs:
        ours, theirs = f"{ours} with embeddings of {file.size} numbers", f"{theirs} with {size}"
    raise UsageError(
        f"{file.where}: the gallery belongs to the model {ours}, and this model is {theirs}; use the gallery's model, "
        "or enrol into another gallery"
    )


@contextmanager
def transaction(database: sqlite3.Connection, kind: Literal["DEFERRED", "IMMEDIATE"]) -> Iterator[None]:
    """Do all of what follows, or nothing. Raises what `sqlite3` does."""
    with database:
        database.execute(f"BEGIN {kind}")  # a lock taken only at the first write may be refused without a wait
        yield


@contextmanager
def explained(where: str) -> Iterator[None]:
    """Say in one line what is wrong with the file, or with its disk."""
    try:
        yield
    except sqlite3.ProgrammingError:  # not the file's fault
        raise
    except sqlite3.Error as error:
        raise _explanation(where, error) from error
    except UnicodeDecodeError as error:  # of what SQLite says of damaged text
        raise damaged(where, "it has text that is not UTF-8") from error


def _explanation(where: str, error: sqlite3.Error) -> FacectlError:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF  # without a code: text that is not UTF-8
    match code:
        case sqlite3.SQLITE_NOTADB:
            return _foreign(where)
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_FORMAT | sqlite3.SQLITE_ERROR:
            return damaged(where, reason(error))
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return FacectlError(f"{where}: another process has kept it for {_PATIENCE:g} s; try again when it is done")
        case sqlite3.SQLITE_FULL:
            return FacectlError(f"{where}: the disk is full; what was there is as before; make room, and go on")
        case sqlite3.SQLITE_IOERR:
            return FacectlError(
                f"{where}: cannot be read or written ({reason(error)}); what was there is as before; make room, or "
                "see to its disk"
            )
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return UsageError(f"{where}: cannot be opened or written ({reason(error)}); give one that can be")
    return FacectlError(f"{where}: {reason(error)}; try again, or give another gallery")


def _foreign(where: str) -> UsageError:
    return UsageError(f"{where}: not a gallery; give the file that facectl faces enroll made")


def damaged(where: str, why: str) -> UsageError:
    """Give the error to raise for a gallery in which something is not as it was written."""
    return UsageError(f"{where}: the gallery is damaged ({why}); restore it from a copy, or enrol again into another")


def _pragma(database: sqlite3.Connection, name: str) -> int:
    return int(database.execute(f"PRAGMA {name}").fetchone()[0])
