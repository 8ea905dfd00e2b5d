"""Every pair of a set of embeddings: photographs of one person, and of two."""

from collections.abc import Callable, Iterator, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from facectl_runtime.spec import NORM_TOLERANCE

Embeddings = npt.NDArray[np.float32]
People = npt.NDArray[np.integer]

_ROWS, _COLUMNS = 1024, 2048  # similarities held at a time: 8 MiB
_SLACK = 2**18  # scores gathered before those that turn out too low are dropped


class Scores(msgspec.Struct, frozen=True):
    """Similarities of K pairs of photographs, with whose they are."""

    score: npt.NDArray[np.float32]
    """Cosine, -1 to 1."""
    left: npt.NDArray[np.int32]
    """Whose the first photograph is: an index of people."""
    right: npt.NDArray[np.int32]
    """Whose the second is."""

    def where(self, mask: npt.NDArray[np.bool_]) -> "Scores":
        """Give those pairs for which `mask`, K booleans, is true."""
        kept = np.flatnonzero(mask)
        return Scores(self.score[kept], self.left[kept], self.right[kept])


def index_people(
    embeddings: Embeddings, people: Sequence[str] | Sequence[int] | People | npt.NDArray[np.str_]
) -> npt.NDArray[np.int32]:
    """Give each of N × d embeddings the number of its person, from 0 in the order of the sorted labels; int32, N.

    Raises `ValueError` unless there is a label for each embedding, and each is finite with L2 norm 1.
    """
    labels = np.asarray(people)
    if embeddings.ndim != 2 or labels.shape != embeddings.shape[:1] or not len(labels):
        raise ValueError(f"embeddings of the shape {embeddings.shape} do not go with labels of {labels.shape}")
    # 'not within' rather than 'beyond', so that a NaN is refused too
    bad = ~(np.abs(np.linalg.norm(embeddings, axis=1) - 1) <= NORM_TOLERANCE)
    if bad.any():
        raise ValueError(f"{int(bad.sum()):,} of {len(labels):,} embeddings have not the L2 norm 1; normalise them")
    return np.unique(labels, return_inverse=True)[1].astype(np.int32)


def same_people(embeddings: Embeddings, who: People) -> Scores:
    """Score all pairs of photographs of one person.

    `embeddings`: float32 N × d, L2 norm 1; `who`: N indices of people. It takes 12 bytes a pair.
    """
    scores, owners = [np.empty(0, np.float32)], [np.empty(0, np.int32)]
    for person, similarities in _within(embeddings, who):
        scores.append(similarities)
        owners.append(np.full(len(similarities), person, np.int32))
    owner = np.concatenate(owners)
    return Scores(np.concatenate(scores), owner, owner)


def count_same_below(
    embeddings: Embeddings, who: People, thresholds: npt.NDArray[np.floating]
) -> npt.NDArray[np.int64]:
    """Count each person's pairs of photographs that score below that person's threshold; int64, P.

    `embeddings` and `who` as for `same_people`; `thresholds`: P. Nothing that is counted is held.
    """
    below = np.zeros(len(thresholds), np.int64)
    for person, similarities in _within(embeddings, who):
        below[person] += np.count_nonzero(similarities < thresholds[person])
    return below


def highest_different(
    embeddings: Embeddings, who: People, add: Callable[[Scores], None], floor: Callable[[], float]
) -> Scores:
    """Score the pairs of different people once, and keep the highest: all that reach the least score still needed.

    `embeddings` and `who` as for `same_people`. `add` is given the pairs, lot by lot and each once, but for those known
    to be too low; `floor` gives the least score that can still matter by what was added, -inf for all. It must not
    fall. In which order the pairs come is not said. Memory: 12 bytes a pair kept, twice over at the end, and some
    50 MB.
    """
    parts: list[Scores] = []
    least, kept, gathered = -np.inf, 0, 0
    for top, start, tile in _tiles(embeddings):
        parts.append(_different(top, start, tile, who, least))
        add(parts[-1])
        gathered += len(parts[-1].score)
        if gathered > 1.5 * kept + _SLACK:
            least = floor()
            parts = [part.where(part.score >= least) for part in parts]
            kept = gathered = sum(len(part.score) for part in parts)
    least = floor()
    return _joined([part.where(part.score >= least) for part in parts])


def _joined(parts: Sequence[Scores]) -> Scores:
    return Scores(
        np.concatenate([part.score for part in parts] or [np.empty(0, np.float32)]),
        np.concatenate([part.left for part in parts] or [np.empty(0, np.int32)]),
        np.concatenate([part.right for part in parts] or [np.empty(0, np.int32)]),
    )


def _within(embeddings: Embeddings, who: People) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
    """Give (person, similarities of pairs of that person's photographs), a person in several pieces if need be."""
    order = np.argsort(who, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(who[order]) != 0])
    for places in np.split(order, starts[1:]):
        own = embeddings[places]
        for start in range(0, len(own) - 1, _ROWS):
            rows = own[start : start + _ROWS]
            above = np.arange(start, len(own)) > np.arange(start, start + len(rows))[:, None]
            yield int(who[places[0]]), _bounded((rows @ own[start:].T)[above])


def _tiles(embeddings: Embeddings) -> Iterator[tuple[int, int, npt.NDArray[np.float32]]]:
    """Give (first row, first column, similarities) of tiles that cover every pair once or, on the diagonal, twice."""
    for top in range(0, len(embeddings), _ROWS):
        rows = embeddings[top : top + _ROWS]
        for start in range(top, len(embeddings), _COLUMNS):
            yield top, start, rows @ embeddings[start : start + _COLUMNS].T


def _different(top: int, start: int, tile: npt.NDArray[np.float32], who: People, least: float) -> Scores:
    """Give the pairs of different people in a tile that score at least `least`, each once."""
    a, b = np.nonzero(tile >= least)
    first, second = who[top + a].astype(np.int32), who[start + b].astype(np.int32)
    counts = (start + b > top + a) & (first != second)
    return Scores(_bounded(tile[a[counts], b[counts]]), first[counts], second[counts])


def _bounded(similarities: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Bring cosines back to -1 to 1, which rounding oversteps."""
    return np.clip(similarities, np.float32(-1), np.float32(1))
