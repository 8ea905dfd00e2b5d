"""The score below which a classifier answers "unknown", and which of its scores that is."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from facectl_runtime.errors import UsageError, counted
from facectl_runtime.metrics import wilson
from facectl_runtime.threshold.calibrated import Calibrated, Wrong
from facectl_runtime.threshold.folds import FOLDS, Ints, Labels, check_folds, deal
from facectl_runtime.threshold.known_scores import most_telling
from facectl_runtime.threshold.rates import (
    Float32s,
    Int64s,
    Words,
    check_rate,
    lowest_threshold,
    most_accepted,
    most_accepted_outside,
    usable,
)
from facectl_runtime.verification import group_interval

FAR = 1e-2
"""The false-accept rate that is asked for where nothing is said."""
Bools = npt.NDArray[np.bool_]
Scores = Mapping[str, Float32s]
"""The name of a score → N of them, an image each."""


def folds_of(known: int, groups: Labels) -> int:
    """Give how many folds are made where nothing is said: ten, or as many as there are groups or known images."""
    return max(2, min(FOLDS, len(set(groups)), known))


def check_counts(known: int, groups: Labels, far: float, folds: int = FOLDS) -> None:
    """Refuse what so many images cannot support as a classifier's threshold, which needs no probabilities.

    `known`: how many images of its classes; `groups`: the labels of M unknown images, all different where each stands
    alone. Raises `UsageError` for fewer than two known images, fewer than two folds, fewer groups than folds, and for a
    rate that so many unknown images are no evidence for, all or those outside a fold.
    """
    if known < 2:
        raise UsageError(
            f"there {'is' if known == 1 else 'are'} {counted(known, 'image')} of the model's classes, so false rejects "
            "cannot be measured; add some, to have 2 or more"
        )
    images = np.unique(np.asarray(groups), return_counts=True)[1]
    alone = len(images) == len(groups)
    words = Words("unknown image", "unknown images", "every fold", "of them")
    one, several = words[:2] if alone else ("group of unknown images", "groups of unknown images")
    check_folds(len(images), folds, 2, one, several)
    check_rate(far, len(groups), int(_outside(images, deal(images, folds, 0)).min()), words)


def _outside(images: Ints, fold: Ints) -> Int64s:
    """Count the images of the groups outside each fold; `images`, `fold`: one a group."""
    return np.asarray(images.sum() - np.bincount(fold, images).astype(np.int64))


def calibrate_scores(
    known: Scores,
    right: Bools,
    unknown: Scores,
    far: float,
    groups: Labels | None = None,
    folds: int = FOLDS,
    seed: int = 0,
) -> Calibrated:
    """Choose the score below which a classifier answers "unknown", at a false-accept rate of at most `far`.

    `known`: of each kind of score, those of N images of its classes, float32 0 to 1, `right`: N, whether the likeliest
    class is the true one; `unknown`: of each kind those of M images of none of them, `groups`: M labels, such as their
    classes, None where all are strangers to one another. Of several kinds the one is taken that tells known images from
    unknown ones best (see `most_telling`).

    A false accept is an unknown image that is given a class; a false reject is a right answer withheld, for to withhold
    a wrong one is no loss (with `right` all true, every known image counts). Each fold, of groups and of known images,
    is measured by a kind and a threshold that were chosen on the others, so that the rates are those of the whole
    procedure; in the end both are chosen on everything. The thresholds of folds let in as large a share of the images
    that they are chosen on as the one for all does. The false-accept interval is that of a bootstrap over groups, the
    false-reject one Wilson's. The same seed gives the same answer.

    Raises `UsageError` as `check_counts` does, where no known image is answered right, and where no threshold refuses
    enough; `ValueError` for arrays that do not fit.
    """
    many = len(next(iter(unknown.values())))
    labels = np.arange(many) if groups is None else np.asarray(groups)
    _check_scores(known, right, unknown, labels)
    check_counts(len(right), labels, far, folds)
    _check_right(right)
    group = np.unique(labels, return_inverse=True)[1]
    images = np.bincount(group)
    fold, known_fold = deal(images, folds, seed), deal(np.ones(len(right), np.int64), folds, seed)
    most = most_accepted_outside(far, many, _outside(images, fold))
    accepted, rejected = _decided(known, known_fold, unknown, fold[group], most)
    accepts = np.bincount(group, accepted).astype(np.int64)
    rejects, answered = int(np.sum(rejected & right)), int(right.sum())
    kind, value = _chosen(known, unknown, most_accepted(far, many))
    wrong_accepts = Wrong(int(accepts.sum()), many, group_interval(accepts, images, seed))
    wrong_rejects = Wrong(rejects, answered, wilson(rejects, answered))
    value = usable(value, unknown[kind], "unknown images")
    return Calibrated.of(value, kind, far, wrong_accepts, wrong_rejects, folds, len(images))


def _decided(known: Scores, known_fold: Ints, unknown: Scores, unknown_fold: Ints, most: Int64s) -> tuple[Bools, Bools]:
    """Tell which unknown images are accepted, M booleans, and which known ones rejected, N: by what others chose.

    `most`: how many of the unknown images outside each fold may be accepted.
    """
    accepted, rejected = np.empty(len(unknown_fold), np.bool_), np.empty(len(known_fold), np.bool_)
    for number, allowed in enumerate(most):
        strangers, mine = unknown_fold == number, known_fold == number
        kind, value = _chosen(_where(known, ~mine), _where(unknown, ~strangers), int(allowed))
        accepted[strangers] = unknown[kind][strangers] >= value
        rejected[mine] = known[kind][mine] < value
    return accepted, rejected


def _chosen(known: Scores, unknown: Scores, allowed: int) -> tuple[str, float]:
    """Choose a kind of score, and the threshold that at most `allowed` of the unknown images reach."""
    kind = most_telling(known, unknown)
    return kind, lowest_threshold(unknown[kind], allowed)


def _where(scores: Scores, mask: Bools) -> Scores:
    return {kind: some[mask] for kind, some in scores.items()}


def _check_scores(known: Scores, right: Bools, unknown: Scores, groups: npt.NDArray[Any]) -> None:
    if known.keys() != unknown.keys():
        raise ValueError(f"scores {', '.join(known)} of known images do not go together with {', '.join(unknown)}")
    for kind in known:
        mine, others = known[kind], unknown[kind]
        if mine.ndim != 1 or mine.shape != right.shape or others.shape != groups.shape:
            raise ValueError(
                f"{kind}: known {mine.shape} and right {right.shape}, unknown {others.shape} and groups "
                f"{groups.shape} do not go together"
            )
        if mine.dtype != np.float32 or others.dtype != np.float32:
            raise ValueError(f"{kind} is of {mine.dtype} and {others.dtype}; float32 is needed, which apps compare in")
        if not (np.isfinite(mine).all() and np.isfinite(others).all()):
            raise ValueError(f"some scores of {kind} are not finite numbers")


def _check_right(right: Bools) -> None:
    if not right.any():
        raise UsageError(
            f"none of {counted(len(right), 'known image')} is answered right, so false rejects cannot be measured; "
            "give a model that answers some, or images of its classes"
        )
