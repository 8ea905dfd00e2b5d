"""The threshold below which the answer is "unknown", chosen at a stated false-accept rate and measured on others.

What is accepted scores at least the threshold T. T itself is chosen on everything there is; its rates are measured in
k folds, at thresholds that were chosen without the people (or the groups of unknown images) that are measured.
"""

from typing import Any, TypedDict

import msgspec
import numpy as np
import numpy.typing as npt

from facectl_runtime.at_rate import lowest_threshold, most_accepted
from facectl_runtime.errors import UsageError, counted
from facectl_runtime.faces.fold_thresholds import choose_thresholds
from facectl_runtime.faces.pairs import Embeddings, count_same_below, index_people
from facectl_runtime.held_out import FOLDS, Labels, check_counts, check_people, deal, pairs_outside
from facectl_runtime.metrics import wilson
from facectl_runtime.spec import Threshold
from facectl_runtime.verification import Interval, group_interval, people_intervals

Float32s = npt.NDArray[np.float32]
Ints = npt.NDArray[np.integer]
Bools = npt.NDArray[np.bool_]

EACH = 10
"""Photographs of a person that count for false rejects, at most."""


class Calibrated(msgspec.Struct, frozen=True, kw_only=True):
    """A threshold with the rates that were measured for it on people, or groups, that had no part in choosing it."""

    value: float
    """What is accepted scores at least this; one of the scores met, so float32 holds it exactly."""
    score: str
    """`cosine`, or a key of `known_scores.SCORES`."""
    far_asked: float
    """The false-accept rate that `value` was chosen for, above 0 and below 1."""
    far: float
    """The false-accept rate measured: false_accepts / far_count of all folds together."""
    far_interval: tuple[float, float]
    """95 %."""
    far_count: int
    """Pairs of different people, or unknown images, that were held out."""
    false_accepts: int
    frr: float
    """The false-reject rate measured: false_rejects / frr_count of all folds together."""
    frr_interval: tuple[float, float]
    """95 %."""
    frr_count: int
    """Pairs of one person, of `EACH` photographs at most, or known images answered right, that were held out."""
    false_rejects: int
    folds: int
    groups: int
    """People, or groups of unknown images, that were parted into the folds."""

    def threshold(self) -> Threshold:
        """Give what a model's spec says of it."""
        plain = {
            "value": self.value,
            "score": self.score,
            "false_accept_rate": self.far,
            "false_accept_count": self.far_count,
            "false_reject_rate": self.frr,
            "false_reject_count": self.frr_count,
            "asked": self.far_asked,
            "false_accept_interval": self.far_interval,
            "false_reject_interval": self.frr_interval,
        }
        return msgspec.convert(plain, Threshold)


def calibrate_embeddings(
    embeddings: Embeddings, people: Labels, far: float, folds: int = FOLDS, seed: int = 0
) -> Calibrated:
    """Choose the cosine at which two photographs are of one person, at a false-accept rate of at most `far`.

    `embeddings`: float32 N × d, L2 norm 1; `people`: N labels. A pair of a person of fold a and one of fold b is
    measured at a threshold chosen on the pairs that have nobody of either, so that every pair of different people is
    measured once; the pairs of one person, at that of a alone. Those let in as large a share of the pairs that they are
    chosen on as the threshold for all does. The intervals are those of a bootstrap over people (see
    `people_intervals`). The same seed gives the same answer.

    False rejects are those of at most `EACH` photographs of a person, drawn: pairs grow with the square of a person's
    photographs, and what they tell does not. In LFW, George W. Bush has 530 photographs and 58 % of all pairs of one
    person; the rate was his.

    Raises `UsageError` as `check_people` does, and where no threshold refuses enough; `ValueError` for arrays that do
    not fit.
    """
    who = index_people(embeddings, people)
    check_people(who, far, folds)
    photographs = np.bincount(who)
    fold = deal(photographs, folds, seed)
    pairs = pairs_outside(photographs, fold)
    different = int(pairs[-1, -1])
    share = most_accepted(far, different) / different
    most = np.minimum(np.rint(pairs * share).astype(np.int64), pairs - 1)
    highest, at = choose_thresholds(embeddings, who, fold, most)
    value = _usable(float(at[-1, -1]), highest.score, "pairs of different people")
    accepted = highest.where(highest.score >= at[fold[highest.left], fold[highest.right]])
    few = _at_most(who, EACH, seed)
    rejects = count_same_below(embeddings[few], who[few], at.diagonal()[fold])
    same = np.bincount(who[few]) * (np.bincount(who[few]) - 1) // 2
    far_interval, frr_interval = people_intervals(photographs, accepted.left, accepted.right, same, rejects, seed)
    return Calibrated(
        value=value,
        score="cosine",
        far_asked=far,
        **_far(len(accepted.score), different, far_interval),
        **_frr(int(rejects.sum()), int(same.sum()), frr_interval),
        folds=folds,
        groups=len(photographs),
    )


