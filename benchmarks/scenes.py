"""What a camera sees that moves over photographs: each picture a little further on than the one before."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

SCENE, ACROSS, DOWN, ZOOM = 60, 5.3, 2.1, 1.003
"""Pictures of each mosaic, pixels from one to the next, and how much more of the mosaic the next one shows."""


def scenes(mosaics: Sequence[Path], count: int, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """Give so many pictures of `size` (width, height): uint8, height × width × 3; the mosaics have their turns."""
    for first in range(0, count, SCENE):
        with Image.open(mosaics[first // SCENE % len(mosaics)]) as image:
            mosaic = image.convert("RGB")
        for number in range(min(SCENE, count - first)):
            left, top, scale = ACROSS * number, DOWN * number, ZOOM**number
            box = (left, top, left + size[0] * scale, top + size[1] * scale)
            yield np.asarray(mosaic.resize(size, Image.Resampling.BILINEAR, box))
