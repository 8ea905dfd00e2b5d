"""Pictures that show the same: found by their hashes, confirmed by laying one onto the other, and put into groups."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from facectl_runtime.devices import usable_cores
from facectl_trainer.data.check.align import Values, likeness
from facectl_trainer.data.check.perceptual import Index, Numbers, Thumbnails, hashes, is_near, mirrored, views

LEAST = 0.93
"""Likeness from which two pictures count as one. Of 1,500 aligned faces (UTKFace), different people reach 0.915."""
_TOGETHER = 512  # pairs laid onto one another at a time


@dataclass(frozen=True)
class Pair:
    """Two pictures of one."""

    first: int
    second: int
    likeness: float
    """From `LEAST` to 1."""
    mirrored: bool
    """Whether one is the mirror image of the other."""


class Groups:
    """Things that belong together, by number: those joined, and those joined to them."""

    def __init__(self, n: int) -> None:
        self._leads_to = list(range(n))

    def of(self, number: int) -> int:
        """Give the number that stands for a thing's group: its least."""
        while (above := self._leads_to[number]) != number:
            self._leads_to[number] = number = self._leads_to[above]
        return number

    def join(self, first: int, second: int) -> None:
        """Put two things, and all that is with them, together."""
        low, high = sorted((self.of(first), self.of(second)))
        self._leads_to[high] = low


def near_duplicates(thumbnails: Thumbnails, joined: Groups, advance: Callable[[float], None]) -> list[Pair]:
    """Find what shows the same among N pictures (N × SIDE × SIDE): saved again, resized, cropped, lit, mirrored.

    `joined` groups copies, which are not compared, and is joined further. Gives enough pairs for that, not every pair
    of a group. `advance` is told of how many more pictures have been compared with all others.
    """
    plain, index = hashes(thumbnails), Index(views(thumbnails))
    pairs = []
    with ThreadPoolExecutor(usable_cores()) as pool:
        for turned in (False, True):
            found = index.candidates(mirrored(plain) if turned else plain, lambda count: advance(count / 2))
            for first, second in _batches(found, joined):
                one = thumbnails[first][:, :, ::-1] if turned else thumbnails[first]
                alike = _on_every_core(pool, one, thumbnails[second])
                for place in np.flatnonzero(alike >= LEAST):
                    i, j = int(first[place]), int(second[place])
                    joined.join(i, j)
                    pairs.append(Pair(i, j, min(1.0, float(alike[place])), turned))
    return pairs


def _on_every_core(pool: ThreadPoolExecutor, first: Thumbnails, second: Thumbnails) -> Values:
    shares = min(usable_cores(), len(first))  # each of one pair or more
    some = (np.array_split(pictures, shares) for pictures in (first, second))
    return np.concatenate(list(pool.map(likeness, *some)))


def nearest(thumbnail: Thumbnails, others: Thumbnails) -> int | None:
    """Say which of N other pictures shows the same as this one (SIDE × SIDE): the one most like it, or none."""
    best: tuple[float, int | None] = (LEAST, None)
    for one in np.stack([thumbnail, thumbnail[:, ::-1]])[:, None]:
        near = is_near(hashes(one), views(others)).any(axis=0) | is_near(views(one), hashes(others)).any(axis=0)
        if (places := np.flatnonzero(near)).size:
            alike = likeness(np.repeat(one, len(places), axis=0), others[places])
            best = max(best, (float(alike.max()), int(places[alike.argmax()])), key=lambda pair: pair[0])
    return best[1]


def _batches(found: Iterable[tuple[Numbers, Numbers]], joined: Groups) -> Iterator[tuple[Numbers, Numbers]]:
    """Collect candidates, without those that are known to belong together by then: the last batch has joined some."""
    waiting: dict[tuple[int, int], None] = {}

    def batch() -> Iterator[tuple[Numbers, Numbers]]:
        apart = [pair for pair in waiting if joined.of(pair[0]) != joined.of(pair[1])]
        waiting.clear()
        if apart:
            first, second = np.array(apart, np.intp).T
            yield first, second

    for first, second in found:
        for i, j in zip(first.tolist(), second.tolist(), strict=True):
            if joined.of(i) != joined.of(j):
                waiting[min(i, j), max(i, j)] = None
                if len(waiting) == _TOGETHER:
                    yield from batch()
    yield from batch()
