"""The pipeline: decode of the next images overlaps the work on these, in bounded memory and in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from facectl_runtime.devices import usable_cores
from facectl_runtime.engines.base import Answers, Engine, Pixels
from facectl_runtime.errors import ImageError

T = TypeVar("T")
Decoded = tuple[T, Pixels | ImageError]


def decode_ahead(
    items: Iterable[T], load: Callable[[T], Pixels], batch: int, *, eager: bool
) -> Iterator[list[Decoded[T]]]:
    """Load items on every core, and give them in order in lists of up to `batch`.

    `eager` gives what is ready rather than wait for a list to fill: the lists' lengths then depend on timing. The first
    items start to load when this is called, so that an engine can be opened meanwhile. An `ImageError` of `load`
    takes the place of its pixels. At most `batch` + 2 × cores items are held at a time.
    """
    workers = usable_cores()
    pool = ThreadPoolExecutor(workers, "decode")
    rest = iter(items)
    pending: deque[tuple[T, Future[Pixels | ImageError]]] = deque()

    def attempt(item: T) -> Pixels | ImageError:
        try:
            return load(item)
        except ImageError as error:
            return error

    def fill() -> None:
        while len(pending) < batch + 2 * workers:
            for item in rest:
                pending.append((item, pool.submit(attempt, item)))
                break
            else:
                return

    def drain() -> Iterator[list[Decoded[T]]]:
        try:
            while pending:
                ready: list[Decoded[T]] = []
                while pending and len(ready) < batch and (not ready or not eager or pending[0][1].done()):
                    item, future = pending.popleft()
                    ready.append((item, future.result()))
                    fill()
                yield ready
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    fill()
    return drain()


def answers(decoded: Iterable[list[Decoded[T]]], engine: Engine) -> Iterator[tuple[T, Answers | ImageError]]:
    """Answer decoded batches: each item with its float32 row of answers, or with the error that took its place."""
    for batch in decoded:
        pixels = [value for _, value in batch if not isinstance(value, ImageError)]
        rows = iter(engine.infer(np.stack(pixels)) if pixels else ())
        for item, value in batch:
            yield item, value if isinstance(value, ImageError) else next(rows)
