"""Search of a gallery against numpy's own matrix product of the same arrays, in turn in one process."""

import time
from collections.abc import Callable
from statistics import median

import numpy as np
import numpy.typing as npt

from common import keep
from facectl_runtime.faces.search import Templates, search
from facectl_runtime.output import columns

SIZE, QUERIES, WANTED = 128, (1, 32), (1, 5)
EACH = (1, 10)
"""Embeddings a person."""
ROUNDS = {1_000: 1_001, 100_000: 31, 1_000_000: 9}
"""How often a gallery of so many embeddings is searched."""


def main() -> None:
    """Measure galleries of three sizes, for one face and for many."""
    figures = []
    for count, rounds in ROUNDS.items():
        rows = _faces(count)
        for each in EACH:
            templates = Templates.of([f"{n:07}" for n in range(count // each)], rows, np.arange(0, count, each))
            figures += [_measured(rows, templates, queries, k, rounds) for queries in QUERIES for k in WANTED]
    header = ("rows", "people", "faces", "best", "product ms", "of rows ms", "search ms", "ratio", "to that of rows")
    table = [header]
    for one in figures:
        counts = (f"{one[name]:,}" for name in ("rows", "people", "queries", "k"))
        times = (f"{one[name]:.3f}" for name in ("product_ms", "rows_product_ms", "search_ms"))
        table.append((*counts, *times, f"{one['ratio']:.3f}", f"{one['rows_ratio']:.3f}"))
    print(columns(table, right=tuple(range(len(header)))))
    keep("search", {"size": SIZE, "wanted": 1.1, "searches": figures})


def _faces(count: int) -> npt.NDArray[np.float32]:
    faces = np.random.default_rng(0).standard_normal((count, SIZE), np.float32)
    faces /= np.linalg.norm(faces, axis=1, keepdims=True)
    return faces


def _measured(
    rows: npt.NDArray[np.float32], templates: Templates, queries: int, k: int, rounds: int
) -> dict[str, float]:
    """Time a search between two products of the array that it searches, and in turns of its own the product by rows.

    `ratio` is the median of a search to the mean of the products before and after it: what else the machine does in a
    round slows all three. `rows_ratio`: to the product of the same embeddings with an embedding a row, which is how
    they would lie without further thought, and slower.
    """
    asked = rows[:: len(rows) // queries][:queries].copy()
    times = np.array(
        [
            [
                _ms(lambda: asked @ templates.columns),
                _ms(lambda: search(asked, templates, k)),
                _ms(lambda: asked @ templates.columns),
            ]
            for _ in range(rounds)
        ]
    )
    by_rows = np.array([[_ms(lambda: asked @ rows.T), _ms(lambda: search(asked, templates, k))] for _ in range(rounds)])
    return {
        "rows": len(rows),
        "people": len(templates.names),
        "queries": queries,
        "k": k,
        "product_ms": float(np.median(times[:, ::2])),
        "rows_product_ms": float(np.median(by_rows[:, 0])),
        "search_ms": float(np.median(times[:, 1])),
        "ratio": float(np.median(times[:, 1] / times[:, ::2].mean(axis=1))),
        "rows_ratio": median(by_rows[:, 1] / by_rows[:, 0]),
    }


def _ms(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return (time.perf_counter() - started) * 1e3


if __name__ == "__main__":
    main()
