"""Photographs of 12 megapixels, about 4 MB each and different from one another: mosaics of real ones."""

from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path

import numpy as np
from PIL import Image

WIDTH, HEIGHT, TILE, QUALITY = 4000, 3000, 250, 88


def write_mosaics(photographs: Path, out: Path, count: int) -> list[Path]:
    """Write `count` JPEGs into `out`, tiled with the images found below `photographs` in random order."""
    out.mkdir(parents=True, exist_ok=True)
    tiles = np.stack([_tile(path) for path in sorted(photographs.rglob("*.jpg"))])
    numbers = [number for number in range(count) if not (out / f"{number:04}.jpg").exists()]
    with ProcessPoolExecutor(initializer=_keep, initargs=(tiles,)) as pool:
        list(pool.map(_write, repeat(out), numbers))
    return [out / f"{number:04}.jpg" for number in range(count)]


def _tile(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize((TILE, TILE), Image.Resampling.LANCZOS))


_tiles: np.ndarray


def _keep(tiles: np.ndarray) -> None:
    global _tiles
    _tiles = tiles


def _write(out: Path, number: int) -> None:
    rows, columns = HEIGHT // TILE, WIDTH // TILE
    chosen = _tiles[np.random.default_rng(number).integers(len(_tiles), size=(rows, columns))]
    picture = chosen.transpose(0, 2, 1, 3, 4).reshape(HEIGHT, WIDTH, 3)
    Image.fromarray(picture).save(out / f"{number:04}.jpg", quality=QUALITY)
