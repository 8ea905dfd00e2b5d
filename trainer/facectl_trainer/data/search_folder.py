"""The folder of a search: photographs, a table of their sources, and how far the search has come.

A photograph is written first, its row next, and last that it needs no download: broken off anywhere, nothing is lost.
"""

import csv
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import StringIO
from pathlib import Path

import msgspec

from facectl_runtime.errors import UsageError, one_line, reason
from facectl_runtime.labelled import content_hash
from facectl_runtime.sources import images_below
from facectl_trainer.data.openverse import CATEGORIES, Page, Photo, Question
from facectl_trainer.transfer import unwritable

TABLE = "sources.csv"
STATE = ".search.json"
FROM_INDEX = (
    "title",
    "creator",
    "creator_url",
    "license",
    "license_version",
    "license_url",
    "source",
    "foreign_landing_url",
    "url",
)
COLUMNS = ("file", *FROM_INDEX, "sha256", "attribution")
_LONGEST = 10_000  # characters of a field; csv does not read more than 131,072 back
_NEW = ".facectl.new"

Row = dict[str, str]


class _State(msgspec.Struct):
    """How far a search has come."""

    question: Question
    page: int = 1
    """The next to ask for."""
    ended: str | None = None
    """Why no page comes after."""
    pending: list[Photo] = []
    """Found, and not looked at yet."""
    refused: dict[str, str] = {}
    """Id to why the photograph is left out."""


class SearchFolder:
    """A search under way; whatever is changed is on the disk at once."""

    def __init__(self, path: Path, state: _State, rows: list[Row]) -> None:
        self.path, self._state, self.rows = path, state, []
        for row in rows:
            if (path / row["file"]).is_file():
                self.rows.append(row)
            else:
                state.refused.setdefault(Path(row["file"]).stem, "removed by hand")
        met = self._met()
        state.pending = [photo for photo in state.pending if photo.id not in met]
        self._files = {content_hash(file): file.stem for file in images_below(path)}
        self._postponed: list[Photo] = []
        if len(self.rows) < len(rows):
            self._write_table()
        self._save()

    @property
    def page(self) -> int:
        """Give the number of the page to ask for."""
        return self._state.page

    @property
    def ended(self) -> str | None:
        """Say why no further page comes, where none does."""
        return self._state.ended

    @property
    def refused(self) -> list[str]:
        """Give the reason of each photograph that is left out."""
        return list(self._state.refused.values())

    @property
    def postponed(self) -> int:
        """Give how many photographs are left for the next time."""
        return len(self._postponed)

    @property
    def is_bare(self) -> bool:
        """Say whether nothing has been found."""
        return not (self.rows or self._state.refused or self._state.pending or self._postponed)

    def next(self) -> Photo | None:
        """Give the next photograph to look at."""
        return self._state.pending[0] if self._state.pending else None

    def take(self, page: Page) -> None:
        """Add what a page has that was not met before, and turn it."""
        met = self._met() | {photo.id for photo in (*self._state.pending, *self._postponed)}
        for photo in page.results:
            if photo.id not in met:
                met.add(photo.id)
                self._state.pending.append(photo)
        self._state.page += 1
        self._save()

    def end(self, why: str) -> None:
        """Ask for no further page."""
        self._state.ended = why
        self._save()

    def has(self, photo: Photo, sha256: str) -> bool:
        """Say whether these bytes are here as another photograph."""
        return self._files.get(sha256, photo.id) != photo.id

    def keep(self, photo: Photo, content: bytes, suffix: str, sha256: str) -> None:
        """Write a photograph, and where it is from."""
        file = photo.id + suffix
        _write(self.path / file, content)
        self._files[sha256] = photo.id
        fields = {name: (getattr(photo, name) or "")[:_LONGEST] for name in FROM_INDEX}
        row = {"file": file, **fields, "sha256": sha256, "attribution": (photo.attribution or "")[:_LONGEST]}
        self.rows = [old for old in self.rows if Path(old["file"]).stem != photo.id] + [row]
        self._write_table()
        self._done()

    def refuse(self, photo: Photo, why: str) -> None:
        """Leave a photograph out, for good."""
        self._state.refused[photo.id] = one_line(why)[:300]
        self._done()

    def postpone(self, photo: Photo) -> None:
        """Leave a photograph for the next time."""
        self._postponed.append(photo)
        self._done()

    def _met(self) -> set[str]:
        """Give the ids that have been judged."""
        return {Path(row["file"]).stem for row in self.rows} | set(self._state.refused)

    def _done(self) -> None:
        del self._state.pending[0]
        self._save()

    def _save(self) -> None:
        whole = msgspec.structs.replace(self._state, pending=self._state.pending + self._postponed)
        _write(self.path / STATE, msgspec.json.encode(whole))

    def _write_table(self) -> None:
        text = StringIO(newline="")
        writer = csv.DictWriter(text, COLUMNS)
        writer.writeheader()
        writer.writerows(self.rows)
        _write(self.path / TABLE, text.getvalue().encode("utf-8", "replace"))


