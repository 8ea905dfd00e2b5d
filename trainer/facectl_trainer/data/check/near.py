"""Pictures that show the same: found by their hashes, confirmed by laying one onto the other, and put into groups."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from facectl_runtime.devices import usable_cores
from facectl_trainer.data.check.align import Values, common_details, likeness
from facectl_trainer.data.check.perceptual import Index, Numbers, Thumbnails, hashes, is_near, mirrored, views
from facectl_trainer.data.groups import Groups

ALIKE = 0.85
"""Likeness from which the details of two pictures are compared."""
LEAST = 0.82
"""Agreement of details from which two pictures count as one: of the pairs found among 12,405 faces of LFW and 4,500 of
UTKFace each is one photograph, saved twice or taken a moment later."""
_TOGETHER = 512  # pairs collected before they are looked at
_IN_CACHE = 64  # pairs laid onto one another at a time: more would not stay in the processor's cache

Closer = Callable[[int], Thumbnails]
"""Gives the picture of a number in more detail: `scan.CLOSE` pixels on each side, uint8."""


@dataclass(frozen=True)
class Pair:
    """Two pictures of one."""

    first: int
    second: int
    likeness: float
    """How far their details agree: from `LEAST` to 1."""
    mirrored: bool
    """Whether one is the mirror image of the other."""


def near_duplicates(
    thumbnails: Thumbnails, joined: Groups, closer: Closer, advance: Callable[[float], None]
) -> list[Pair]:
    """Find what shows the same among N pictures (N × SIDE × SIDE): saved again, resized, a little cropped, mirrored.

    `joined` groups copies, of which one is compared, and is joined further. Gives enough pairs for that, not every
    pair of a group. `advance` is told of how many more pictures have been compared with all others.
    """
    numbers = np.unique(joined.all())
    small, known = thumbnails[numbers], Groups(len(numbers))
    advance(len(thumbnails) - len(numbers))
    plain, index, pairs = hashes(small), Index(views(small)), []
    with ThreadPoolExecutor(usable_cores()) as pool:
        for turned in (False, True):
            of = mirrored(plain) if turned else plain
            found = index.candidates(of, known.all, lambda count: advance(count / 2))
            for first, second in _batches(found, known):
                look = _Look(pool, small, lambda number: closer(int(numbers[number])), turned)
                for i, j, agreement in look.agreeing(first, second):
                    known.join(i, j)
                    joined.join(int(numbers[i]), int(numbers[j]))
                    pairs.append(Pair(int(numbers[i]), int(numbers[j]), agreement, turned))
    return pairs


@dataclass(frozen=True)
class _Look:
    """How pairs of pictures are looked at, on every core."""

    pool: ThreadPoolExecutor
    small: Thumbnails
    closer: Closer
    turned: bool
    """Whether the first of each pair is mirrored."""

    def agreeing(self, first: Numbers, second: Numbers) -> Iterator[tuple[int, int, float]]:
        """Give the pairs that show the same, with how far their details agree."""
        alike = self._compared(likeness, self.small[first], self.small[second])
        first, second = first[alike >= ALIKE], second[alike >= ALIKE]
        if not first.size:
            return
        numbers, where = np.unique(np.concatenate([first, second]), return_inverse=True)
        close = np.stack(list(self.pool.map(self.closer, numbers.tolist())))
        agreement = self._compared(common_details, *(close[places] for places in np.split(where, 2)))
        for place in np.flatnonzero(agreement >= LEAST):
            yield int(first[place]), int(second[place]), min(1.0, float(agreement[place]))

    def _compared(self, by: Callable[..., Values], first: Thumbnails, second: Thumbnails) -> Values:
        one = first[:, :, ::-1] if self.turned else first
        some = (np.array_split(pictures, -(-len(pictures) // _IN_CACHE)) for pictures in (one, second))
        return np.concatenate(list(self.pool.map(by, *some)))


def nearest(thumbnail: Thumbnails, close: Thumbnails, others: Thumbnails, closer: Closer) -> int | None:
    """Say which of N other pictures shows the same as this one, most of all, or that none does.

    `thumbnail` and `others` are SIDE × SIDE and N × SIDE × SIDE; `close` is the one in more detail, as `closer` gives
    the others.
    """
    best: tuple[float, int | None] = (LEAST, None)
    for one, large in ((thumbnail, close), (thumbnail[:, ::-1], close[:, ::-1])):
        near = np.vstack([is_near(hashes(one[None]), views(others)), is_near(views(one[None]), hashes(others))])
        if (places := np.flatnonzero(near.any(axis=0))).size:
            places = places[likeness(np.repeat(one[None], len(places), axis=0), others[places]) >= ALIKE]
        for place in places.tolist():
            agreement = float(common_details(large[None], closer(place)[None])[0])
            best = max(best, (agreement, place), key=lambda pair: pair[0])
    return best[1]


def _batches(found: Iterable[tuple[Numbers, Numbers]], known: Groups) -> Iterator[tuple[Numbers, Numbers]]:
    """Collect candidates, each once, without those that are in one group by then: the last batch has joined some."""
    waiting: dict[tuple[int, int], None] = {}
    looked_at: set[tuple[int, int]] = set()

    def batch() -> Iterator[tuple[Numbers, Numbers]]:
        apart = [pair for pair in waiting if known.of(pair[0]) != known.of(pair[1])]
        waiting.clear()
        looked_at.update(apart)
        if apart:
            first, second = np.array(apart, np.intp).T
            yield first, second

    for first, second in found:
        for pair in zip(first.tolist(), second.tolist(), strict=True):
            if pair not in looked_at and known.of(pair[0]) != known.of(pair[1]):
                waiting[pair] = None
                if len(waiting) == _TOGETHER:
                    yield from batch()
        yield from batch()
