"""A hash of what a photograph looks like: saved again, resized, brightened or mirrored, it keeps nearly all bits.

The signs of the lowest frequencies of a small grey picture, as pHash takes them (Zauner 2010, Implementation and
Benchmarking of Perceptual Image Hash Functions). A crop shifts them all, so every picture is hashed as well as if it
had been cropped a little: its views, one of which is near to the hash of the picture that was.
"""

import itertools
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image

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
_FEW = 4_000  # pictures up to which a hash is looked up by four parts, which take less memory and more time each
_QUARTERS = ((0, 16), (16, 16), (32, 16), (48, 16))  # of a hash: the lowest bit of each part, and how many
_THIRDS = ((0, 22), (22, 21), (43, 21))
_TOGETHER = 2048  # hashes looked up at a time
_AT_ONCE = 1 << 20  # pairs looked at at a time: where all are alike there are as many as their number squared


def thumbnail(grey: Image.Image) -> Thumbnails:
    """Give a small version of a picture of mode L: SIDE × SIDE uint8."""
    return np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BOX))


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


class Index:
    """Pictures by their views, to be found by hashes that are near.

    Two hashes that differ in 8 bits differ in 2 at most of one of three parts (or four), so those are looked up, with
    no bit turned, one and two. Source: Norouzi, Punjani & Fleet 2012, Fast Search in Hamming Space with Multi-Index
    Hashing.
    """

    def __init__(self, seen_as: Hashes) -> None:
        """Take the views of N pictures: views × N."""
        self._flat, self._n = seen_as.ravel(), seen_as.shape[1]
        parts = _QUARTERS if self._n <= _FEW else _THIRDS
        self._tables = [_Table(self._flat, shift, width) for shift, width in parts]

    def candidates(
        self, of: Hashes, groups: Callable[[], Numbers], advance: Callable[[int], None]
    ) -> Iterator[tuple[Numbers, Numbers]]:
        """Give the pairs (i, j), i < j, of a hash i and a picture j any view of which is near, some at a time.

        Of those that are in one of `groups` (N: what is known by now) none is given. One may come twice. `advance` is
        told of how many more i are done.
        """
        for start in range(0, len(of), _TOGETHER):
            some = of[start : start + _TOGETHER]
            for table in self._tables:
                for first, entry in table.look_up(some, lambda: self._groups(groups, start, len(some))):  # noqa: B023
                    near = is_near(some[first], self._flat[entry])
                    i, j = first[near] + start, entry[near] % self._n
                    pairs = np.unique(np.minimum(i, j) * self._n + np.maximum(i, j))
                    yield pairs // self._n, pairs % self._n
            advance(len(some))

    def _groups(self, groups: Callable[[], Numbers], start: int, count: int) -> tuple[Numbers, Numbers]:
        """Give the groups of some hashes, and those of all views."""
        known = groups()
        return known[start : start + count], np.tile(known, len(self._flat) // self._n)


class _Table:
    """Where the hashes stand that have some value in one of their parts."""

    def __init__(self, hashes: Hashes, shift: int, width: int) -> None:
        self._shift, self._width = np.uint64(shift), width
        keys = self._part(hashes)
        self._order = np.argsort(keys, kind="stable")
        self._starts = np.concatenate([[0], np.cumsum(np.bincount(keys, minlength=1 << width))])
        bits = 1 << np.arange(width)
        turned = [0, *bits, *(one | other for one, other in itertools.combinations(bits, 2))]
        self._turned: Numbers = np.array(turned, np.intp)

    def look_up(
        self, hashes: Hashes, groups: Callable[[], tuple[Numbers, Numbers]]
    ) -> Iterator[tuple[Numbers, Numbers]]:
        """Give (which of these hashes, which of the table's) for all whose parts differ in up to two bits.

        Some at a time; those in one group are passed over. `groups` gives the groups of the one and of the other.
        """
        keys = (self._part(hashes)[:, None] ^ self._turned).ravel()
        there = np.flatnonzero(self._starts[keys + 1] > self._starts[keys])
        which, starts = there // len(self._turned), self._starts[keys[there]]
        counts = self._starts[keys[there] + 1] - starts
        while len(which):
            own, others = groups()
            sorted_others = others[self._order]
            changes = np.concatenate([[0], np.cumsum(sorted_others[1:] != sorted_others[:-1])])
            alone = (changes[starts + counts - 1] == changes[starts]) & (sorted_others[starts] == own[which])
            which, starts, counts = which[~alone], starts[~alone], counts[~alone]
            now = max(1, int(np.searchsorted(np.cumsum(counts), _AT_ONCE)))
            first, places = _expanded(which[:now], starts[:now], counts[:now])
            apart = own[first] != sorted_others[places]
            yield first[apart], self._order[places[apart]]
            which, starts, counts = which[now:], starts[now:], counts[now:]

    def _part(self, hashes: Hashes) -> Numbers:
        part: Numbers = ((hashes >> self._shift) & np.uint64((1 << self._width) - 1)).astype(np.intp)
        return part


def _expanded(which: Numbers, starts: Numbers, counts: Numbers) -> tuple[Numbers, Numbers]:
    """Give each of `which` with each of its `counts` places from its start on."""
    before = np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(which, counts), np.arange(counts.sum()) - before + np.repeat(starts, counts)


def _basis(share: float = 1, where: float = 0.5) -> npt.NDArray[np.float32]:
    """Give the lowest frequencies of a row of which this share is looked at: FREQUENCIES × SIDE."""
    places = np.arange(SIDE) + 0.5
    cosines = np.cos(np.pi / SIDE * np.arange(_FREQUENCIES)[:, None] * places)
    positions = (1 - share) * where * SIDE + share * places - 0.5
    return (cosines @ interpolation(positions.clip(0, SIDE - 1), SIDE)).astype(np.float32)


def _hash(thumbnails: Thumbnails, rows: npt.NDArray[np.float32], columns: npt.NDArray[np.float32]) -> Hashes:
    found = np.empty(len(thumbnails), np.uint64)
    for start in range(0, len(thumbnails), _TOGETHER):  # as floats, all at once would take four times their memory
        values = rows @ thumbnails[start : start + _TOGETHER].astype(np.float32) @ columns.T
        found[start : start + _TOGETHER] = _packed(values.reshape(len(values), -1) > 0)
    return found


def _packed(bits: npt.NDArray[np.bool_]) -> Hashes:
    bits[:, 0] = False  # the mean: always positive
    return np.packbits(bits, axis=1).view(np.uint64)[:, 0]


_ODD = _packed(np.tile(np.arange(_FREQUENCIES) % 2 == 1, (1, _FREQUENCIES)))[0]
