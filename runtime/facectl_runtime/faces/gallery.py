"""A gallery: the people whom faces are compared with, in one SQLite file that belongs to one model.

It holds names and embeddings, and where each embedding comes from, never a photograph.
"""

import re
import sqlite3
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from facectl_runtime.errors import FacectlError, UsageError, did_you_mean, reason
from facectl_runtime.faces.gallery_file import Opened, damaged, explained, opened, transaction
from facectl_runtime.faces.search import Templates
from facectl_runtime.sources import display_name
from facectl_runtime.spec import NORM_TOLERANCE, UNKNOWN

Floats = npt.NDArray[np.float32]

_LONGEST_NAME = 200  # characters
_SAME_FACE = 0.9  # cosine of what two precisions of one model make of one face, and no two faces of one photograph
_BLOCK = 8192  # embeddings that are turned into columns at once
_SHA256 = re.compile("[0-9a-f]{64}")
_BEGINS = re.compile("[0-9a-fA-F]{8,64}")  # of one


@dataclass(frozen=True)
class Added:
    """What became of an embedding that was to be enrolled."""

    outcome: Literal["added", "replaced", "already there"]
    """`replaced`: another thing had found the face in it. `already there`: nothing was written."""
    others: tuple[str, ...]
    """Other people who have an embedding of the same photograph, in order: rightly where it shows them too."""


@dataclass(frozen=True)
class Person:
    """One who is enrolled."""

    name: str
    photographs: int
    first_enrolled: str
    """UTC, ISO 8601, such as 2026-01-02T03:04:05Z."""


@dataclass(frozen=True)
class Photograph:
    """One that a person is enrolled with; of it, the gallery has the face's embedding alone."""

    name: str
    """Whose."""
    source: str
    """How the photograph was named when it was enrolled."""
    enrolled: str
    """UTC, ISO 8601."""
    content: str
    """SHA-256 of its file, in hexadecimal."""


def checked_name(name: str) -> str:
    """Give a name as galleries keep it: in NFC, else unchanged. Raises `UsageError` for what is not a name."""
    name = unicodedata.normalize("NFC", name)
    if not name:
        raise UsageError("the name is empty; give one of 1 to 200 characters")
    if not name.isprintable():
        raise UsageError(f"the name {_short(name)} has characters that cannot be printed; leave them out")
    if name != name.strip():
        raise UsageError(f"the name {_short(name)} has blanks at its ends; leave them out")
    if len(name) > _LONGEST_NAME:
        raise UsageError(
            f"the name {_short(name)} has {len(name):,} characters; at most {_LONGEST_NAME} are allowed; shorten it"
        )
    if name.casefold() == UNKNOWN:
        raise UsageError(f"the name {name!r} is the answer to strangers; give another")
    return name


def _is_name(text: str) -> bool:
    try:
        return checked_name(text) == text
    except UsageError:
        return False


