"""Which golden images an exported file carries: photographs of the test split, or drawn patterns."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from facectl_runtime import image
from facectl_runtime.engines import Engine
from facectl_runtime.golden import COUNT, larger_and_shrunk, patterns, pixels, record
from facectl_runtime.labelled import Image
from facectl_runtime.spec import GoldenImage, InputSpec

__all__ = ["choose", "patterns", "photographs", "record"]

BYTES = 200_000  # of the 600,000 that a spec may carry: an int8 model is itself only a few million


def choose(candidates: Sequence[GoldenImage], trained: Engine, exported: Engine, spec: InputSpec) -> list[GoldenImage]:
    """Choose the images that this file answers most nearly as the trained model does.

    Where a file's own rounding hardly matters here, another processor's will hardly matter either. The first candidate
    is always kept: it is the one that is larger than the input.
    """
    taken = np.stack([pixels(one, spec) for one in candidates])
    distance = np.abs(trained.infer(taken) - exported.infer(taken)).max(axis=1)
    order = [0, *(1 + np.argsort(distance[1:], kind="stable"))]
    kept: list[GoldenImage] = []
    for index in order:
        bytes_kept = sum(len(one.png) for one in kept)
        if not kept or (len(kept) < COUNT and bytes_kept + len(candidates[index].png) <= BYTES):
            kept.append(candidates[index])
    return kept


def photographs(root: Path, images: Sequence[Image], spec: InputSpec, count: int = 3 * COUNT) -> list[GoldenImage]:
    """Make PNGs of test photographs of as many classes as can be; the first is larger than the input and not square."""
    rotation = sorted(images, key=lambda item: item.path)
    by_class = [[item for item in rotation if item.label == label] for label in sorted({item.label for item in images})]
    turns = [items[turn] for turn in range(max(map(len, by_class))) for items in by_class if turn < len(items)]
    pictures = [image.decode(root / item.path) for item in turns[:count]]
    return larger_and_shrunk(pictures, spec)
