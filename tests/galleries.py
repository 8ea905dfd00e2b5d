"""Galleries for tests: made, written to by processes that are killed, and looked into by SQLite itself."""

import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np

from facectl_runtime.faces.gallery import Gallery

MODEL, SIZE = "run-1/embedding", 8
WRITER = """
import hashlib, sys
import numpy as np
from pathlib import Path
from facectl_runtime.faces.gallery import Gallery
file, name, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
with Gallery.open(file, "run-1/embedding", 8, write=True) as gallery:
    for number in range(count):
        content = hashlib.sha256(f"{name}-{number}".encode()).hexdigest()
        face = np.random.default_rng(number).standard_normal(8).astype(np.float32)
        gallery.add(f"{name}{number % 7}", face / np.linalg.norm(face), f"{name}-{number}.jpg", content)
        print(number, flush=True)
"""
SPILLED = """
import os, signal, sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("PRAGMA cache_size = 1")
database.execute("BEGIN IMMEDIATE")
for statement in sys.argv[2:]:
    database.execute(statement)
os.kill(os.getpid(), signal.SIGKILL)
"""


def unit(*numbers: float) -> np.ndarray:
    vector = np.zeros(SIZE, np.float32)
    vector[: len(numbers)] = numbers
    return vector / np.linalg.norm(vector)


def digest(text: object) -> str:
    return hashlib.sha256(str(text).encode()).hexdigest()


def write(file: Path, model: str = MODEL, size: int = SIZE):
    return Gallery.open(file, model, size, write=True)


def names(file: Path) -> dict[str, int]:
    with Gallery.open(file) as gallery:
        return {person.name: person.photographs for person in gallery.people()}


def sql(file: Path, *statements: str) -> list:
    with closing(sqlite3.connect(file, isolation_level=None)) as database:
        return [database.execute(statement).fetchall() for statement in statements][-1]


def killed_midway(file: Path, *statements: str) -> None:
    """Let a process write so much that SQLite begins to change the file, and kill it before it is done."""
    run = subprocess.run([sys.executable, "-c", SPILLED, file, *statements], timeout=60)
    assert run.returncode == -signal.SIGKILL


@contextmanager
def nobody() -> Iterator[None]:
    """Be a user who may not write everywhere, where the tests are run by root."""
    if os.geteuid() == 0:
        os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(0)
    else:
        yield


def big(file: Path, people: int = 500) -> Path:
    with write(file) as gallery:
        gallery._database.execute("PRAGMA synchronous = OFF")
        for number in range(people):
            gallery.add(f"person {number}", unit(1, number), f"{number}.jpg", digest(number))
    return file