class Gallery:
    """A gallery that is open: a context manager, of the thread that opened it.

    Each call is one transaction: another process sees all of it or nothing, and a process that is killed loses at most
    the call it is in. All calls raise `FacectlError` where the disk is full or fails, or where another process writes
    for 30 seconds, and `UsageError` where the file is damaged.
    """

    @classmethod
    @contextmanager
    def open(
        cls, path: Path, embedding_id: str | None = None, size: int | None = None, *, write: bool = False
    ) -> Iterator[Self]:
        """Open the gallery at `path`: to read it, which creates and changes nothing, or with `write` also to change it.

        `embedding_id` and `size` are the model's, or None where no model is concerned. With `write` and a model, a
        gallery is made where there is none, for the file's owner alone. Raises `UsageError` for a file that is no
        gallery, that is of another model or of a later version, or that cannot be opened, and where there is none.
        """
        with opened(path, embedding_id, size, write=write) as file:
            gallery = cls(file)
            if write:
                gallery._sweep_again()
            yield gallery

    def __init__(self, file: Opened) -> None:
        """Take what `open` has opened and checked."""
        self._database, self._where = file.database, file.where
        self.embedding_id = file.embedding_id
        """Of the model whose embeddings these are."""
        self.size = file.size
        """Numbers in an embedding."""

    def add(self, name: str, embedding: Floats, source: str, content: str, found_by: str = "") -> Added:
        """Enrol a face of a photograph under a name, which may have others already.

        `embedding`: `size` numbers, L2 norm 1; `source`: the photograph's name, for people; `content`: SHA-256 of its
        file, in hexadecimal; `found_by`: what found the face in it, nothing where it was cropped already. The same face
        of the same photograph is kept once a person, and what another thing found in it no longer. Raises `UsageError`
        for what is not a name, and `ValueError` for what is not such an embedding or digest.
        """
        name, blob = checked_name(name), self._checked(embedding)
        if not _SHA256.fullmatch(content):
            raise ValueError(f"content {content[:80]!r} is not a SHA-256 of 64 hexadecimal digits")
        digest, source = bytes.fromhex(content), display_name(source)
        with self._transaction("IMMEDIATE"):
            others = self._others(name, digest)
            replaced = self._database.execute(
                "DELETE FROM photographs WHERE content = ? AND found_by != ? AND person IN "
                "(SELECT id FROM people WHERE name = ?)",
                (digest, found_by, name),
            ).rowcount
            if self._has(name, digest, blob):
                return Added("already there", others)
            self._database.execute("INSERT OR IGNORE INTO people (name) VALUES (?)", (name,))
            self._database.execute(
                "INSERT INTO photographs (person, content, source, found_by, enrolled, embedding) "
                "VALUES ((SELECT id FROM people WHERE name = ?), ?, ?, ?, ?, ?)",
                (name, digest, source, found_by, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), blob),
            )
        return Added("replaced" if replaced else "added", others)

    def found_by(self) -> tuple[str, ...]:
        """Give what found the faces, as `add` was told, each once."""
        with self._transaction():
            rows = self._database.execute("SELECT DISTINCT found_by FROM photographs ORDER BY found_by").fetchall()
            return tuple(str(row[0]) for row in rows)

    def people(self) -> list[Person]:
        """Give everybody, in the order of names."""
        query = (
            "SELECT name, count(*), min(enrolled) FROM photographs JOIN people ON people.id = person GROUP BY person "
            "ORDER BY name"
        )
        with self._transaction():
            return [Person(*row) for row in self._named(query, str, int, str)]

    def photographs(self) -> list[Photograph]:
        """Give every photograph, in the order of names, and of each as they were enrolled."""
        query = (
            "SELECT name, source, enrolled, lower(hex(content)) FROM photographs JOIN people ON people.id = person "
            "ORDER BY name, photographs.id"
        )
        with self._transaction():
            return [Photograph(*row) for row in self._named(query, str, str, str, str)]

    def known_names(self, names: Iterable[str]) -> list[str]:
        """Give the names as the gallery has them, each once. Raises `UsageError` where nobody is called by one."""
        with self._transaction():
            known = self._names()
        asked = list(dict.fromkeys(unicodedata.normalize("NFC", name) for name in names))
        for name in asked:
            if name not in known:
                raise self._nobody(name, known)
        return asked

    def _names(self) -> list[str]:
        return [row[0] for row in self._named("SELECT name FROM people ORDER BY name", str)]

    def _named(self, query: str, *kinds: type) -> list[Any]:
        """Give rows of such values, of which a name is the first. Raises `UsageError` where they are not as written."""
        rows = self._database.execute(query).fetchall()
        if not all(tuple(map(type, row)) == kinds and _is_name(row[0]) for row in rows):
            raise damaged(self._where, "it has a name or a date that is not as it was written")
        return rows

    def remove(self, name: str, sources: Sequence[str] = ()) -> int:
        """Remove a person, or photographs of theirs; give how many went.

        `sources`: names of photographs as when they were enrolled, or how their `content` begins, 8 digits or more.

        Nothing about what is removed is left in the file, and who has no photograph left is nobody in it. Raises
        `UsageError`, and removes nothing, where nobody is called so, or has no such photograph, and `FacectlError`
        where it is removed, but the file could not be freed of what was left; it then is when it is next opened to be
        written.
        """
        name = unicodedata.normalize("NFC", name)
        with self._transaction("IMMEDIATE"):
            found = self._database.execute("SELECT id FROM people WHERE name = ?", (name,)).fetchone()
            if not found:
                raise self._nobody(name, self._names())
            wanted: list[str | None] = [*map(display_name, sources)] or [None]  # None: all of them
            photographs = sum(self._remove_photographs(name, found[0], source) for source in wanted)
            left = "SELECT 1 FROM photographs WHERE person = people.id"
            self._database.execute(f"DELETE FROM people WHERE id = ? AND NOT EXISTS ({left})", found)  # noqa: S608
            self._database.execute("UPDATE gallery SET unswept = unswept + 1")
        try:
            self._sweep()
        except sqlite3.Error as error:
            raise FacectlError(
                f"{self._where}: {_short(name)} is removed, but traces may be left in the file ({reason(error)}); they "
                "go when it is next written to"
            ) from error
        return photographs

    def _remove_photographs(self, name: str, person: int, source: str | None) -> int:
        """Remove that photograph of a person, or all. Raises `UsageError` where there is none, or more than one."""
        if source is None:
            return self._database.execute("DELETE FROM photographs WHERE person = ?", (person,)).rowcount
        begins = source.lower() if _BEGINS.fullmatch(source) else "-"  # with which none begins
        query = "FROM photographs WHERE person = ? AND (source = ? OR substr(lower(hex(content)), 1, ?) = ?)"
        values = person, source, len(begins), begins
        found = self._database.execute(f"SELECT count(DISTINCT content) {query}", values).fetchone()[0]
        if found != 1:
            how = "facectl faces list --photographs shows "
            hint = how + ("how each is called" if not found else "the content of each, by which one can be named")
            raise UsageError(
                f"{self._where}: {_short(name)} has {found or 'no'} photograph{'s' if found > 1 else ''} that "
                f"{'were' if found > 1 else 'was'} enrolled as {source[-_LONGEST_NAME:]!r}; {hint}"
            )
        return self._database.execute(f"DELETE {query}", values).rowcount

    def _nobody(self, name: str, known: Sequence[str]) -> UsageError:
        return UsageError(
            f"{self._where}: nobody is called {_short(name)}{did_you_mean(name[:_LONGEST_NAME], known)}; "
            "facectl faces list shows who is enrolled"
        )

    def templates(self, kind: Literal["all", "mean"] = "all") -> Templates:
        """Give what faces are compared with: `all` embeddings, or of each person their `mean`, of L2 norm 1 again."""
        with self._transaction():
            rows = self._named("SELECT name, id FROM people ORDER BY name", str, int)
            names = {number: name for name, number in rows}
            owners: list[int] = []
            blobs = bytearray()
            for owner, blob in self._database.execute("SELECT person, embedding FROM photographs ORDER BY id"):
                if not isinstance(blob, bytes) or len(blob) != 4 * self.size:
                    raise damaged(self._where, f"it has an embedding that is not of {self.size} numbers")
                owners.append(owner)
                blobs += blob
        templates = self._arranged(names, owners, blobs)
        return templates if kind == "all" else self._means(templates)

    def _arranged(self, names: Mapping[int, str], owners: list[int], blobs: bytearray) -> Templates:
        """Put embeddings into columns, person by person, and hold them to what `add` took."""
        rank = {number: place for place, number in enumerate(names)}
        if set(owners) != set(names):
            raise damaged(self._where, "its embeddings do not belong to its people")
        places = np.fromiter((rank[owner] for owner in owners), np.intp, len(owners))
        order = np.argsort(places, kind="stable")
        rows = np.frombuffer(blobs, "<f4").reshape(len(owners), self.size)
        columns = np.empty((self.size, len(owners)), np.float32)
        for start in range(0, len(owners), _BLOCK):
            block = rows[order[start : start + _BLOCK]]
            norms = np.sqrt(np.einsum("ij,ij->i", block, block))
            if not (np.abs(norms - 1) <= NORM_TOLERANCE).all():
                raise damaged(self._where, "it has an embedding whose L2 norm is not 1")
            columns[:, start : start + _BLOCK] = block.T
        starts = np.searchsorted(places[order], np.arange(len(names)))
        return Templates.of_columns(list(names.values()), columns, starts)

    def _means(self, templates: Templates) -> Templates:
        count = len(templates.names)
        if not count:
            return templates
        sums = np.add.reduceat(templates.columns, templates.starts, axis=1, dtype=np.float64)
        norms = np.linalg.norm(sums, axis=0)
        if not norms.all():
            name = templates.names[int(norms.argmin())]
            raise UsageError(f"{self._where}: the photographs of {name!r} are opposites, and have no mean; compare all")
        return Templates.of_columns(templates.names, (sums / norms).astype(np.float32), np.arange(count))

    def _checked(self, embedding: Floats) -> bytes:
        values = np.asarray(embedding, "<f4")
        if values.shape != (self.size,):
            raise ValueError(f"an embedding of shape {values.shape}; the gallery's have {self.size} numbers")
        norm = float(np.linalg.norm(values.astype(np.float64)))
        if not abs(norm - 1) <= NORM_TOLERANCE:
            raise ValueError(f"an embedding of L2 norm {norm:g}; it must be 1")
        return values.tobytes()

    def _others(self, name: str, digest: bytes) -> tuple[str, ...]:
        query = (
            "SELECT DISTINCT name FROM photographs JOIN people ON people.id = person WHERE content = ? AND name != ? "
            "ORDER BY name"
        )
        return tuple(row[0] for row in self._database.execute(query, (digest, name)))

    def _has(self, name: str, digest: bytes, blob: bytes) -> bool:
        query = (
            "SELECT embedding FROM photographs JOIN people ON people.id = person WHERE content = ? AND name = ? "
            "AND typeof(embedding) = 'blob' AND length(embedding) = ?"
        )
        kept = [np.frombuffer(row[0], "<f4") for row in self._database.execute(query, (digest, name, len(blob)))]
        return any(one @ np.frombuffer(blob, "<f4") >= _SAME_FACE for one in kept)

    def _sweep(self) -> None:
        """Write the whole file anew.

        `secure_delete` overwrites a row where it stands, and not the copies that SQLite leaves of it where it stood
        before pages were split or joined: of 500 people removed, one or two were still to be read.
        """
        seen = self._database.execute("SELECT unswept FROM gallery").fetchone()
        self._database.execute("VACUUM")
        # Unless somebody else has been removed meanwhile, by a process that may yet be killed.
        self._database.execute("UPDATE gallery SET unswept = 0 WHERE unswept = ?", seen)

    def _sweep_again(self) -> None:
        """Do what a process that was killed, or had no room, has left to do after removing somebody."""
        with suppress(sqlite3.Error):  # a disk that is full still lets the gallery be read
            if self._database.execute("SELECT unswept FROM gallery").fetchone()[0]:
                self._sweep()

    @contextmanager
    def _transaction(self, kind: Literal["DEFERRED", "IMMEDIATE"] = "DEFERRED") -> Iterator[None]:
        with explained(self._where), transaction(self._database, kind):
            yield


def _short(name: str) -> str:
    return repr(name if len(name) <= 40 else name[:40] + "…")
