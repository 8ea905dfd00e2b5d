"""What embeddings say of all pairs of photographs: pure functions on arrays, which hold no N × N matrix.

Everywhere `embeddings` is float32 N × d, L2 norm 1, and `who` N indices of people, of whom there are two or more.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from facectl_runtime.faces.pairs import Embeddings, People

BINS = 12_000
_ROWS = 512  # of similarities, held at once


class Compared(NamedTuple):
    """Two photographs."""

    first: int
    second: int
    cosine: float


class Cosines(NamedTuple):
    """How many pairs have which similarity, in `BINS` bins of equal width from the least to the greatest."""

    edges: npt.NDArray[np.float64]
    """BINS + 1, rising."""
    same: npt.NDArray[np.int64]
    """Pairs of one person in each bin."""
    different: npt.NDArray[np.int64]
    """Pairs of different people in each bin."""

    def rates(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Give (FAR, TAR), BINS + 1 each, rising from 0 to 1, of the thresholds that the edges are."""
        far, tar = (np.append(0, np.cumsum(counts[::-1])) / counts.sum() for counts in (self.different, self.same))
        return far, tar


class Apart(NamedTuple):
    """How one person stands to the others."""

    person: int
    photographs: int
    own: float
    """Mean cosine of the pairs of this person's photographs."""
    other: int
    """The nearest other person: the one with the highest mean cosine of all pairs of the two."""
    across: float
    """That mean."""


def count_cosines(embeddings: Embeddings, who: People) -> Cosines:
    """Count all pairs by their similarity."""
    ends = [(cosines.min(), cosines.max()) for cosines, _ in _pairs(embeddings, who)]
    low, high = (float(best(values)) for best, values in zip((min, max), zip(*ends, strict=True), strict=True))
    edges = np.linspace(low, max(high, low + 1e-6), BINS + 1)
    counts = np.zeros(2 * BINS, np.int64)
    for cosines, same in _pairs(embeddings, who):
        place = ((cosines - low) * (BINS / (edges[-1] - low))).astype(np.int32).clip(0, BINS - 1)
        counts += np.bincount(place + BINS * same, minlength=2 * BINS)
    return Cosines(edges, counts[BINS:], counts[:BINS])


def least_alike(embeddings: Embeddings, who: People, most: int) -> list[Compared]:
    """Give the pairs of one person with the lowest cosine, the lowest first; each photograph is in one at most."""
    return [pair._replace(cosine=-pair.cosine) for pair in _extreme(embeddings, who, most, same=True)]


def most_alike(embeddings: Embeddings, who: People, most: int) -> list[Compared]:
    """Give the pairs of different people with the highest cosine, the highest first; each photograph is in one."""
    return _extreme(embeddings, who, most, same=False)


def worst_apart(embeddings: Embeddings, who: People, most: int) -> list[Apart]:
    """Give those with two photographs or more who are hardest to tell from somebody, by `own` less `across`."""
    counts = np.bincount(who)
    sums = np.zeros((len(counts), embeddings.shape[1]))
    np.add.at(sums, who, embeddings)
    lengths = np.bincount(who, np.square(embeddings, dtype=np.float64).sum(axis=1))
    several = np.flatnonzero(counts > 1)
    own = (np.square(sums[several]).sum(axis=1) - lengths[several]) / (counts[several] * (counts[several] - 1))
    means = sums / counts[:, None]
    found: list[tuple[int, int, float, int, float]] = []
    for start in range(0, len(several), _ROWS):
        people = several[start : start + _ROWS]
        across = means[people] @ means.T
        across[np.arange(len(people)), people] = -np.inf
        other = across.argmax(axis=1)
        found += zip(people, counts[people], own[start:], other, across.max(axis=1), strict=False)
    ordered = sorted(found, key=lambda row: row[2] - row[4])[:most]
    return [Apart(int(a), int(n), float(mean), int(b), float(across)) for a, n, mean, b, across in ordered]


def _extreme(embeddings: Embeddings, who: People, most: int, *, same: bool) -> list[Compared]:
    """Take the pair with the highest score, again and again, out of photographs not yet taken.

    The score is the cosine, or of pairs of one person its negative.
    """
    # Before the last is taken, 2 (most - 1) photographs are; one of so many partners more is free.
    kept = min(2 * most - 1, len(who))
    candidates: list[tuple[npt.NDArray[np.float32], npt.NDArray[np.intp], npt.NDArray[np.intp]]] = []
    for start, cosines, alike, above in _blocks(embeddings, who):
        score = np.where(above & (alike == same), -cosines if same else cosines, np.float32(-np.inf))
        best = np.argpartition(-score, min(kept, score.shape[1]) - 1, axis=1)[:, :kept]
        rows = np.broadcast_to(np.arange(len(best))[:, None], best.shape)
        candidates.append((score[rows, best].ravel(), start + rows.ravel(), start + best.ravel()))
    scores, first, second = (np.concatenate(part) for part in zip(*candidates, strict=True))
    pairs: list[Compared] = []
    taken: set[int] = set()
    for place in np.argsort(-scores, kind="stable"):
        pair = Compared(int(first[place]), int(second[place]), float(scores[place]))
        if len(pairs) == most or pair.cosine == -np.inf:
            break
        if not taken & {pair.first, pair.second}:
            taken |= {pair.first, pair.second}
            pairs.append(pair)
    return pairs


_Flags = npt.NDArray[np.bool_]
_Values = npt.NDArray[np.float32]


def _pairs(embeddings: Embeddings, who: People) -> Iterator[tuple[_Values, _Flags]]:
    """Give (similarities, whether they are of one person) of pieces that hold every pair once."""
    for _, cosines, alike, above in _blocks(embeddings, who):
        if above.any():
            yield cosines[above], alike[above]


def _blocks(embeddings: Embeddings, who: People) -> Iterator[tuple[int, _Values, _Flags, _Flags]]:
    """Give (first row, similarities of some rows with all from the first on, one person?, above the diagonal?)."""
    for start in range(0, len(who), _ROWS):
        rows = embeddings[start : start + _ROWS]
        cosines = np.clip(rows @ embeddings[start:].T, np.float32(-1), np.float32(1))
        above = np.arange(len(who) - start) > np.arange(len(rows))[:, None]
        yield start, cosines, who[start : start + len(rows), None] == who[None, start:], above
