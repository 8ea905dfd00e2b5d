"""How many planted copies `facectl data check` finds among the twenty animals, and how much that is none.

Each kind of copy is planted by itself, one of every photograph. Beside it, in an environment of its own, what people
use instead: the pHash of the package imagehash, at imagededup's default of ten bits of 64.
"""

import io
import itertools
import json
import random
import subprocess
import tempfile
import venv
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from PIL import Image, ImageEnhance

from common import keep, near_duplicates, test_data
from facectl_runtime.image import decode
from facectl_runtime.output import columns

Pair = tuple[str, str]
BITS = 10
SEEN = (
    ("beaver/beaver_image_0004.jpg", "beaver/beaver_image_0022.jpg"),
    ("cougar/cougar_image_0022.jpg", "cougar/cougar_image_0033.jpg"),
    ("cougar/cougar_image_0023.jpg", "cougar/cougar_image_0039.jpg"),
    ("cougar/cougar_image_0024.jpg", "cougar/cougar_image_0037.jpg"),
    ("cougar/cougar_image_0024.jpg", "cougar/cougar_image_0061.jpg"),
    ("cougar/cougar_image_0037.jpg", "cougar/cougar_image_0061.jpg"),
    ("gerenuk/gerenuk_image_0001.jpg", "gerenuk/gerenuk_image_0019.jpg"),
    ("kangaroo/kangaroo_image_0015.jpg", "kangaroo/kangaroo_image_0025.jpg"),
    ("kangaroo/kangaroo_image_0035.jpg", "kangaroo/kangaroo_image_0050.jpg"),
    ("rooster/rooster_image_0029.jpg", "rooster/rooster_image_0048.jpg"),
)
"""Pairs among the animals that people see to be one picture, edited; no tool need find them, and none is wrong to."""
PHASH = """
import json, sys
import imagehash
from PIL import Image
print(json.dumps({path: str(imagehash.phash(Image.open(path).convert("RGB"))) for path in json.load(sys.stdin)}))
"""


def _saved(image: Image.Image, quality: int = 90) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def _cropped(image: Image.Image, share: float, rng: random.Random) -> Image.Image:
    """Leave out a share of each side, somewhere."""
    width, height = (round(side * (1 - share)) for side in image.size)
    left, top = rng.randint(0, image.width - width), rng.randint(0, image.height - height)
    return image.crop((left, top, left + width, top + height))


def _smaller(image: Image.Image) -> Image.Image:
    return image.resize((round(image.width * 0.6), round(image.height * 0.6)), Image.Resampling.LANCZOS)


def _brighter(image: Image.Image) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(1.3)


def _all(image: Image.Image, rng: random.Random) -> bytes:
    turned = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return _saved(_brighter(_smaller(_cropped(turned, 0.05, rng))), 60)


COPIES: dict[str, Callable[[Image.Image, random.Random], bytes]] = {
    "re-encoded, JPEG quality 50": lambda image, _: _saved(image, 50),
    "resized to 60 %": lambda image, _: _saved(_smaller(image)),
    "cropped by 5 % of each side": lambda image, rng: _saved(_cropped(image, 0.05, rng)),
    "brightened by 30 %": lambda image, _: _saved(_brighter(image)),
    "mirrored": lambda image, _: _saved(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
    "all of these at once": _all,
    "cropped by 10 % of each side": lambda image, rng: _saved(_cropped(image, 0.10, rng)),
}


def main() -> None:
    """Plant, check and compare; print and keep the table."""
    animals = test_data("zoo").resolve()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "data")
        _link(animals, folder)
        own = _pairs(near_duplicates(folder))
        python = _environment(Path(scratch, "venv"))
        figures = {kind: _measure(folder, kind, own, python) for kind in COPIES}
    rows = [("copies", "recall", "precision", "pHash: recall", "precision")]
    for kind, one in figures.items():
        ours, theirs = one["facectl"], one["phash"]
        rows.append((kind, *(f"{each[name]:.4f}" for each in (ours, theirs) for name in ("recall", "precision"))))
    print(columns(rows, right=(1, 2, 3, 4)))
    print(f"the animals themselves have {len(own)} pairs that show one picture")
    keep("near_duplicates", {"n": _count(animals), "own_pairs": len(own), "bits": BITS, "copies": figures})


def _count(folder: Path) -> int:
    return len(list(folder.glob("*/*.jpg")))


def _link(animals: Path, folder: Path) -> None:
    for path in sorted(animals.glob("*/*.jpg")):
        link = folder / path.relative_to(animals)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)


def _measure(folder: Path, kind: str, own: set[Pair], python: Path) -> dict[str, Any]:
    """Plant a copy of every photograph, find, and take the copies away again."""
    rng = random.Random(0)
    planted: dict[str, str] = {}
    for path in sorted(folder.glob("*/*.jpg")):
        copy = path.with_name(f"{path.stem}.copy.jpg")
        copy.write_bytes(COPIES[kind](decode(path), rng))
        planted[str(path.relative_to(folder))] = str(copy.relative_to(folder))
    # A copy of a picture that is there twice is a copy of both.
    true = {_pair(*pair) for pair in planted.items()}
    for first, second in own | set(SEEN):
        some = (first, second, planted[first], planted[second])
        true |= {_pair(*pair) for pair in itertools.combinations(some, 2)}
    found = {"facectl": _pairs(near_duplicates(folder)), "phash": _phash(folder, python)}
    for copy in planted.values():
        (folder / copy).unlink()
    wanted = {_pair(*pair) for pair in planted.items()}
    return {
        name: {
            "recall": len(pairs & wanted) / len(wanted),
            "precision": len(pairs & true) / max(len(pairs), 1),
            "pairs": len(pairs),
            "false": sorted(pairs - true)[:20],
        }
        for name, pairs in found.items()
    }


def _pair(first: str, second: str) -> Pair:
    return (first, second) if first < second else (second, first)


def _pairs(groups: Iterable[list[str]]) -> set[Pair]:
    return {_pair(*pair) for group in groups for pair in itertools.combinations(group, 2)}


def _phash(folder: Path, python: Path) -> set[Pair]:
    paths = sorted(str(path) for path in folder.glob("*/*.jpg"))
    done = subprocess.run([python, "-c", PHASH], input=json.dumps(paths), stdout=subprocess.PIPE, text=True, check=True)
    hashes = {str(Path(path).relative_to(folder)): int(text, 16) for path, text in json.loads(done.stdout).items()}
    pairs = itertools.combinations(hashes.items(), 2)
    return {_pair(a, b) for (a, one), (b, other) in pairs if (one ^ other).bit_count() <= BITS}


def _environment(folder: Path) -> Path:
    """Make a virtual environment with imagehash in it, and give its Python."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "--quiet", "install", "imagehash"], check=True)
    return python


if __name__ == "__main__":
    main()
