"""Pictures with something to be seen in them, so that no two look alike."""

import numpy as np
from PIL import Image


def picture(seed, size=(160, 120)):
    """Draw soft patches of colour under fine noise; no two seeds look alike."""
    dice = np.random.default_rng(seed)
    patches = Image.fromarray(dice.integers(0, 256, (9, 12, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)
    noise = dice.normal(0, 12, (size[1], size[0], 3))
    return Image.fromarray(np.uint8(np.clip(np.asarray(patches) + noise, 0, 255)))


def save(path, seed=99, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(seed).save(path, **options)
    return path


def draw_cats_and_dogs(folder, seed=0):
    """Two classes of three photographs, in which there is nothing to find."""
    for number in range(6):
        save(folder / ("cat", "dog")[number % 2] / f"{number // 2}.jpg", seed + number, quality=90)
    return folder
