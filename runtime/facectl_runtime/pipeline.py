"""The pipeline: decode of the next images overlaps the work on these, in bounded memory and in order."""

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from threading import Event, Semaphore, Thread
from typing import TypeVar

import numpy as np

from facectl_runtime.devices import usable_cores
from facectl_runtime.engines.base import Answers, Engine, Pixels
from facectl_runtime.errors import ImageError

T = TypeVar("T")
Decoded = tuple[T, Pixels | ImageError]
_Started = tuple[T, "Future[Pixels | ImageError]"]
_Queue = SimpleQueue[_Started[T] | BaseException | None]
"""What has begun to load; an error of the source, or None, ends it."""


def decode_ahead(
    items: Iterable[T], load: Callable[[T], Pixels], batch: int, *, eager: bool
) -> Generator[list[Decoded[T]], None, None]:
    """Load items on every core, and give them in order in lists of up to `batch`.

    `eager` gives what is ready rather than wait for a list to fill: the lists' lengths then depend on timing. The first
    items start to load when this is called, so that an engine can be opened meanwhile; `close` ends it early. An
    `ImageError` of `load` takes the place of its pixels. At most `batch` + 2 × cores items wait at a time, and `items`
    may be as slow as it likes: it is read by a thread of its own.
    """
    workers = usable_cores()
    pool = ThreadPoolExecutor(workers, "decode")
    room, closed = Semaphore(batch + 2 * workers), Event()
    queue: _Queue[T] = SimpleQueue()

    def attempt(item: T) -> Pixels | ImageError:
        try:
            return load(item)
        except ImageError as error:
            return error

    def feed() -> None:
        try:
            for item in items:
                room.acquire()
                if closed.is_set():
                    return
                queue.put((item, pool.submit(attempt, item)))
            queue.put(None)
        except BaseException as error:  # raised again where the batches are asked for
            queue.put(error)

    def drain() -> Generator[list[Decoded[T]], None, None]:
        try:
            yield []  # taken below: a generator that never began would not run its `finally`
            yield from _batches(queue, room, batch, eager)
        finally:
            closed.set()
            room.release()
            pool.shutdown(wait=False, cancel_futures=True)

    Thread(target=feed, name="sources", daemon=True).start()
    batches = drain()
    next(batches)
    return batches


def _batches(queue: _Queue[T], room: Semaphore, batch: int, eager: bool) -> Iterator[list[Decoded[T]]]:
    ready: list[Decoded[T]] = []
    while (started := queue.get()) is not None:
        if isinstance(started, BaseException):
            raise started
        item, future = started
        if ready and eager and not future.done():
            yield ready
            ready = []
        ready.append((item, future.result()))
        room.release()
        if len(ready) == batch or (eager and queue.empty()):
            yield ready
            ready = []
    if ready:
        yield ready


def answers(decoded: Iterable[list[Decoded[T]]], engine: Engine) -> Iterator[tuple[T, Answers | ImageError]]:
    """Answer decoded batches: each item with its float32 row of answers, or with the error that took its place."""
    for batch in decoded:
        pixels = [value for _, value in batch if not isinstance(value, ImageError)]
        rows = iter(engine.infer(np.stack(pixels)) if pixels else ())
        for item, value in batch:
            yield item, value if isinstance(value, ImageError) else next(rows)
