"""Golden vectors: the images that a file carries, and the answers that it gave when it was exported."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw

from facectl_runtime import image
from facectl_runtime.engines import Engine
from facectl_runtime.labelled import Image
from facectl_runtime.spec import Golden, GoldenImage, InputSpec

COUNT = 4
BYTES = 200_000  # of the 600,000 that a spec may carry: an int8 model is itself only a few million
_FIRST = 150_000  # of them for the first image, so that the others have room
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


def choose(candidates: Sequence[bytes], trained: Engine, exported: Engine, spec: InputSpec) -> list[bytes]:
    """Choose the images that this file answers most nearly as the trained model does.

    Where a file's own rounding hardly matters here, another processor's will hardly matter either. The first candidate
    is always kept: it is the one that is larger than the input.
    """
    pixels = np.stack([image.load(png, spec) for png in candidates])
    distance = np.abs(trained.infer(pixels) - exported.infer(pixels)).max(axis=1)
    order = [0, *(1 + np.argsort(distance[1:], kind="stable"))]
    kept: list[bytes] = []
    for index in order:
        if not kept or (len(kept) < COUNT and sum(map(len, kept)) + len(candidates[index]) <= BYTES):
            kept.append(candidates[index])
    return kept


def photographs(root: Path, images: Sequence[Image], spec: InputSpec, count: int = 3 * COUNT) -> list[bytes]:
    """Make PNGs of test photographs of as many classes as can be; the first is larger than the input and not square."""
    rotation = sorted(images, key=lambda item: item.path)
    by_class = [[item for item in rotation if item.label == label] for label in sorted({item.label for item in images})]
    turns = [items[turn] for turn in range(max(map(len, by_class))) for items in by_class if turn < len(items)]
    pictures = [image.decode(root / item.path) for item in turns[:count]]
    return [_larger(pictures[0], spec), *(_png(_shrunk(picture)) for picture in pictures[1:])]


def patterns(spec: InputSpec) -> list[bytes]:
    """Draw the golden images of a model of people, whose photographs are nobody else's business."""
    drawn = list(_drawn(COUNT))
    return [_larger(drawn[0], spec), *(_png(_shrunk(picture)) for picture in drawn[1:])]


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
