"""Features: what a frozen backbone makes of photographs, computed once and kept by content."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from facectl_runtime.errors import ImageError
from facectl_runtime.image import load as load_image
from facectl_runtime.labelled import Image
from facectl_runtime.pipeline import decode_ahead
from facectl_runtime.spec import InputSpec
from facectl_trainer.data.cache import FeatureCache

Features = npt.NDArray[np.float32]
BATCH = 32


def extract(
    backbone: Callable[[], Any],
    spec: InputSpec,
    root: Path,
    images: Sequence[Image],
    hashes: Mapping[str, str],
    cache: FeatureCache,
    advance: Callable[[int], None],
) -> tuple[dict[str, Features], dict[str, str]]:
    """Compute the features of every image that the cache does not hold.

    `backbone` builds the Keras model, and is called only where something has to be computed; `hashes` gives the
    content of each path. Gives ({path: float32, d}, {path: error} of the images that cannot be read).
    """
    known = cache.get(hashes[item.path] for item in images)
    missing = {hashes[item.path]: item for item in images if hashes[item.path] not in known}
    advance(sum(hashes[item.path] in known for item in images))
    errors: dict[str, str] = {}
    if missing:
        model = backbone()
        for batch in decode_ahead(
            missing.values(), lambda item: load_image(root / item.path, spec), BATCH, eager=False
        ):
            good = [(hashes[item.path], pixels) for item, pixels in batch if not isinstance(pixels, ImageError)]
            errors |= {hashes[item.path]: str(error) for item, error in batch if isinstance(error, ImageError)}
            if good:
                vectors = model.predict_on_batch(np.stack([pixels for _, pixels in good]))
                fresh = dict(zip((content for content, _ in good), vectors, strict=True))
                cache.put(fresh)
                known |= fresh
            advance(len(batch))
    found = {item.path: known[hashes[item.path]] for item in images if hashes[item.path] in known}
    return found, {item.path: errors[hashes[item.path]] for item in images if hashes[item.path] in errors}
