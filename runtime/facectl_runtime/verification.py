"""Measures of verification: scores of comparisons of the same person, or thing, and of different ones.

A comparison is accepted where score >= threshold. FAR is the share of different comparisons accepted, TAR that of same
ones, FRR = 1 - TAR.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from facectl_runtime.metrics import wilson

Floats = npt.NDArray[np.floating]
Float64s = npt.NDArray[np.float64]
Ints = npt.NDArray[np.integer]
Bools = npt.NDArray[np.bool_]
Interval = tuple[float, float]

_DRAWS = 1000  # of a bootstrap: its percentiles then vary by little against the interval's width
_AT_ONCE = 50  # draws
_PAIRED = 20_000  # false accepts, beyond which the part of a pair by itself is below 1 % of their rate


class Verification(msgspec.Struct, frozen=True):
    """What is measured of comparisons whose truth is known."""

    accuracy: float | None
    """Mean over folds, each at the threshold that is best on the other folds, 0 to 1; None of one set without folds."""
    standard_error: float | None
    """Of the accuracy: the folds' standard deviation (ddof 1) / sqrt(folds); None of one set without folds."""
    auc: float
    """Area under the ROC curve, 0 to 1."""
    eer: float
    """Equal error rate, 0 to 1."""
    tar_at_far_1e2: float | None
    """The largest TAR whose FAR is at most 0.01; None of fewer than 100 different comparisons."""
    tar_at_far_1e3: float | None
    """The largest TAR whose FAR is at most 0.001; None of fewer than 1,000 different comparisons."""
    same: int
    """Comparisons of the same person."""
    different: int
    """Comparisons of different people."""


class Roc(NamedTuple):
    """A ROC curve: K + 1 points for K distinct scores, float64, from none accepted to all."""

    threshold: Float64s
    """Falling; the first is infinite, the others are the distinct scores."""
    far: Float64s
    """Rising, 0 to 1."""
    tar: Float64s
    """Rising, 0 to 1."""


class FoldAccuracy(NamedTuple):
    """Accuracy over folds, each at a threshold that it had no part in choosing."""

    mean: float
    standard_error: float
    accuracies: Float64s
    """One a fold, in the order of the folds' numbers."""
    thresholds: Float64s
    """One a fold, chosen on the other folds."""


def measure(scores: Floats, same: Bools, folds: Ints | None = None) -> Verification:
    """Measure N scores; `same`: N booleans, `folds`: N integers, None (or all alike) where the set has no folds.

    Raises `ValueError` where none is of the same or none of different, and as `roc` and `fold_accuracy` do.
    """
    genuine, impostor = scores[same], scores[~same]
    folded = folds is not None and len(np.unique(folds)) > 1
    accuracy = fold_accuracy(scores, same, folds) if folds is not None and folded else None
    return Verification(
        accuracy=accuracy.mean if accuracy else None,
        standard_error=accuracy.standard_error if accuracy else None,
        auc=auc(genuine, impostor),
        eer=eer(genuine, impostor),
        # Where one false accept is above the rate already, what is measured is not TAR at that rate.
        tar_at_far_1e2=tar_at_far(genuine, impostor, 1e-2)[0] if len(impostor) >= 100 else None,
        tar_at_far_1e3=tar_at_far(genuine, impostor, 1e-3)[0] if len(impostor) >= 1000 else None,
        same=len(genuine),
        different=len(impostor),
    )


def roc(same: Floats, different: Floats) -> Roc:
    """Give FAR and TAR at every distinct threshold, exactly, whatever is tied.

    `same`, `different`: one-dimensional scores, greater is more alike. Raises `ValueError` where one is empty or holds
    what is not a finite number.
    """
    threshold, accepted_same, accepted_different = _accepted(same, different)
    return Roc(threshold, accepted_different / len(different), accepted_same / len(same))


def auc(same: Floats, different: Floats) -> float:
    """Give the area under the ROC curve: the share of (same, different) in which same is greater, ties counted half.

    That is the Mann-Whitney U / (N · M). Takes and raises what `roc` does.
    """
    _, hits, alarms = _accepted(same, different)
    twice = np.sum(np.diff(alarms) * (hits[1:] + hits[:-1]))  # whole numbers: exact
    return float(twice / (2 * hits[-1] * alarms[-1]))


def eer(same: Floats, different: Floats) -> float:
    """Give the equal error rate: where the ROC curve, its points joined by straight lines, has FAR = FRR.

    Takes and raises what `roc` does.
    """
    _, far, tar = roc(same, different)
    gap = far + tar - 1  # FAR - FRR, rising from -1 to 1
    after = int(np.argmax(gap >= 0))
    before = after - 1
    share = gap[before] / (gap[before] - gap[after])
    return float(far[before] + share * (far[after] - far[before]))


