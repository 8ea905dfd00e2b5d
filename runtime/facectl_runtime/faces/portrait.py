"""A photograph of one person: its face, as a model takes it, and what speaks against it."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from facectl_runtime import image
from facectl_runtime.blur import BLURRED, blur
from facectl_runtime.engines.base import Pixels
from facectl_runtime.errors import ImageError
from facectl_runtime.faces.crop import crop, whole_as_face
from facectl_runtime.faces.detect import NO_FACE, Face, largest_and_central, shared_detector
from facectl_runtime.sources import Source
from facectl_runtime.spec import InputSpec

TINY = 48
"""Pixels of the longer side of a face's box; a smaller one has hardly what tells people apart."""
_ALSO = 0.25  # of the area of the face that is taken, from which on another one is worth a word


class Portrait(NamedTuple):
    """A face that is ready to be embedded."""

    pixels: Pixels
    content: str
    """SHA-256 of the photograph's file."""
    warnings: tuple[str, ...]


def portrait(source: Source, spec: InputSpec, *, detect: bool) -> Portrait:
    """Find the face that a photograph is of. Raises `ImageError`."""
    if source.data is None:
        raise ImageError(source.error)
    if callable(source.data):
        raise ImageError("a frame of a video; give photographs")
    try:
        data = image.read(source.data) if isinstance(source.data, Path) else source.data
        picture, content = image.decode(data), hashlib.sha256(data).hexdigest()
        if not detect:
            pixels = whole_as_face(picture, spec)
            return Portrait(pixels, content, tuple(_poor(max(picture.size), pixels)))
        faces = shared_detector().detect(picture)
        if not faces:
            raise ImageError(NO_FACE)
        face = largest_and_central(faces, *picture.size)
        pixels = crop(picture, face, spec)
        return Portrait(pixels, content, tuple(warnings(faces, face, pixels)))
    except MemoryError as error:
        raise ImageError(image.TOO_MUCH) from error


def warnings(faces: list[Face], chosen: Face, pixels: Pixels) -> Iterator[str]:
    """Say what speaks against a face: others beside it, too few pixels, blur."""
    also = sum(_area(face) >= _ALSO * _area(chosen) for face in faces) - 1
    if also > 0:
        yield f"it shows {also + 1} faces; the largest and most central was taken"
    left, upper, right, lower = chosen.box
    yield from _poor(max(right - left, lower - upper), pixels)


def _poor(side: float, pixels: Pixels) -> Iterator[str]:
    """Say what is poor of a face whose longer side had so many pixels, as the model sees it."""
    if side < TINY:
        yield f"the face is tiny, {side:.0f} pixels; {TINY} or more tell people apart better"
    elif (found := blur(Image.fromarray(pixels).convert("L"))) >= BLURRED:
        yield f"the face is blurred ({found:.2f}, from {BLURRED:g} on it counts as such)"


def _area(face: Face) -> float:
    left, upper, right, lower = face.box
    return (right - left) * (lower - upper)
