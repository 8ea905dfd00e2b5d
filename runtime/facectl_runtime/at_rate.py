"""The lowest threshold at a false-accept rate. What is accepted scores at least the threshold."""

import math

import numpy as np
import numpy.typing as npt

Float32s = npt.NDArray[np.float32]


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


def most_accepted(far: float, count: int) -> int:
    """Give the most false accepts of `count` that are a rate of at most `far`, as the rate is then computed."""
    near = math.floor(far * count)  # one too few or too many: 0.29 * 100 is below 29
    return max(most for most in (near - 1, near, near + 1) if most <= 0 or most / count <= far)
