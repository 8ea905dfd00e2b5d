"""A hash of what a photograph looks like: saved again, resized, brightened or mirrored, it keeps nearly all bits.

The signs of the lowest frequencies of a small grey picture, as pHash takes them (Zauner 2010, Implementation and
Benchmarking of Perceptual Image Hash Functions). A crop shifts them all, so every picture is hashed as well as if it
had been cropped a little: its views, one of which is near to the hash of the picture that was.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
from PIL import Image

from facectl_runtime.devices import usable_cores

Thumbnails = npt.NDArray[np.uint8]
"""N × SIDE × SIDE."""
Hashes = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.intp]

SIDE = 32
"""Of a thumbnail, in pixels."""
_FREQUENCIES = 8  # in each direction; all but the mean: 63 bits
_NEAR = 8  # bits in which two pictures of one may differ
CROPS = ((0.95, 0.5, 0.5), (0.95, 0, 0), (0.95, 0, 1), (0.95, 1, 0), (0.95, 1, 1), (0.9, 0.5, 0.5))
"""Of the views: the share of each side that is left, and where it lies, from 0 (top, left) to 1."""
_COMPARED = 1 << 20  # pairs at a time, so that they stay in the processor's cache


def thumbnail(green: Image.Image) -> Thumbnails:
    """Give a small version of a picture of one channel: SIDE × SIDE uint8."""
    return np.asarray(green.resize((SIDE, SIDE), Image.Resampling.BOX))


def interpolation(positions: npt.NDArray[np.floating], size: int) -> npt.NDArray[np.float32]:
    """Give the matrix (… × M × size) that reads a row of `size` pixels at M positions, in pixels from the first."""
    matrix: npt.NDArray[np.float32] = np.maximum(0, 1 - np.abs(positions[..., None] - np.arange(size))).astype("f4")
    return matrix


def hashes(thumbnails: Thumbnails) -> Hashes:
    """Give the hashes of whole pictures: N uint64."""
    return _hash(thumbnails, _basis(), _basis())


def views(thumbnails: Thumbnails) -> Hashes:
    """Give the hashes of pictures, whole and as if they were cropped: views × N uint64."""
    crops = (_hash(thumbnails, _basis(share, top), _basis(share, left)) for share, top, left in CROPS)
    return np.stack([hashes(thumbnails), *crops])


def mirrored(of: Hashes) -> Hashes:
    """Give the hashes of the pictures mirrored: what is odd from left to right changes its sign."""
    turned: Hashes = of ^ _ODD
    return turned


def is_near(one: Hashes, other: Hashes) -> npt.NDArray[np.bool_]:
    """Say whether hashes differ in so few bits that they may be of one picture; the shapes are broadcast."""
    near: npt.NDArray[np.bool_] = np.bitwise_count(one ^ other) <= _NEAR
    return near


def candidates(of: Hashes, seen_as: Hashes, advance: Callable[[int], None]) -> Iterator[tuple[Numbers, Numbers]]:
    """Give the pairs (i, j) of pictures whose hash i is near to any view of j, some at a time; one may come twice.

    `of` has N hashes and `seen_as` views × N. All pairs are compared, on every core. `advance` is told of how many i
    are done.
    """
    n = len(of)
    rows = max(1, _COMPARED // max(n, 1))

    def compare(start: int) -> tuple[Numbers, Numbers]:
        some = of[start : start + rows, None]
        near = np.zeros((len(some), n), bool)
        for view in seen_as:
            near |= is_near(some, view)
        i, j = np.nonzero(near)
        return i + start, j

    with ThreadPoolExecutor(usable_cores()) as pool:
        for start, pairs in enumerate(pool.map(compare, range(0, n, rows))):
            advance(min(rows, n - start * rows))
            yield pairs


def _basis(share: float = 1, where: float = 0.5) -> npt.NDArray[np.float32]:
    """Give the lowest frequencies of a row of which this share is looked at: FREQUENCIES × SIDE."""
    places = np.arange(SIDE) + 0.5
    cosines = np.cos(np.pi / SIDE * np.arange(_FREQUENCIES)[:, None] * places)
    positions = (1 - share) * where * SIDE + share * places - 0.5
    return (cosines @ interpolation(positions.clip(0, SIDE - 1), SIDE)).astype(np.float32)


def _hash(thumbnails: Thumbnails, rows: npt.NDArray[np.float32], columns: npt.NDArray[np.float32]) -> Hashes:
    values = rows @ thumbnails.astype(np.float32) @ columns.T
    return _packed(values.reshape(len(thumbnails), _FREQUENCIES**2) > 0)


def _packed(bits: npt.NDArray[np.bool_]) -> Hashes:
    bits[:, 0] = False  # the mean: always positive
    return np.packbits(bits, axis=1).view(np.uint64)[:, 0]


_ODD = _packed(np.tile(np.arange(_FREQUENCIES) % 2 == 1, (1, _FREQUENCIES)))[0]
