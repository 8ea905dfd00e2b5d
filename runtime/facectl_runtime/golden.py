"""Golden vectors: the images that a file carries, and the answers that it gave when it was written."""

import cmath
import io
from collections.abc import Iterator, Sequence

import numpy as np
from msgspec.structs import replace
from PIL import Image as Pillow
from PIL import ImageDraw

from facectl_runtime import image
from facectl_runtime.engines import Engine
from facectl_runtime.spec import FaceAlign, Golden, GoldenImage, InputSpec

COUNT = 4
_FIRST = 150_000  # bytes of the first image: the others need room too
_SMALL = 96  # shorter side in pixels of all golden images but the first
_COLOURS = 64  # a palette keeps a photograph's PNG to a third


def record(engine: Engine, spec: InputSpec, tolerance: float, images: Sequence[GoldenImage]) -> Golden:
    """Answer images with the exported file itself, one by one as `verify` will, and keep what it said."""
    answers = [engine.infer(pixels(golden, spec)[None])[0] for golden in images]
    return Golden(
        tuple(
            replace(golden, expected=tuple(round(float(value), 6) for value in answer))
            for golden, answer in zip(images, answers, strict=True)
        ),
        tolerance,
    )


def pixels(golden: GoldenImage, spec: InputSpec) -> image.Pixels:
    """Bring a golden image to the model's input. Raises `ImageError`."""
    return image.to_input(image.decode(golden.png, spec), spec, golden.landmarks)


def patterns(spec: InputSpec) -> list[GoldenImage]:
    """Draw golden images that are nobody else's business; the first is larger than the input and not square."""
    return larger_and_shrunk(list(_drawn(COUNT)), spec)


def larger_and_shrunk(pictures: Sequence[Pillow.Image], spec: InputSpec) -> list[GoldenImage]:
    """Make images, not answered yet, of which the first is larger than the input and not square, the others small."""
    pngs = [_larger(pictures[0], spec), *(_png(_shrunk(picture)) for picture in pictures[1:])]
    return [GoldenImage(png, (), _landmarks(png, spec, number)) for number, png in enumerate(pngs)]


def _landmarks(png: bytes, spec: InputSpec, number: int) -> tuple[tuple[float, float], ...] | None:
    """Say where a face would be in a picture: in its middle, turned another way in each; None where none is aligned."""
    if not isinstance(spec.resize, FaceAlign):
        return None
    width, height = Pillow.open(io.BytesIO(png)).size
    turn = 0.8 * min(width, height) / max(spec.width, spec.height) * cmath.exp(1j * (number - 1) / 4)
    points = [complex(x - spec.width / 2, y - spec.height / 2) * turn for x, y in spec.resize.landmarks]
    return tuple((round(point.real + width / 2, 2), round(point.imag + height / 2, 2)) for point in points)


def _drawn(count: int) -> Iterator[Pillow.Image]:
    """Draw gradients with ellipses on them, the same ones each time."""
    random = np.random.default_rng(0)
    for _ in range(count):
        y, x = np.mgrid[0:192, 0:256]
        waves = [np.sin(x * a + y * b + c) for a, b, c in random.uniform(0.01, 0.08, (3, 3)) * (1, 1, 60)]
        picture = Pillow.fromarray(np.uint8(127.5 + 127.5 * np.stack(waves, axis=-1)))
        pen = ImageDraw.Draw(picture)
        for left, top, width, height, red, green, blue in random.integers(0, 128, (6, 7)).tolist():
            pen.ellipse((left, top, left + width, top + height), fill=(2 * red, 2 * green, 2 * blue))
        yield picture


def _larger(picture: Pillow.Image, spec: InputSpec) -> bytes:
    """Make a PNG that is larger than the input; where so many pixels would not fit, of squares of one colour."""
    width, height = size = (round(spec.width * 1.375), round(spec.height * 1.125))
    png = _png(picture.resize(size, Pillow.Resampling.BICUBIC))
    square = 1
    while len(png) > _FIRST:
        square *= 2
        coarse = (max(1, width // square), max(1, height // square))
        png = _png(picture.resize(coarse, Pillow.Resampling.BICUBIC), size)
    return png


def _shrunk(picture: Pillow.Image) -> Pillow.Image:
    scale = min(1.0, _SMALL / min(picture.size))
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Pillow.Resampling.BICUBIC)


def _png(picture: Pillow.Image, size: tuple[int, int] | None = None) -> bytes:
    """Write a picture in few colours; at `size`, each of its pixels becomes many of one colour."""
    buffer = io.BytesIO()
    few = picture.quantize(_COLOURS, dither=Pillow.Dither.FLOYDSTEINBERG)
    few.resize(size or few.size, Pillow.Resampling.NEAREST).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
