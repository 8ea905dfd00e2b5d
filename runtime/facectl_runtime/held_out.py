"""Folds of people, or of groups of unknown images, and the false-accept rates that so many of them can support.

Rates are measured on some folds at a threshold chosen on the others. A pair of people of two folds is measured at one
chosen outside both, so that nobody is measured at a threshold that they had a part in.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from facectl_runtime.errors import UsageError, counted

Ints = npt.NDArray[np.integer]
Int64s = npt.NDArray[np.int64]
Labels = Sequence[str] | Sequence[int] | Ints | npt.NDArray[np.str_]

FOLDS = 10


def deal(sizes: Ints, folds: int, seed: int) -> npt.NDArray[np.int32]:
    """Part groups into folds that differ by one group at most and little in size; one of `folds`, from 0, for each.

    Groups are shuffled, then dealt by falling size, so that every fold has its share of those with many photographs.
    How large the folds are does not depend on the seed.
    """
    shuffled = np.random.default_rng(seed).permutation(len(sizes))
    order = shuffled[np.argsort(-sizes[shuffled], kind="stable")]
    fold = np.empty(len(sizes), np.int32)
    fold[order] = np.arange(len(sizes)) % folds
    return fold


def pairs_outside(photographs: Ints, fold: Ints) -> Int64s:
    """Count the pairs of photographs of different people that have nobody of fold a or b; int64, (F + 1) × (F + 1).

    `photographs`, `fold`: one a person. The last row and column are of a fold of nobody: [-1, -1] counts all pairs,
    and [a, -1], as [a, a], those that have nobody of a.
    """
    many = photographs.astype(np.int64)
    outside, squares = (_outside(fold, weight) for weight in (many, many * many))
    return np.asarray((outside * outside - squares) // 2)


def _outside(fold: Ints, weight: Int64s) -> Int64s:
    """Add up the weights of those in neither of two folds."""
    folds = int(fold.max()) + 2
    held = np.zeros(folds, np.int64)
    np.add.at(held, fold, weight)
    left = np.asarray(held.sum() - held[:, None] - held)
    np.fill_diagonal(left, held.sum() - held)
    return left


def check_people(people: Labels, far: float, folds: int = FOLDS) -> None:
    """Refuse what the people of N photographs cannot support, which needs no embeddings.

    `people`: N labels. Raises `UsageError` for fewer than three folds, fewer people than folds, where nobody has two
    photographs, and for a rate that so many pairs of different people are no evidence for, all or those outside two
    folds.
    """
    photographs = np.unique(np.asarray(people), return_counts=True)[1]
    _check_folds(len(photographs), folds, 3, "person", "people")
    if photographs.max() < 2:
        raise UsageError(
            f"none of the {len(photographs):,} people has two photographs, so false rejects cannot be measured; add a "
            "second photograph of some"
        )
    pairs = pairs_outside(photographs, deal(photographs, folds, 0))
    _check_rate(
        far,
        int(pairs[-1, -1]),
        int(pairs.min()),
        _Words("pair of different people", "pairs of different people", "every two folds", "people"),
    )


def check_counts(known: int, groups: Labels, far: float, folds: int = FOLDS) -> None:
    """Refuse what so many images cannot support as a classifier's threshold, which needs no probabilities.

    `known`: how many images of its classes; `groups`: the labels of M unknown images, all different where each stands
    alone. Raises `UsageError` for no known image, fewer than two folds, fewer groups than folds, and for a rate that so
    many unknown images are no evidence for, all or those outside a fold.
    """
    if not known:
        raise UsageError("no image is of the model's classes, so false rejects cannot be measured; add some that are")
    images = np.unique(np.asarray(groups), return_counts=True)[1]
    alone = len(images) == len(groups)
    words = _Words("unknown image", "unknown images", "every fold", "of them")
    one, several = words[:2] if alone else ("group of unknown images", "groups of unknown images")
    _check_folds(len(images), folds, 2, one, several)
    outside = _outside(deal(images, folds, 0), images.astype(np.int64)).diagonal()
    _check_rate(far, len(groups), int(outside.min()), words)


def _check_folds(groups: int, folds: int, least: int, one: str, several: str) -> None:
    if folds < least:
        raise UsageError(
            f"{counted(folds, 'fold')} cannot be measured on by thresholds chosen on others; {least} or more are "
            f"needed, such as {FOLDS}"
        )
    if groups < folds:
        fewer = f"ask for {groups} folds, or " if groups >= least else ""
        raise UsageError(
            f"{counted(groups, one, several)} cannot be parted into {folds} folds; {fewer}add {several} to make {folds}"
        )


class _Words(NamedTuple):
    one: str
    several: str
    outside: str
    more: str


def _check_rate(far: float, count: int, outside: int, words: _Words) -> None:
    """Refuse a rate so low that not one false accept of `count` would be no evidence for it, or that no fold can have.

    Where none of n happens, the rate is below 3 / n with 95 % confidence: the rule of three (Hanley & Lippman-Hand,
    "If nothing goes wrong, is everything all right?", JAMA 1983). Outside the folds, where `outside` are left at least,
    the rate must allow one: a threshold above all n of them lets in one of n + 1, which is more than was asked for.
    """
    if not 0 < far < 1:
        raise UsageError(f"a false-accept rate of {far:g} cannot be asked for; it is above 0 and below 1, such as 0.01")
    for met, least, where in ((count, 3, ""), (outside, 1, f" outside {words.outside}")):
        if far * met * (1 + 1e-12) < least:
            need = counted(math.ceil(least / far), words.one, words.several)
            raise UsageError(
                f"a false-accept rate of {far:g} needs at least {need}{where}, and there "
                f"{'is' if met == 1 else 'are'} {met:,}; {_supported(count, outside)}add more {words.more}"
            )


def _supported(count: int, outside: int) -> str:
    """Say which rate is supported, rounded up to two digits; nothing where none is."""
    if count <= 3 or outside <= 1:
        return ""
    rate = max(3 / count, 1 / outside)
    unit = 10.0 ** (math.floor(math.log10(rate)) - 1)
    up = math.ceil(rate / unit * (1 - 1e-12)) * unit
    return f"ask for {up:.2g} or more, or " if up < 1 else ""