def _at_most(who: Ints, each: int, seed: int) -> Bools:
    """Draw at most `each` photographs of each person; N booleans."""
    shuffled = np.random.default_rng(seed).permutation(len(who))
    order = shuffled[np.argsort(who[shuffled], kind="stable")]
    first = np.cumsum(np.bincount(who)) - np.bincount(who)
    drawn = np.empty(len(who), np.bool_)
    drawn[order] = np.arange(len(who)) - first[who[order]] < each
    return drawn


def calibrate_scores(
    kind: str,
    known: Float32s,
    right: Bools,
    unknown: Float32s,
    far: float,
    groups: Labels | None = None,
    folds: int = FOLDS,
    seed: int = 0,
) -> Calibrated:
    """Choose the score below which a classifier answers "unknown", at a false-accept rate of at most `far`.

    `known`: N scores of images of its classes, `right`: N, whether the likeliest class is the true one; `unknown`: M
    scores of images of none of them, `groups`: M labels, such as their classes, None where all are strangers to one
    another. A false accept is an unknown image that is given a class; a false reject is a right answer withheld, for
    to withhold a wrong one is no loss (with `right` all true, every known image counts). In each fold T is chosen on
    the groups of the others. The false-accept interval is that of a bootstrap over groups, the false-reject one
    Wilson's. The same seed gives the same answer.

    Raises `UsageError` as `check_counts` does, where no known image is answered right, and where no threshold refuses
    enough; `ValueError` for arrays that do not fit.
    """
    labels = np.arange(len(unknown)) if groups is None else np.asarray(groups)
    _check_scores(known, right, unknown, labels)
    check_counts(len(known), labels, far, folds)
    _check_right(right)
    group = np.unique(labels, return_inverse=True)[1]
    images = np.bincount(group)
    fold = deal(images, folds, seed)[group]
    value = _usable(lowest_threshold(unknown, most_accepted(far, len(unknown))), unknown, "unknown images")
    others = [unknown[fold != number] for number in range(folds)]
    chosen = np.array([lowest_threshold(other, most_accepted(far, len(other))) for other in others])
    accepts = np.bincount(group, unknown >= chosen[fold], len(images)).astype(np.int64)
    answered = known[right]
    rejects = int(np.sum(answered < chosen[deal(np.ones(len(answered), np.int64), folds, seed)]))
    return Calibrated(
        value=value,
        score=kind,
        far_asked=far,
        **_far(int(accepts.sum()), len(unknown), group_interval(accepts, images, seed)),
        **_frr(rejects, len(answered), wilson(rejects, len(answered))),
        folds=folds,
        groups=len(images),
    )


class _Far(TypedDict):
    far: float
    far_interval: Interval
    far_count: int
    false_accepts: int


class _Frr(TypedDict):
    frr: float
    frr_interval: Interval
    frr_count: int
    false_rejects: int


def _far(hits: int, count: int, interval: Interval) -> _Far:
    return {"far": hits / count, "far_interval": interval, "far_count": count, "false_accepts": hits}


def _frr(hits: int, count: int, interval: Interval) -> _Frr:
    return {"frr": hits / count, "frr_interval": interval, "frr_count": count, "false_rejects": hits}


def _check_scores(known: Float32s, right: Bools, unknown: Float32s, groups: npt.NDArray[Any]) -> None:
    if known.ndim != 1 or unknown.ndim != 1 or known.shape != right.shape:
        raise ValueError(f"known {known.shape}, right {right.shape} and unknown {unknown.shape} do not go together")
    if groups.shape != unknown.shape:
        raise ValueError(f"{len(groups)} groups do not go with {len(unknown)} unknown images")
    if known.dtype != np.float32 or unknown.dtype != np.float32:
        raise ValueError(f"scores are of {known.dtype} and {unknown.dtype}; float32 is needed, which apps compare in")
    if not (np.isfinite(known).all() and np.isfinite(unknown).all()):
        raise ValueError("some scores are not finite numbers")


def _check_right(right: Bools) -> None:
    if not right.any():
        raise UsageError(
            f"none of {counted(len(right), 'known image')} is answered right, so false rejects cannot be measured; "
            "give a model that answers some, or images of its classes"
        )


def _usable(value: float, scores: Float32s, what: str) -> float:
    """Give a threshold unless it lies above every score that there can be."""
    if value > 1:
        tied = int(np.sum(scores >= 1))
        raise UsageError(
            f"{tied:,} {what} score 1, the most there is, so no threshold refuses enough of them; look for the same "
            "picture under two names, or ask for a greater false-accept rate"
        )
    return value
