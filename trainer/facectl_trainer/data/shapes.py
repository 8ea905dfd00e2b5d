"""A data set that needs no data: ellipses and rectangles on crops of the two photographs that scikit-learn ships.

The first trial of anybody who wonders whether the whole path works, and of the twins' write-up.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from facectl_runtime.errors import MissingExtraError
from facectl_runtime.labelled import Part
from facectl_trainer.data.tree import check_new, new_folder

KINDS = ("ellipse", "rectangle")
SIDE = 160  # of a picture, in pixels
_STRIPS: dict[Part, tuple[float, float]] = {"train": (0.0, 0.6), "val": (0.6, 0.8), "test": (0.8, 1.0)}
"""Each part's crops come from a vertical strip of the photographs of its own, as shares of their width."""
_FINER = 4  # shapes are drawn this much larger, so that their edges come out smooth
_CONTRAST = 100  # least distance in RGB between a shape and the mean of what lies behind


def write_shapes(out: Path, count: int, seed: int, advance: Callable[[int], None]) -> None:
    """Write `count` PNGs of each kind into `out`/train, val and test, with a class folder for each kind.

    The same seed gives the same pictures. Raises `UsageError` where `out` exists, and `MissingExtraError` without
    scikit-learn.
    """
    check_new(out)
    photographs = _photographs()
    random = np.random.default_rng(seed)
    train, val = round(0.6 * count), round(0.15 * count)
    counts: dict[Part, int] = {"train": train, "val": val, "test": count - train - val}
    with new_folder(out) as folder:
        for part, strip in _STRIPS.items():
            for kind in KINDS:
                (folder / part / kind).mkdir(parents=True)
                for number in range(counts[part]):
                    picture = _draw(_crop(photographs, strip, random), kind, random)
                    picture.save(folder / part / kind / f"{number:04}.png")
                    advance(1)


def _photographs() -> list[Image.Image]:
    try:
        from sklearn.datasets import load_sample_images
    except ImportError as error:
        raise MissingExtraError(
            "drawing shapes needs scikit-learn; install it with: pip install 'facectl[train]'"
        ) from error
    return [Image.fromarray(pixels) for pixels in load_sample_images().images]


def _crop(photographs: list[Image.Image], strip: tuple[float, float], random: np.random.Generator) -> Image.Image:
    """Take a square out of a strip of one of the photographs, mirrored half the time."""
    photograph = photographs[random.integers(len(photographs))]
    first, last = (round(share * photograph.width) for share in strip)
    side = int(random.integers(90, min(last - first, photograph.height) + 1)) if last - first > 90 else last - first
    left, top = int(random.integers(first, last - side + 1)), int(random.integers(0, photograph.height - side + 1))
    crop = photograph.crop((left, top, left + side, top + side))
    return crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if random.random() < 0.5 else crop


def _draw(crop: Image.Image, kind: str, random: np.random.Generator) -> Image.Image:
    """Draw one filled shape of random size, place and colour; it never touches the border."""
    picture = crop.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    width, height = (random.uniform(0.25, 0.7, 2) * SIDE).tolist()
    left, top = random.uniform(2, SIDE - 2 - width), random.uniform(2, SIDE - 2 - height)
    box = [left * _FINER, top * _FINER, (left + width) * _FINER, (top + height) * _FINER]
    mask = Image.new("L", (SIDE * _FINER, SIDE * _FINER))
    pen = ImageDraw.Draw(mask)
    (pen.ellipse if kind == "ellipse" else pen.rectangle)(box, fill=255)
    red, green, blue = _colour(np.asarray(picture, np.float64).mean(axis=(0, 1)), random)
    picture.paste(
        Image.new("RGB", picture.size, (red, green, blue)), mask=mask.resize(picture.size, Image.Resampling.BOX)
    )
    return picture


def _colour(behind: npt.NDArray[np.float64], random: np.random.Generator) -> tuple[int, int, int]:
    while True:
        colour = random.integers(0, 256, 3)
        if np.linalg.norm(colour - behind) >= _CONTRAST:
            return int(colour[0]), int(colour[1]), int(colour[2])
