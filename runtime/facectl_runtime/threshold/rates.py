"""False-accept rates: which so many counts support, how many false accepts they allow, and the threshold for that.

What is accepted scores at least the threshold.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from facectl_runtime.errors import UsageError, counted

Float32s = npt.NDArray[np.float32]
Int64s = npt.NDArray[np.int64]


class Words(NamedTuple):
    """What a message calls that of which the false accepts are counted."""

    one: str
    several: str
    outside: str
    """Outside what they are left to choose on, such as `every fold`."""
    more: str
    """What there can be more of."""


def check_rate(far: float, count: int, outside: int, words: Words) -> None:
    """Refuse a rate so low that not one false accept of `count` would be no evidence for it, or that no fold can have.

    Where none of n happens, the rate is below 3 / n with 95 % confidence: the rule of three (Hanley & Lippman-Hand,
    "If nothing goes wrong, is everything all right?", JAMA 1983). Outside the folds, where `outside` are left at least,
    the rate must allow one: a threshold above all n of them lets in one of n + 1, which is more than was asked for.
    Raises `UsageError`, also for what is no rate.
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


def most_accepted(far: float, count: int) -> int:
    """Give the most false accepts of `count` that are a rate of at most `far`, as the rate is then computed."""
    near = math.floor(far * count)  # one too few or too many: 0.29 * 100 is below 29
    return max(most for most in (near - 1, near, near + 1) if most <= 0 or most / count <= far)


def most_accepted_outside(far: float, count: int, outside: Int64s) -> Int64s:
    """Give the most false accepts of those outside each fold: as large a share as `far` allows of all `count`.

    `outside`: how many they are, int64 of any shape, each 1 or more; fewer than that are accepted. Were `far` rounded
    down for each, they would be held to a lower rate than all are, and what is measured would not be what is kept.
    """
    share = most_accepted(far, count) / count
    return np.asarray(np.minimum(np.rint(outside * share).astype(np.int64), outside - 1))


def lowest_threshold(scores: Float32s, allowed: int) -> float:
    """Give the least of N scores that at most `allowed` of them reach; ties are accepted or refused together.

    Of so many scores drawn alike a new one reaches it with a probability of at most allowed / (N + 1), where a
    threshold just above the next score below would let in more. Where too many are tied for the greatest it is the
    next float32 above. `scores` may leave out all below the (allowed + 1)th greatest.
    """
    if allowed >= len(scores):
        return float(scores.min())
    below = np.partition(scores, len(scores) - 1 - allowed)[len(scores) - 1 - allowed]
    above = scores[scores > below]
    return float(above.min() if len(above) else np.nextafter(below, np.float32(np.inf)))


def usable(value: float, scores: Float32s, what: str) -> float:
    """Give a threshold of `scores`, those of `what`, back. Raises `UsageError` where it is above all that can be."""
    if value > 1:
        tied = int(np.sum(scores >= 1))
        raise UsageError(
            f"{tied:,} {what} score 1, the most there is, so no threshold refuses enough of them; look for the same "
            "picture under two names, or ask for a greater false-accept rate"
        )
    return value
