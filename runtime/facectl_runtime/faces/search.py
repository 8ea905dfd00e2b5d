"""Exact search: the people who are most like a face, by cosine, at the cost of one matrix product."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]

_QUERIES = 64  # at once
_SCORES = 1 << 23  # at once: 32 MB; each product of a part of the columns costs numpy time of its own
_GROUP = 256  # columns whose best is known, so that a round looks through few scores
_FEW = 4096  # columns, through which a round looks as fast without groups
_MANY = 64  # people wanted, for whom sorting takes less than rounds


@dataclass(frozen=True, eq=False)
class Templates:
    """What faces are compared with: N embeddings of P people, those of one person next to one another."""

    names: tuple[str, ...]
    """P names, in the order of their code points."""
    columns: Floats
    """float32, d × N, C order, L2 norm 1: an embedding a column, by which numpy multiplies faster than by rows."""
    bounds: Indices
    """P + 1: the columns of person i are bounds[i] to bounds[i + 1], one or more."""
    owners: Indices
    """N: whose a column is, an index into `names`."""

    @classmethod
    def of(cls, names: Sequence[str], rows: Floats, starts: npt.ArrayLike) -> Self:
        """Copy embeddings into columns: `rows` float32, N × d; `starts`: P integers, where each person's rows begin.

        Raises `ValueError` where there is a person without a row, or a row without a person.
        """
        columns = np.array(rows, np.float32).T
        return cls.of_columns(names, columns, starts)

    @classmethod
    def of_columns(cls, names: Sequence[str], columns: Floats, starts: npt.ArrayLike) -> Self:
        """Take embeddings, d × N float32, copied only where they are not in C order; else as `of`."""
        if columns.ndim != 2:
            raise ValueError(f"embeddings of shape {columns.shape}; two dimensions are needed")
        count = columns.shape[1]
        bounds = np.append(np.asarray(starts, np.intp), count)
        rows_each = np.diff(bounds)
        if len(rows_each) != len(names) or bounds[0] != 0 or (rows_each < 1).any():
            raise ValueError(
                f"{count} embeddings, which do not begin at starts of {len(names)} people, one or more each"
            )
        owners = np.repeat(np.arange(len(names)), rows_each)
        return cls(tuple(names), np.ascontiguousarray(columns), bounds, owners)

    @property
    def rows(self) -> Floats:
        """float32, N × d, in Fortran order: the columns, not a copy of them."""
        return self.columns.T

    @property
    def starts(self) -> Indices:
        """P: the first row of each person."""
        return self.bounds[:-1]


class Found(NamedTuple):
    """The best people of each query, best first; those who are equally like it in the order of their names."""

    people: Indices
    """Q × k, indices into `Templates.names`."""
    similarities: Floats
    """Q × k, float32: the largest cosine of a person's embeddings and the query, -1 to 1 but for rounding."""


def search(queries: Floats, templates: Templates, k: int = 1) -> Found:
    """Find the `k` people most like each query, or all people where there are fewer.

    `queries`: float32, Q × d, L2 norm 1. Exact: every embedding is compared, and some 40 MB are enough beside the
    arrays themselves. Raises `ValueError` for another shape, for numbers that are not finite and for k below 1.
    """
    queries = np.asarray(queries, np.float32)
    size = len(templates.columns)
    if queries.ndim != 2 or queries.shape[1] != size:
        raise ValueError(f"queries of shape {queries.shape}; Q × {size} are needed")
    if k < 1:
        raise ValueError(f"the {k} most like it; 1 or more can be found")
    k = min(k, len(templates.names))
    if k == 0 or len(queries) == 0:
        return _unfound(len(queries), k)
    if k > _MANY:
        found = _joined([_by_sorting(query, templates, k) for query in queries])
    elif len(queries) <= _QUERIES:
        found = _few(queries, templates, k)
    else:
        found = _joined([_few(queries[at : at + _QUERIES], templates, k) for at in range(0, len(queries), _QUERIES)])
    if not np.isfinite(found.similarities).all():
        raise ValueError("a query has numbers that are not finite; embeddings of L2 norm 1 are needed")
    return found


def _joined(parts: list[Found]) -> Found:
    return Found(np.concatenate([part.people for part in parts]), np.concatenate([part.similarities for part in parts]))


