"""The picture of a source: as a model's input takes it, or in full."""

import numpy as np
from PIL import Image

from facectl_runtime.errors import ImageError
from facectl_runtime.image import TOO_MUCH, Pixels, decode
from facectl_runtime.sources import Source
from facectl_runtime.spec import InputSpec


def decoded(source: Source, spec: InputSpec | None = None) -> Image.Image | Pixels:
    """Decode a source, upright and RGB; for `spec` alone, where that is given. Raises `ImageError`."""
    if source.data is None:
        raise ImageError(source.error or "has no picture")
    return source.data() if callable(source.data) else decode(source.data, spec)


def picture_of(source: Source) -> Image.Image:
    """Give the picture of a source in full. Raises `ImageError`, also where memory does not suffice."""
    try:
        picture = decoded(source)
        return Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
    except MemoryError as error:
        raise ImageError(TOO_MUCH) from error
