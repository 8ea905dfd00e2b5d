"""Vectors for the feature cache, and processes that put them there."""

import numpy as np

ONE, TWO = np.arange(6, dtype=np.float32), np.array([np.pi, -0.0, 1e-40, 3e38, 5, 6], np.float32)
WRITER = """
import sys
import numpy as np
from pathlib import Path
from facectl_trainer.data.cache import FeatureCache
for number in range(40):
    FeatureCache("space", Path(sys.argv[1])).put({f"{sys.argv[2]}-{number}": np.full(8, number, np.float32)})
"""


def size_of(file):
    return sum(path.stat().st_size for path in file.parent.iterdir())


def fill(cache, names, length=2000):
    for name in names:
        cache.put({f"{name}-{number}": np.full(length, number, np.float32) for number in range(32)})


def names(name):
    return [f"{name}-{number}" for number in range(32)]
