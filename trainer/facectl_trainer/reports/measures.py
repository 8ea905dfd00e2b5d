"""The numbers that reports draw: pure functions on arrays."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt

from facectl_trainer.reports.results import Epoch

Ints = npt.NDArray[np.integer]
Floats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Bin:
    """The images whose top probability lies above `low` and not above `high`."""

    low: float
    high: float
    n: int
    confidence: float
    """Mean top probability; NaN where n is 0."""
    accuracy: float
    """Share of them answered rightly; NaN where n is 0."""


def reliability(probabilities: Floats, truth: Ints, count: int = 10) -> list[Bin]:
    """Sort answers into `count` bins of equal width by their top probability.

    `probabilities`: N × classes; `truth`: N. Source: Guo, Pleiss, Sun & Weinberger, On Calibration of Modern Neural
    Networks, ICML 2017, section 2.
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    place = np.clip(np.ceil(confidence * count).astype(int) - 1, 0, count - 1)
    bins = []
    for number in range(count):
        inside = place == number
        means = (float(confidence[inside].mean()), float(right[inside].mean())) if inside.any() else (np.nan, np.nan)
        bins.append(Bin(number / count, (number + 1) / count, int(inside.sum()), *means))
    return bins


def calibration_error(bins: Sequence[Bin]) -> float:
    """Give the expected calibration error, 0 to 1: the bins' mean |accuracy - confidence|, weighted by n."""
    n = sum(each.n for each in bins)
    return sum(each.n * abs(each.accuracy - each.confidence) for each in bins if each.n) / n


@dataclass(frozen=True)
class Composition:
    """Each class's share of the test images and of the answers on them."""

    data: npt.NDArray[np.float64]
    """Share of each class among the true labels; sums to 1."""
    predictions: npt.NDArray[np.float64]
    """Share of each class among the answers; sums to 1."""

    @property
    def difference(self) -> npt.NDArray[np.float64]:
        """(predictions - data) / data for each class; NaN where the data has none of it."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(self.data > 0, (self.predictions - self.data) / self.data, np.nan)


def composition(truth: Ints, predicted: Ints, classes: int) -> Composition:
    """Compare what the test images are with what they were taken for."""
    data, predictions = (np.bincount(values, minlength=classes) / len(values) for values in (truth, predicted))
    return Composition(data, predictions)


@dataclass(frozen=True)
class Confused:
    """How often one class was taken for another."""

    true: int
    predicted: int
    count: int
    share: float
    """Of the images of the true class."""


def confused_pairs(table: npt.ArrayLike, most: int) -> list[Confused]:
    """Give the off-diagonal cells of a confusion matrix (rows: true) by count, then share; none of 0."""
    cells = np.array(table)
    totals = cells.sum(axis=1)
    np.fill_diagonal(cells, 0)
    shares = cells / np.maximum(totals, 1)[:, None]
    order = np.lexsort((-shares.ravel(), -cells.ravel()))[:most]
    found = [(*divmod(int(place), len(cells)), int(cells.flat[place])) for place in order]
    return [Confused(true, other, count, count / int(totals[true])) for true, other, count in found if count]


def surest_mistakes(probabilities: Floats, truth: Ints, most: int) -> list[int]:
    """Give the indices of the wrong answers with the highest top probability, the surest first."""
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != truth)
    order = np.argsort(-probabilities[wrong].max(axis=1), kind="stable")[:most]
    return [int(index) for index in wrong[order]]


def evenly(classes: Iterable[int], most: int) -> list[int]:
    """Give up to `most` positions, one of each class in turn, in ascending order."""
    places: dict[int, list[int]] = defaultdict(list)
    for position, label in enumerate(classes):
        places[int(label)].append(position)
    rounds = sorted((turn, label, place) for label, found in places.items() for turn, place in enumerate(found))
    return sorted(place for _, _, place in rounds[:most])


def mixture(probabilities: Floats, truth: Ints, most: int) -> list[int]:
    """Give up to `most` indices, each class in turn: a third wrong answers, or more where right ones are too few."""
    right = probabilities.argmax(axis=1) == truth
    wrongs, rights = np.flatnonzero(~right), np.flatnonzero(right)
    failed = evenly(truth[wrongs], max(most // 3, most - len(rights)))
    passed = evenly(truth[rights], most - len(failed))
    return sorted([int(wrongs[place]) for place in failed] + [int(rights[place]) for place in passed])


@dataclass(frozen=True)
class Pair:
    """Two images of different classes that look alike to the network."""

    first: int
    second: int
    cosine: float


def hardest_pairs(features: Floats, truth: Ints, most: int) -> tuple[list[Pair], float]:
    """Give the pairs of different classes with the largest cosine, and the median cosine of all such pairs.

    `features`: N × d. Each image stands in one pair at most. The median is NaN where there is one class only.
    """
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    unit = features / np.maximum(lengths, np.finfo(np.float32).tiny)
    cosines = np.asarray(unit @ unit.T, np.float64)
    first, second = np.triu_indices(len(truth), 1)
    apart = truth[first] != truth[second]
    first, second = first[apart], second[apart]
    values = cosines[first, second]
    pairs: list[Pair] = []
    used: set[int] = set()
    for place in np.argsort(-values, kind="stable"):
        one, other = int(first[place]), int(second[place])
        if len(pairs) == most:
            break
        if not used & {one, other}:
            used |= {one, other}
            pairs.append(Pair(one, other, float(values[place])))
    return pairs, float(np.median(values)) if len(values) else float("nan")


def best_epochs(history: Sequence[Epoch]) -> list[Epoch]:
    """Give each stage's epoch with the lowest loss on val, in order; none for a stage that has no such loss."""
    known = [[row for row in rows if row.val_loss == row.val_loss] for rows in _by_stage(history)]
    return [min(rows, key=lambda row: row.val_loss) for rows in known if rows]


def stages(history: Sequence[Epoch]) -> list[tuple[str, int, int]]:
    """Give (name, first epoch, last epoch) of each stage, in order."""
    return [(rows[0].stage, rows[0].epoch, rows[-1].epoch) for rows in _by_stage(history)]


def _by_stage(history: Sequence[Epoch]) -> list[list[Epoch]]:
    return [list(rows) for _, rows in groupby(history, key=lambda row: row.stage)]


def mean_f1(values: Iterable[float | None]) -> float:
    """Give the macro-F1: the mean over the classes, those with neither images nor answers left out."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else float("nan")