def _few(queries: Floats, templates: Templates, k: int) -> Found:
    """Search for few queries, a block of columns after the other."""
    bounds = templates.bounds
    width = max(_GROUP, _SCORES // len(queries))
    blocks = list(_blocks(bounds, width)) if bounds[-1] > width else [(0, len(bounds) - 1)]
    widest = max(int(bounds[last] - bounds[first]) for first, last in blocks)
    room = np.empty(len(queries) * _padded(widest), np.float32)
    found = _best(queries, templates, *blocks[0], k, room)
    for first, last in blocks[1:]:
        found = _merged(found, _best(queries, templates, first, last, k, room), k)
    return found


def _blocks(bounds: Indices, width: int) -> Iterator[tuple[int, int]]:
    """Give the first person of each block, and the one after its last: of `width` columns, or one person of more.

    A person is in one block alone, so that what is found in two can be put together.
    """
    first = 0
    while first < len(bounds) - 1:
        last = max(first + 1, int(np.searchsorted(bounds, bounds[first] + width, "right")) - 1)
        yield first, last
        first = last


def _merged(one: Found, other: Found, k: int) -> Found:
    people = np.concatenate([one.people, other.people], axis=1)
    similarities = np.concatenate([one.similarities, other.similarities], axis=1)
    order = np.argsort(-similarities, axis=1, kind="stable")[:, :k]
    return Found(np.take_along_axis(people, order, 1), np.take_along_axis(similarities, order, 1))


def _best(queries: Floats, templates: Templates, first: int, last: int, k: int, room: Floats) -> Found:
    """Find the best of the people from `first` to before `last`; `room` takes their scores."""
    start, end = templates.bounds[first], templates.bounds[last]
    count = end - start
    grouped = k > 1 and count > _FEW
    width = _padded(count) if grouped else count
    scores = room[: len(queries) * width].reshape(len(queries), width)
    scores[:, count:] = -np.inf
    np.matmul(queries, templates.columns[:, start:end], out=scores[:, :count])
    if k == 1:
        best = scores.argmax(axis=1)  # the first of those that are equal: of the first name
        return Found(templates.owners[start + best, None], scores[np.arange(len(scores)), best, None])
    bounds = templates.bounds[first : last + 1] - start
    owners = templates.owners[start:end] - first
    found = (_by_groups if grouped else _by_columns)(scores, bounds, owners, min(k, last - first))
    return Found(found.people + first, found.similarities)


def _by_columns(scores: Floats, bounds: Indices, owners: Indices, k: int) -> Found:
    """Take the best column k times, and each time strike out all columns of its owner."""
    found = _unfound(len(scores), k)
    every = np.arange(len(scores))
    for number in range(k):
        column = scores.argmax(axis=1)
        who = owners[column]
        found.people[:, number] = who
        found.similarities[:, number] = scores[every, column]
        if len(bounds) > len(owners):  # a column each
            scores[every, column] = -np.inf
        else:
            scores[_spans(bounds[who], bounds[who + 1])] = -np.inf
    return found


def _by_groups(scores: Floats, bounds: Indices, owners: Indices, k: int) -> Found:
    """Do as `_by_columns`, and look only through the group that has the best column."""
    grouped = scores.reshape(len(scores), -1, _GROUP)
    tops = grouped.max(axis=2)
    found = _unfound(len(scores), k)
    every = np.arange(len(scores))
    for number in range(k):
        group = tops.argmax(axis=1)
        found.similarities[:, number] = tops[every, group]
        who = owners[group * _GROUP + grouped[every, group].argmax(axis=1)]
        found.people[:, number] = who
        start, end = bounds[who], bounds[who + 1]
        scores[_spans(start, end)] = -np.inf
        changed = _spans(start // _GROUP, (end - 1) // _GROUP + 1)
        tops[changed] = grouped[changed].max(axis=1)
    return found


def _padded(count: int) -> int:
    """Give the next multiple of a group's columns."""
    return count + -count % _GROUP


def _unfound(queries: int, k: int) -> Found:
    return Found(np.empty((queries, k), np.intp), np.empty((queries, k), np.float32))


def _spans(starts: Indices, ends: Indices) -> tuple[Indices, Indices]:
    """Give the places from starts[i] to before ends[i] in row i, of all rows, as (rows, columns)."""
    counts = ends - starts
    behind = np.cumsum(counts)
    rows = np.repeat(np.arange(len(starts)), counts)
    return rows, np.arange(behind[-1]) + np.repeat(starts - behind + counts, counts)


def _by_sorting(query: Floats, templates: Templates, k: int) -> Found:
    scores = np.maximum.reduceat(query @ templates.columns, templates.starts)
    people = np.argsort(-scores, kind="stable")[:k].copy()  # not a part of all, which would be kept
    return Found(people[None], scores[people][None])
