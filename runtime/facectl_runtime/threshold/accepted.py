"""Whether what was measured reaches a threshold, decided alike wherever it is."""

from typing import Any

import numpy as np


def is_accepted(score: Any, threshold: float) -> bool:
    """Tell whether a score reaches a threshold, both as float32: one of the scores met, it accepts that very score."""
    return bool(np.float32(score) >= np.float32(threshold))