@contextmanager
def open_search(to: Path, question: Question) -> Iterator[SearchFolder]:
    """Open the folder of a search for this process alone, or make it; it goes again where nothing was found.

    Raises `UsageError` where `to` holds something else, or another process is at it, and `FacectlError` where it cannot
    be written.
    """
    made = [folder for folder in (to, *to.parents) if not os.path.lexists(folder)]
    if not made and not to.is_dir():
        raise UsageError(f"{to}: there is something else of that name; give another --to")
    try:
        to.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(to, error) from error
    with _held(to):
        state, rows = _read_state(to, question), _read_table(to / TABLE)
        for scrap in to.glob(f".*{_NEW}"):  # of a process that was killed
            scrap.unlink(missing_ok=True)
        folder = None
        try:
            folder = SearchFolder(to, state, rows)
            yield folder
        finally:
            if folder.is_bare if folder else made:
                _remove(to, made)


def _remove(to: Path, made: list[Path]) -> None:
    with suppress(OSError):  # somebody has put something into one of them
        (to / STATE).unlink(missing_ok=True)
        for folder in made:
            folder.rmdir()


@contextmanager
def _held(to: Path) -> Iterator[None]:
    """Lock a folder; raises `UsageError` where another process has it."""
    if sys.platform == "win32":  # it has no such locks
        yield
        return
    import fcntl

    try:
        lock = os.open(to, os.O_RDONLY)
    except OSError as error:
        raise UsageError(f"{to}: cannot be read ({error.strerror}); check its permissions") from error
    try:
        with suppress(OSError):  # a file system without locks, as some that come over a network
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UsageError(f"{to}: another process is at it; wait for it, or give another --to") from None
        yield
    finally:
        os.close(lock)


def _read_state(to: Path, question: Question) -> _State:
    path = to / STATE
    try:
        state = msgspec.json.decode(path.read_bytes(), type=_State)
    except FileNotFoundError:
        if any(entry for entry in to.iterdir() if not entry.name.endswith(_NEW)):
            raise UsageError(f"{to}: already there, and holds no search; give another --to") from None
        return _State(question)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path}: not the state of a search ({reason(error)}); give another --to") from error
    if state.question != question:
        raise UsageError(
            f"{to}: holds the search for {_shown(state.question)}, not {_shown(question)}; give another --to"
        )
    return state


def _shown(question: Question) -> str:
    more = [f"licence {', '.join(question.licences)}"] if question.licences else []
    more += [f"category {question.category or 'any'}"] if question.category != CATEGORIES[0] else []
    return repr(one_line(question.words)[:60]) + (f" ({'; '.join(more)})" if more else "")


def _read_table(path: Path) -> list[Row]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            rows = list(reader)
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: cannot be read ({reason(error)}); mend it, or move it away") from error
    whole = all(set(row) == set(COLUMNS) and None not in row.values() for row in rows)
    if tuple(reader.fieldnames or ()) != COLUMNS or not whole:
        raise UsageError(f"{path}: not the columns {', '.join(COLUMNS)}; put them back, or give another --to")
    if wrong := [row["file"] for row in rows if Path(row["file"]).name != row["file"] or not row["file"]]:
        raise UsageError(f"{path}: {one_line(wrong[0])[:100]!r} is no file of this folder; mend it, or move it away")
    return rows


def _write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; raises `FacectlError`."""
    new = path.with_name(f".{path.name}{_NEW}")
    try:
        new.write_bytes(content)
        new.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with suppress(OSError):
            new.unlink(missing_ok=True)
