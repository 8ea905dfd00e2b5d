"""The picture of a source, decoded once more: what was answered is not held in memory meanwhile."""

import numpy as np
from PIL import Image

from facectl_runtime.errors import ImageError
from facectl_runtime.image import TOO_MUCH, decode
from facectl_runtime.sources import Source


def picture_of(source: Source) -> Image.Image:
    """Give the upright RGB picture of a source, in full. Raises `ImageError`, also where memory does not suffice."""
    if source.data is None:
        raise ImageError(source.error or "has no picture")
    try:
        picture = source.data() if callable(source.data) else decode(source.data)
        return Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
    except MemoryError as error:
        raise ImageError(TOO_MUCH) from error
