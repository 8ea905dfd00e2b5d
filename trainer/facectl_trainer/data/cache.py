"""Features kept on disk, so that a backbone sees each photograph once."""

import sqlite3
import sys
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

import numpy as np
import numpy.typing as npt

from facectl_runtime.home import home

Features = npt.NDArray[np.float32]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS features (space TEXT, content TEXT, vector BLOB, PRIMARY KEY (space, content)) WITHOUT ROWID
"""


class FeatureCache:
    """Feature vectors by content, in one SQLite file that several runs may share.

    A space is everything that decides a vector beside the photograph: backbone, weights, input, decode. A cache that
    cannot be read or written costs time, never a run: one warning is printed, and training goes on without it.
    """

    def __init__(self, space: str, file: Path | None = None) -> None:
        self._space = space
        self._file = file or home() / "features.sqlite"
        self._usable = True

    def get(self, contents: Iterable[str]) -> dict[str, Features]:
        """Give the vectors that are known: SHA-256 of the photograph → float32, d."""
        if not self._usable:
            return {}
        wanted = sorted(set(contents))
        found: dict[str, Features] = {}
        try:
            with closing(self._open()) as database:
                for start in range(0, len(wanted), 500):  # below SQLite's limit on parameters
                    some = wanted[start : start + 500]
                    marks = ",".join("?" * len(some))
                    query = f"SELECT content, vector FROM features WHERE space = ? AND content IN ({marks})"  # noqa: S608
                    rows = database.execute(query, (self._space, *some))
                    found |= {content: np.frombuffer(vector, np.float32) for content, vector in rows}
        except (sqlite3.Error, OSError, ValueError) as error:
            self._warn("read", error)
            return {}
        return found

    def put(self, vectors: Mapping[str, Features]) -> None:
        """Keep vectors, all of them or, where the disk is full, none."""
        if not self._usable:
            return
        rows = [(self._space, content, vector.astype(np.float32).tobytes()) for content, vector in vectors.items()]
        try:
            with closing(self._open()) as database, database:
                database.executemany("INSERT OR REPLACE INTO features VALUES (?, ?, ?)", rows)
        except (sqlite3.Error, OSError) as error:
            self._warn("written", error)

    def _open(self) -> sqlite3.Connection:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(self._file, timeout=30)
        database.execute(_SCHEMA)
        return database

    def _warn(self, verb: str, error: Exception) -> None:
        self._usable = False
        print(
            f"facectl: the feature cache {self._file} could not be {verb} ({error}); going on without it",
            file=sys.stderr,
        )
