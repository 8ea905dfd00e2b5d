"""Streams and cameras that are read as `predict` reads them, and what was seen."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from clips import number_of, numbered
from facectl_runtime.sources import open_sources
from facectl_runtime.video.selection import ALL
from streams import Sent

LONG = 20  # seconds: how long a test waits for what must happen; never reached where it does
FILM = numbered(240)
"""Eight seconds."""


class Seen(NamedTuple):
    """A frame that was answered."""

    name: str
    number: int
    """What is written in the picture."""
    frame: int
    arrived: float
    size: tuple[int, int]


class Watched:
    """Streams that are read as `predict` reads them, by an engine that takes `work` seconds a frame."""

    def __init__(self, *words: str, work: float = 0, timeout: float = LONG, retries: int | None = None) -> None:
        self.said: list[str] = []
        self.sources, self.lives = open_sources(
            words, selection=ALL, retries=retries, timeout=timeout, say=self.said.append
        )
        self.work, self.error, self.seen = work, None, []

    def __iter__(self) -> Iterator[Seen]:
        """Give frames until all streams have ended."""
        by_name = {live.name: live for live in self.lives}
        for source in self.sources:
            if source.error:
                self.error = source.error
                continue
            pixels = source.data()
            time.sleep(self.work)
            by_name[source.name].has_answered(time.monotonic() - source.arrived)
            number = number_of(np.asarray(pixels))
            self.seen.append(Seen(source.name, number, source.frame, source.arrived, pixels.size))
            yield self.seen[-1]

    def take(self, count: int) -> list[Seen]:
        frames = iter(self)
        return [next(frames) for _ in range(count)]

    def to_the_end(self) -> list[Seen]:
        return list(self)

    def until(self, condition: Callable[[Seen], bool]) -> Seen:
        return next(seen for seen in self if condition(seen))


@contextmanager
def watch(*words: str, **options) -> Iterator[Watched]:
    watched = Watched(*words, **options)
    limit = threading.Timer(LONG, lambda: [live._end(TimeoutError(f"after {LONG} s")) for live in watched.lives])
    limit.start()
    try:
        yield watched
    finally:
        limit.cancel()
        for live in watched.lives:
            live.close()


def delays(seen: list[Seen], sent: list[Sent]) -> list[float]:
    """Give for each frame by how many seconds it was noticed later than it left."""
    left = {one.number: one.at for one in sent}
    return [one.arrived - left[one.number] for one in seen]


AGAIN = 10
"""Seconds until a source that is there again has to be seen: on a busy machine; benchmarks/live.py holds it to 3."""