def tar_at_far(same: Floats, different: Floats, far: float) -> tuple[float, float]:
    """Give the largest TAR whose FAR is at most `far`, and the greatest threshold that has it.

    The threshold is infinite where nothing can be accepted. Takes and raises what `roc` does, and `ValueError` for a
    rate outside 0 to 1.
    """
    if not 0 <= far <= 1:
        raise ValueError(f"a false-accept rate of {far} is not within 0 to 1")
    curve = roc(same, different)
    best = curve.tar[np.flatnonzero(curve.far <= far)[-1]]
    return float(best), float(curve.threshold[np.argmax(curve.tar == best)])


def far_at_tar(same: Floats, different: Floats, tar: float = 0.95) -> float:
    """Give the least FAR whose TAR is at least `tar`; of known and unknown scores this is "FPR at 95 % TPR".

    Takes and raises what `roc` does, and `ValueError` for a rate outside 0 to 1.
    """
    if not 0 <= tar <= 1:
        raise ValueError(f"a true-accept rate of {tar} is not within 0 to 1")
    curve = roc(same, different)
    return float(curve.far[np.argmax(curve.tar >= tar)])


def fold_accuracy(scores: Floats, same: Bools, folds: Ints) -> FoldAccuracy:
    """Give the accuracy of LFW's View 2: each fold at the threshold that is best on all the other folds together.

    `scores`, `same`, `folds`: N each. The protocol is Huang, Ramesh, Berg & Learned-Miller, "Labeled Faces in the
    Wild", 2007. Raises `ValueError` where there are fewer than two folds or the lengths differ.
    """
    if not len(scores) == len(same) == len(folds):
        raise ValueError(f"{len(scores)} scores, {len(same)} truths and {len(folds)} folds are not of one length")
    names = np.unique(folds)
    if len(names) < 2:
        raise ValueError(f"{len(names)} fold cannot be held out; two or more are needed")
    wide = _finite(scores)
    thresholds = np.array([best_threshold(wide[folds != name], same[folds != name]) for name in names])
    right = [
        np.mean((wide[folds == name] >= threshold) == same[folds == name])
        for name, threshold in zip(names, thresholds, strict=True)
    ]
    accuracies = np.array(right, np.float64)
    error = float(accuracies.std(ddof=1)) / math.sqrt(len(names))
    return FoldAccuracy(float(accuracies.mean()), error, accuracies, thresholds)


