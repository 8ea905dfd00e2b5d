"""How known an image looks by a classifier's probabilities, and how well that tells known images from unknown ones."""

import math
from collections.abc import Callable, Mapping

import msgspec
import numpy as np
import numpy.typing as npt

from facectl_runtime.errors import UsageError
from facectl_runtime.verification import auc, far_at_tar

Floats = npt.NDArray[np.floating]
Float32s = npt.NDArray[np.float32]


def _max_probability(p: Floats) -> Floats:
    return np.asarray(p.max(axis=1))


def _margin(p: Floats) -> Floats:
    two = np.partition(p, -2, axis=1)[:, -2:]
    return np.asarray(two[:, 1] - two[:, 0])


def _negative_entropy(p: Floats) -> Floats:
    entropy = -np.sum(p * np.log(np.where(p > 0, p, 1)), axis=1)
    return np.asarray(1 - entropy / math.log(p.shape[1]))


SCORES: dict[str, Callable[[Floats], Floats]] = {
    "max_probability": _max_probability,
    "margin": _margin,
    "negative_entropy": _negative_entropy,
}
"""Name to score of probabilities: the likeliest class's, its lead over the second, and 1 - entropy / log(classes)."""


def score(kind: str, probabilities: Floats) -> Float32s:
    """Say how known each image looks by its N × classes probabilities alone; float32 N, 0 to 1, greater is more known.

    `kind` is a key of `SCORES`. Max probability is the baseline of Hendrycks & Gimpel 2017. The free energy -log Σ exp
    (logit) of Liu et al. 2020 is not among them, for softmax takes away the very constant that it is, and neither is
    the Mahalanobis distance of Lee et al. 2018: they need logits and features, which exported files do not give. With
    two classes all three scores put images in the same order.

    Rows of probabilities in 8 bits sum to other than 1: of many classes most are 0, or each is rounded up.

    Raises `UsageError` for another kind, `ValueError` unless each row has two classes or more, none of which is below 0
    and which sum to at most 1 but for rounding.
    """
    if kind not in SCORES:
        raise UsageError(f"no score is called {kind!r}; use {', '.join(SCORES)}")
    wide = np.asarray(probabilities, np.float64)
    if wide.ndim != 2 or wide.shape[1] < 2:
        raise ValueError(f"probabilities of the shape {wide.shape}; N × classes, 2 or more, is needed")
    most = 1 + max(1e-2, wide.shape[1] / 512)
    if not (wide.sum(axis=1) <= most).all() or (wide < 0).any():  # the first is false of NaN
        raise ValueError("some rows of probabilities have values below 0, or sum to more than 1")
    return np.clip(SCORES[kind](wide), 0, 1).astype(np.float32)


class Separation(msgspec.Struct, frozen=True):
    """How well a score tells known images from unknown ones."""

    auroc: float
    """0 to 1: the chance that a known image scores above an unknown one, ties counted half."""
    fpr_at_95_tpr: float
    """0 to 1: the share of unknown images accepted where 95 % of the known ones are."""


def separation(known: Floats, unknown: Floats) -> Separation:
    """Compare N scores of known images with M of unknown ones. Raises `ValueError` where one is empty or not finite."""
    return Separation(auc(known, unknown), far_at_tar(known, unknown, 0.95))


def most_telling(known: Mapping[str, Floats], unknown: Mapping[str, Floats]) -> str:
    """Give the kind of score that tells known images from unknown ones best: that of the greatest AUROC, to six digits.

    `known`, `unknown`: of each kind N and M scores. Of equals the first is taken, which in the order of `SCORES` is
    the plainest. Raises what `separation` does.
    """
    return max(known, key=lambda kind: round(auc(known[kind], unknown[kind]), 6))
