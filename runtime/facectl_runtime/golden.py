"""Golden vectors: the images that a file carries, and the answers that it gave when it was written."""

import io
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw

from facectl_runtime import image
from facectl_runtime.engines import Engine
from facectl_runtime.spec import Golden, GoldenImage, InputSpec

COUNT = 4
_FIRST = 150_000  # bytes of the first image: the others need room too
_SMALL = 96  # shorter side in pixels of all golden images but the first
_COLOURS = 64  # a palette keeps a photograph's PNG to a third


def record(engine: Engine, spec: InputSpec, tolerance: float, pngs: Sequence[bytes]) -> Golden:
    """Answer `pngs` with the exported file itself, one by one as `verify` will, and keep what it said."""
    answers = [engine.infer(image.load(png, spec)[None])[0] for png in pngs]
    return Golden(
        tuple(
            GoldenImage(png, tuple(round(float(value), 6) for value in answer))
            for png, answer in zip(pngs, answers, strict=True)
        ),
        tolerance,
    )


def patterns(spec: InputSpec) -> list[bytes]:
    """Draw golden images that are nobody else's business; the first is larger than the input and not square."""
    return larger_and_shrunk(list(_drawn(COUNT)), spec)


def larger_and_shrunk(pictures: Sequence[Pillow.Image], spec: InputSpec) -> list[bytes]:
    """Make PNGs of which the first is larger than the input and of another shape, and the others are small."""
    return [_larger(pictures[0], spec), *(_png(_shrunk(picture)) for picture in pictures[1:])]


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
