"""Calibration images: which of the training images set the ranges of activations, and their pixels."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from facectl_runtime import image
from facectl_runtime.errors import ImageError, UsageError
from facectl_runtime.labelled import Image
from facectl_runtime.spec import InputSpec

Method = Literal["auto", "minmax", "percentile", "entropy"]
METHODS: tuple[Method, ...] = get_args(Method)
IMAGES = 512
"""Where it is not said."""
_BATCH = 16


@dataclass(frozen=True)
class Calibration:
    """What ranges are set by. Training images alone: val chooses and test reports."""

    root: Path
    images: Sequence[Image]
    spec: InputSpec
    method: Method

    def words(self, how: str) -> str:
        """Say how ranges were found, where they are `how` of them."""
        images = "1 training image" if len(self.images) == 1 else f"{len(self.images)} training images"
        return f"{how} over {images}" + (", the nearest on val" if self.method == "auto" else "")

    def batches(self, advance: Callable[[int], None]) -> Iterator[npt.NDArray[np.uint8]]:
        """Give the pixels, uint8 N × height × width × 3. Raises `UsageError` for an image that cannot be read now."""
        for start in range(0, len(self.images), _BATCH):
            some = self.images[start : start + _BATCH]
            try:
                yield np.stack([image.load(self.root / item.path, self.spec) for item in some])
            except ImageError as error:
                raise UsageError(
                    f"{self.root}: a training image that was readable in training is not: {error}"
                ) from error
            advance(len(some))


def stratified(images: Sequence[Image], count: int) -> list[Image]:
    """Choose up to `count` images, evenly over the classes, and within a class over its paths: the same each time.

    Photographs of one moment lie side by side by their names, so the first of a class would be those of a few moments.
    """
    classes: dict[str, list[Image]] = {}
    for item in sorted(images, key=lambda item: item.path):
        classes.setdefault(item.label, []).append(item)
    taken = dict.fromkeys(classes, 0)
    while count > sum(taken.values()) and (row := [one for one, items in classes.items() if taken[one] < len(items)]):
        turn = min(count - sum(taken.values()), len(row))
        for place in range(turn):  # where that is not all classes, those as far apart as can be
            taken[row[place * len(row) // turn]] += 1
    return [items[place * len(items) // taken[one]] for one, items in classes.items() for place in range(taken[one])]