def best_threshold(scores: Floats, same: Bools) -> float:
    """Give the threshold of the highest accuracy on N scores: midway between two neighbours.

    Where several are as good it is the middle one, of an even number the lower middle one: the least swayed by any
    one score. It is the least score where accepting all is best, and the next number above the greatest where
    accepting none is. Raises `ValueError` for no scores, or scores that are not finite.
    """
    distinct, place = np.unique(_finite(scores), return_inverse=True)
    gain = np.bincount(place, np.where(same, 1, -1), len(distinct))  # of accepting what has this score
    right = np.append(np.cumsum(gain[::-1])[::-1], 0)  # but for a constant: of accepting from each score upwards
    best = np.flatnonzero(right == right.max())
    at = int(best[(len(best) - 1) // 2])
    if at == len(distinct):
        return float(np.nextafter(distinct[-1], np.inf))
    if at == 0:
        return float(distinct[0])
    low, high = float(distinct[at - 1]), float(distinct[at])
    middle = low + (high - low) / 2
    return middle if middle > low else high  # neighbours with no number between


def people_intervals(
    photographs: Ints, left: Ints, right: Ints, same: Ints, rejects: Ints, seed: int
) -> tuple[Interval, Interval]:
    """Give the 95 % intervals of FAR and FRR, over the people who might have been photographed instead.

    `photographs`: P, how many a person has, all pairs of which with others' were measured; `left`, `right`: K indices
    of people, two for each pair that was falsely accepted; `same`, `rejects`: P, how many pairs of one person were
    measured, and how many of them rejected.

    The subsets bootstrap of Bolle, Ratha & Pankanti, "Error analysis of pattern recognition systems: the subsets
    bootstrap", Computer Vision and Image Understanding 93, 2004, over people: person i is drawn w_i times, a pair of
    i and j weighs w_i · w_j, and a pair of i alone w_i. Pairs that share a person vary together, so the interval is
    wider than a binomial one of as many pairs; where people were all alike it would be too wide, by up to √3 (Owen,
    "The pigeonhole bootstrap", Annals of Applied Statistics 1, 2007). The thresholds stay as they are. Of more
    than 20,000 false accepts it goes by how many each person has (see `_far_by_person`).
    """
    many = photographs.astype(np.int64)
    drawn = _far_in_draws(many, left, right)
    far, frr = [], []
    for weight in _draws(len(many), seed):
        far.append(drawn(weight))
        frr.append(_ratio(weight @ rejects, weight @ same))
    pairs = round(float(_pairs(many)))
    return (
        _interval(np.concatenate(far), len(left), pairs),
        _interval(np.concatenate(frr), int(rejects.sum()), int(same.sum())),
    )


def _far_in_draws(photographs: Ints, left: Ints, right: Ints) -> Callable[[Ints], Float64s]:
    """Give the function from how often each person is drawn, D × P, to the FAR among those drawn, D."""
    if len(left) > _PAIRED:
        return _far_by_person(photographs, left, right)
    # The false accepts of two people count together: they are drawn together.
    pair, accepts = np.unique(left.astype(np.int64) * len(photographs) + right, return_counts=True)
    one, other = np.divmod(pair, len(photographs))
    return lambda weight: _ratio((weight[:, one] * weight[:, other]) @ accepts, _pairs(weight * photographs))


def _far_by_person(photographs: Ints, left: Ints, right: Ints) -> Callable[[Ints], Float64s]:
    """Give the same from each person's number of false accepts, which takes no longer the more there are.

    That is the first order of the sum over pairs (its Hájek projection), and exact where accepts_ij is a_i · a_j; what
    it leaves out is each pair's own part, a share of the rate of 1 / √accepts.
    """
    accepts = np.bincount(left, minlength=len(photographs)) + np.bincount(right, minlength=len(photographs))
    pairs = photographs * (photographs.sum() - photographs)
    rate = accepts.sum() / pairs.sum()
    return lambda weight: np.asarray(_ratio(weight @ accepts, weight @ pairs) ** 2 / rate)


def _pairs(drawn: Ints) -> Float64s:
    """Count pairs of different people; `drawn`: D × P photographs of each, or P."""
    return np.asarray((drawn.sum(axis=-1) ** 2 - (drawn * drawn).sum(axis=-1)) / 2, np.float64)


def group_interval(hits: Ints, counts: Ints, seed: int) -> Interval:
    """Give the 95 % interval of the rate sum(hits) / sum(counts), over the groups that might have been met instead.

    `hits`, `counts`: one a group. A bootstrap over groups, never narrower than Wilson's interval of as many trials.
    """
    rates = [_ratio(weight @ hits, weight @ counts) for weight in _draws(len(counts), seed)]
    return _interval(np.concatenate(rates), int(hits.sum()), int(counts.sum()))


def _draws(groups: int, seed: int) -> Iterator[npt.NDArray[np.int64]]:
    """Draw as many groups as there are, with replacement, again and again: how often each is drawn, some draws a time.

    Of P groups, int64 D × P; `_DRAWS` in all.
    """
    random = np.random.default_rng(seed)
    first = np.arange(_AT_ONCE)[:, None] * groups
    for _ in range(_DRAWS // _AT_ONCE):
        drawn = first + random.integers(groups, size=(_AT_ONCE, groups))
        yield np.bincount(drawn.ravel(), minlength=_AT_ONCE * groups).reshape(_AT_ONCE, groups)


def _ratio(part: Ints | Float64s, whole: Ints | Float64s) -> Float64s:
    """Divide, NaN by 0: a draw may have nobody with two photographs."""
    return np.asarray(np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0))


def _interval(rates: Float64s, hits: int, count: int) -> Interval:
    """Give the percentile interval of drawn rates, but not within that of so many independent trials.

    Of no false accepts every draw has none; that is no evidence that there are none.
    """
    low, high = wilson(hits, count)
    met = rates[~np.isnan(rates)]
    if not len(met):
        return low, high
    return min(low, float(np.quantile(met, 0.025))), max(high, float(np.quantile(met, 0.975)))


def _accepted(same: Floats, different: Floats) -> tuple[Float64s, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Give (thresholds falling from infinity, how many same are accepted at each, how many different)."""
    genuine, impostor = _finite(same), _finite(different)
    distinct = np.unique(np.concatenate([genuine, impostor]))[::-1]
    accepted = [
        np.concatenate([[0], len(some) - np.searchsorted(np.sort(some), distinct, side="left")]).astype(np.int64)
        for some in (genuine, impostor)
    ]
    return np.concatenate([[np.inf], distinct]), accepted[0], accepted[1]


def _finite(scores: Floats) -> Float64s:
    """Give scores as float64, in which sorting and midpoints are exact for every narrower kind."""
    wide = np.asarray(scores, np.float64)
    if wide.ndim != 1 or not len(wide):
        raise ValueError(f"scores have the shape {wide.shape}; one dimension and at least one score are needed")
    if not np.isfinite(wide).all():
        raise ValueError(f"{int(np.sum(~np.isfinite(wide))):,} of {len(wide):,} scores are not finite numbers")
    return wide
