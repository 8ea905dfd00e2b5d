"""The cosine from which two photographs are of one person.

Rates are measured on some folds of people at a threshold chosen on the others. A pair of people of two folds is
measured at one chosen outside both, so that nobody is measured at a threshold that they had a part in.
"""

import numpy as np
import numpy.typing as npt

from facectl_runtime.errors import UsageError
from facectl_runtime.faces.pairs import Embeddings, People, count_same_below, index_people
from facectl_runtime.threshold.calibrated import Calibrated, Wrong
from facectl_runtime.threshold.folds import FOLDS, Ints, Labels, check_folds, deal
from facectl_runtime.threshold.pair_thresholds import choose_thresholds
from facectl_runtime.threshold.rates import Float32s, Int64s, Words, check_rate, most_accepted_outside, usable
from facectl_runtime.verification import people_intervals

FAR = 1e-3
"""The false-accept rate that is asked for where nothing is said."""
EACH = 10
"""Photographs of a person that count for false rejects, at most."""


def folds_of(people: Labels) -> int:
    """Give how many folds N photographs are parted into where nothing is said: ten, or as many as there are people."""
    return max(3, min(FOLDS, len(set(people))))


def check_people(people: Labels, far: float, folds: int = FOLDS) -> None:
    """Refuse what the people of N photographs cannot support, which needs no embeddings.

    `people`: N labels. Raises `UsageError` for fewer than three folds, fewer people than folds, where nobody has two
    photographs, and for a rate that so many pairs of different people are no evidence for, all or those outside two
    folds.
    """
    photographs = np.unique(np.asarray(people), return_counts=True)[1]
    check_folds(len(photographs), folds, 3, "person", "people")
    if photographs.max() < 2:
        raise UsageError(
            f"none of the {len(photographs):,} people has two photographs, so false rejects cannot be measured; add a "
            "second photograph of some"
        )
    pairs = pairs_outside(photographs, deal(photographs, folds, 0))
    words = Words("pair of different people", "pairs of different people", "every two folds", "people")
    check_rate(far, int(pairs[-1, -1]), int(pairs.min()), words)


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
    highest, at = choose_thresholds(embeddings, who, fold, most_accepted_outside(far, different, pairs))
    value = usable(float(at[-1, -1]), highest.score, "pairs of different people")
    accepted = highest.where(highest.score >= at[fold[highest.left], fold[highest.right]])
    same, rejects = _of_one_person(embeddings, who, at.diagonal()[fold], seed)
    far_interval, frr_interval = people_intervals(photographs, accepted.left, accepted.right, same, rejects, seed)
    wrong_accepts = Wrong(len(accepted.score), different, far_interval)
    wrong_rejects = Wrong(int(rejects.sum()), int(same.sum()), frr_interval)
    return Calibrated.of(value, "cosine", far, wrong_accepts, wrong_rejects, folds, len(photographs))


def _of_one_person(embeddings: Embeddings, who: People, thresholds: Float32s, seed: int) -> tuple[Ints, Ints]:
    """Count each person's pairs of at most `EACH` photographs, and those below that person's threshold; P and P."""
    few = _at_most(who, EACH, seed)
    photographs = np.bincount(who[few])
    return photographs * (photographs - 1) // 2, count_same_below(embeddings[few], who[few], thresholds)


def _at_most(who: People, each: int, seed: int) -> npt.NDArray[np.bool_]:
    """Draw at most `each` photographs of each person; N booleans."""
    shuffled = np.random.default_rng(seed).permutation(len(who))
    order = shuffled[np.argsort(who[shuffled], kind="stable")]
    first = np.cumsum(np.bincount(who)) - np.bincount(who)
    drawn = np.empty(len(who), np.bool_)
    drawn[order] = np.arange(len(who)) - first[who[order]] < each
    return drawn
