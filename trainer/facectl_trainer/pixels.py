"""Pixels: photographs decoded once, for stages that run the whole network each epoch."""

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from facectl_runtime.errors import ImageError, UsageError
from facectl_runtime.home import home
from facectl_runtime.labelled import Image
from facectl_runtime.pipeline import decode_ahead
from facectl_runtime.spec import InputSpec
from facectl_trainer.features import BATCH, load

_IN_MEMORY = 2**28  # bytes


def decode(
    root: Path, images: Sequence[Image], hashes: Mapping[str, str], spec: InputSpec, advance: Callable[[int], None]
) -> tuple[dict[str, npt.NDArray[np.uint8]], dict[str, str]]:
    """Give ({path: H × W × 3 uint8}, {path: error}); the pixels lie in a file that goes when the last is let go.

    Raises `UsageError` where the disk has no room for them.
    """
    rows = room((len(images), spec.height, spec.width, 3), np.uint8)
    found: dict[str, npt.NDArray[np.uint8]] = {}
    errors: dict[str, str] = {}
    for batch in decode_ahead(images, lambda item: load(root / item.path, hashes[item.path], spec), BATCH, eager=False):
        for item, pixels in batch:
            if isinstance(pixels, ImageError):
                errors[item.path] = str(pixels)
            else:
                rows[len(found)] = pixels
                found[item.path] = rows[len(found)]
        advance(len(batch))
    return found, errors


def room(shape: tuple[int, ...], dtype: Any) -> npt.NDArray[Any]:
    """Give an array of zeros that the system may move to disk, so that memory does not bound the data."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if size < _IN_MEMORY:
        return np.zeros(shape, dtype)
    try:
        home().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home()) as file:
            file.truncate(size)
            if hasattr(os, "posix_fallocate"):  # a full disk met now is an error; met later it would kill the process
                os.posix_fallocate(file.fileno(), 0, size)
            return np.memmap(file, dtype, "r+", shape=shape)
    except OSError as error:
        raise UsageError(
            f"{home()}: no room for {size / 1e9:.1f} GB of training data ({error.strerror}); "
            "free some, or set FACECTL_HOME to a larger disk"
        ) from error
