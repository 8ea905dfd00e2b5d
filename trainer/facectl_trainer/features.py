"""Features: what a frozen trunk makes of photographs and their copies, computed once and kept by content."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from facectl_runtime.errors import ImageError
from facectl_runtime.image import load as load_image
from facectl_runtime.labelled import Image
from facectl_runtime.pipeline import decode_ahead
from facectl_runtime.spec import InputSpec
from facectl_trainer.augment import CopiesPlan, Transforms, apply, copies
from facectl_trainer.data.cache import FeatureCache

Features = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
BATCH = 32
ORIGINAL = copies(CopiesPlan(), 1)


def extract(
    trunk: Callable[[Pixels], Features],
    spec: InputSpec,
    root: Path,
    images: Sequence[Image],
    hashes: Mapping[str, str],
    cache: FeatureCache,
    advance: Callable[[int], None],
    changes: Sequence[tuple[str, Transforms]] = ORIGINAL,
) -> tuple[dict[str, list[Features]], dict[str, str]]:
    """Compute the features that the cache does not hold, of every image in each of its copies.

    `trunk` makes N × d float32 of N × H × W × 3 pixels; `hashes` gives the content of each path. Gives
    ({path: one vector a copy}, {path: error} of the images that cannot be read).
    """
    names = [name for name, _ in changes]
    known = cache.get(_key(hashes[item.path], name) for item in images for name in names)

    def whole(item: Image) -> bool:
        return all(_key(hashes[item.path], name) in known for name in names)

    missing = {hashes[item.path]: item for item in images if not whole(item)}
    advance(sum(whole(item) for item in images))
    errors: dict[str, str] = {}
    for batch in decode_ahead(missing.values(), lambda item: load_image(root / item.path, spec), BATCH, eager=False):
        errors |= {hashes[item.path]: str(error) for item, error in batch if isinstance(error, ImageError)}
        contents = [hashes[item.path] for item, pixels in batch if not isinstance(pixels, ImageError)]
        if contents:
            pixels = np.stack([pixels for _, pixels in batch if not isinstance(pixels, ImageError)])
            for name, change in changes:
                vectors = trunk(apply(pixels, change) if name else pixels)
                fresh = {_key(content, name): vector for content, vector in zip(contents, vectors, strict=True)}
                cache.put(fresh)
                known |= fresh
        advance(len(batch))
    found = {item.path: [known[_key(hashes[item.path], name)] for name in names] for item in images if whole(item)}
    return found, {item.path: errors[hashes[item.path]] for item in images if hashes[item.path] in errors}


def _key(content: str, copy: str) -> str:
    return f"{content}:{copy}" if copy else content
