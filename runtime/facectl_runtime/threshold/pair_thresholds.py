"""A threshold for each two folds of people, chosen on the pairs of photographs that have nobody of either.

One pass over the pairs: scores are counted in bins, by the folds of the two people, and only those are kept that lie in
a bin, or above it, in which a threshold may yet be found. Which of those kept it is, is then exact.
"""

import numpy as np
import numpy.typing as npt

from facectl_runtime.faces.pairs import Embeddings, People, Scores, highest_different
from facectl_runtime.threshold.rates import Float32s, Int64s, lowest_threshold

_HALF = 256  # bins on each side of 0: a power of two, by which float32 is scaled exactly
_BINS = 2 * _HALF + 1  # the last is of scores of 1


def choose_thresholds(embeddings: Embeddings, who: People, fold: People, most: Int64s) -> tuple[Scores, Float32s]:
    """Give (the pairs of different people that reach any of the thresholds, the thresholds).

    `embeddings`: float32 N × d, L2 norm 1; `who`: N indices of people; `fold`: one a person, 0 to F - 1; `most`: how
    many pairs without anybody of folds a and b may be accepted, int64, (F + 1) × (F + 1), symmetric, each fewer than
    there are, the last row and column of a fold of nobody. The thresholds have its shape: [-1, -1] is chosen on all
    pairs. Memory: that of `highest_different`, and 4 KB for each pair of folds, four times over.
    """
    bins = _Bins(fold, most)
    highest = highest_different(embeddings, who, bins.add, bins.floor)
    return highest, bins.thresholds(highest)


class _Bins:
    """How many pairs score in each bin, by the folds of their people."""

    def __init__(self, fold: People, most: Int64s) -> None:
        self.fold, self.most = fold.astype(np.int32), most
        self.counts = np.zeros((_BINS, *most.shape), np.int64)

    def add(self, scores: Scores) -> None:
        """Count some more pairs."""
        places = (_bin(scores.score), self.fold[scores.left], self.fold[scores.right])
        flat = np.ravel_multi_index(places, self.counts.shape)
        self.counts += np.bincount(flat, minlength=self.counts.size).reshape(self.counts.shape)

    def floor(self) -> float:
        """Give the lower edge of the lowest bin in which a threshold's next score below may lie."""
        lowest = int(((_outside(self.counts) > self.most).sum(axis=0) - 1).min())
        return _edge(lowest) if lowest > 0 else -np.inf

    def thresholds(self, highest: Scores) -> Float32s:
        """Choose the threshold for each two folds, of scores that hold all from `floor` upwards."""
        reached = _outside(self.counts)
        low = (reached > self.most).sum(axis=0) - 1  # the bin of the highest score that must be refused
        above = np.take_along_axis(reached, low[None] + 1, axis=0)[0]
        high = np.where(above > 0, (reached[:-1] >= above).sum(axis=0) - 1, low)  # of the next higher that is met
        first, last = int(low.min()), int(high.max())
        window = highest.where((highest.score >= _edge(first)) & (highest.score < _edge(last + 1)))
        rest = self.most - reached[last + 1]
        left, right = self.fold[window.left], self.fold[window.right]
        without = [(left != number) & (right != number) for number in range(len(rest))]
        chosen = np.empty(rest.shape, np.float32)
        for a, b in zip(*np.triu_indices(len(rest)), strict=True):
            scores = window.score[without[a] & without[b]]
            chosen[a, b] = chosen[b, a] = lowest_threshold(scores, int(rest[a, b]))
        return chosen


def _bin(scores: Float32s) -> npt.NDArray[np.intp]:
    return np.asarray(np.floor(scores * np.float32(_HALF)).astype(np.intp) + _HALF)


def _edge(number: int) -> float:
    return (number - _HALF) / _HALF


def _outside(counts: Int64s) -> Int64s:
    """Count those from each bin upwards that have nobody of folds a and b; one bin more, above all, which has none."""
    reached = np.zeros((len(counts) + 1, *counts.shape[1:]), np.int64)
    reached[:-1] = np.cumsum(counts[::-1], axis=0)[::-1]
    both = reached + reached.transpose(0, 2, 1)
    with_one = both.sum(axis=2) - np.einsum("kaa->ka", reached)
    np.einsum("kaa->ka", both)[...] = with_one  # what has somebody of a twice was taken away twice
    return np.asarray(reached.sum(axis=(1, 2))[:, None, None] - with_one[:, :, None] - with_one[:, None, :] + both)
