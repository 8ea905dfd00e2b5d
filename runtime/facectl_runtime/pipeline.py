"""The pipeline: sources are read, pictures decoded and answers computed at the same time, in bounded memory, in order.

decode ‖ infer ‖ emit: `decode_ahead` loads pictures while an engine works on those before them, in `answers`; `Ahead`
lets that run while what it gave is written out.
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Generic, TypeVar

import numpy as np

from facectl_runtime.devices import usable_cores
from facectl_runtime.engines.base import Answers, Engine, Pixels
from facectl_runtime.errors import ImageError

_LOOK = 0.5  # seconds until a waiting thread looks whether a signal has come
_UNWANTED = ImageError("was not looked at any more")  # never seen: nobody asks for what was begun
T = TypeVar("T")
Value = TypeVar("Value")
Result = TypeVar("Result")
Decoded = tuple[T, Value | ImageError]
_Started = tuple[T, "Future[Value | ImageError]"]


class Ahead(Generic[T]):
    """Items that a thread of its own takes from `items`, of which at most `room` are not done with at a time.

    That thread waits for room before it asks for an item, so that where `items` gives the newest of something, it is
    the newest at the moment when there is room for it. An exception in `items` is raised again where an item would
    have come.
    """

    def __init__(self, items: Iterable[T], room: int) -> None:
        self._items, self._closed = items, False
        # Both are SimpleQueues, because their `put` may be called in a signal handler that has interrupted a `put` or a
        # `get` of the same thread; a semaphore's lock would then wait for itself.
        self._queue: SimpleQueue[tuple[T] | BaseException | None] = SimpleQueue()
        self._room: SimpleQueue[None] = SimpleQueue()
        self.done(room)
        Thread(target=self._feed, name="ahead", daemon=True).start()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        given = self._taken()
        if isinstance(given, tuple):
            return given[0]
        self._queue.put(None)  # what has ended stays so
        if given is not None:
            raise given
        raise StopIteration

    def _taken(self) -> tuple[T] | BaseException | None:
        # A signal that comes just before a wait begins is looked at only when the wait ends; and Windows ends none.
        while True:
            with suppress(Empty):
                return self._queue.get(timeout=_LOOK)

    def done(self, count: int = 1) -> None:
        """Make room for as many further items as were done with."""
        for _ in range(count):
            self._room.put(None)

    def idle(self) -> bool:
        """Tell whether nothing is there to be taken at once."""
        return self._queue.empty()

    def close(self) -> None:
        """Take no further items: the iteration ends with those that are there. May be called in a signal handler."""
        self._closed = True
        self._queue.put(None)
        self.done()

    def _feed(self) -> None:
        try:
            items = iter(self._items)
            del self._items  # a generator is closed as soon as this ends
            while True:
                self._room.get()
                if self._closed:
                    return
                self._queue.put((next(items),))
        except StopIteration:
            self._queue.put(None)
        except BaseException as error:  # raised again where the items are asked for
            if not self._closed:  # else nobody asks, and it would hold what its traceback holds
                self._queue.put(error)


def _submitted(
    items: Iterable[T], call: Callable[[T], Result], workers: int, name: str
) -> Iterator[tuple[T, "Future[Result]"]]:
    """Give each item with what becomes of it in one of `workers` threads.

    The pool is this generator's own. Another one that shuts it down might be collected as garbage just while this one
    is in `submit`, in the same thread, and then wait for a lock that is never given back.
    """
    pool = ThreadPoolExecutor(workers, name)
    try:
        for item in items:
            yield item, pool.submit(call, item)
    except GeneratorExit:  # nobody asks for more
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    finally:
        pool.shutdown(wait=False)


def decode_ahead(
    items: Iterable[T],
    load: Callable[[T], Value],
    batch: int | Callable[[], int],
    *,
    eager: bool,
    workers: int | None = None,
    room: int | None = None,
) -> Generator[list[Decoded[T, Value]], None, None]:
    """Load items in `workers` threads (one a core), and give them in order in lists of up to `batch`.

    `batch` may be a function, which is asked when the first list is, and then `room` has to be given, which grows with
    what it says.
    `eager` gives what is ready rather than wait for a list to fill: the lists' lengths then depend on timing. The first
    items start to load when this is called, so that an engine can be opened meanwhile; `close` ends it early. An
    `ImageError` of `load` takes the place of what it gives. At most `room` items (batch + 2 × workers) are held at a
    time, each until the list after its own is asked for; `items` may be as slow as it likes.
    """
    workers = workers or usable_cores()
    if room is None:
        assert isinstance(batch, int)
        room = batch + 2 * workers

    ended = False

    def attempt(item: T) -> Value | ImageError:
        try:
            return _UNWANTED if ended else load(item)
        except ImageError as error:
            return error

    started = Ahead(_submitted(items, attempt, workers, "decode"), room)

    def drain() -> Generator[list[Decoded[T, Value]], None, None]:
        nonlocal ended
        try:
            yield []  # taken below: a generator that never began would not run its `finally`
            size = batch if isinstance(batch, int) else batch()
            if size is not batch:
                started.done(max(0, size + 2 * workers - room))
            for ready in _batches(started, size, eager):
                yield ready
                started.done(len(ready))
        finally:
            ended = True
            started.close()

    batches = drain()
    next(batches)
    return batches


def _batches(started: "Ahead[_Started[T, Value]]", batch: int, eager: bool) -> Iterator[list[Decoded[T, Value]]]:
    ready: list[Decoded[T, Value]] = []
    for item, future in started:
        if ready and eager and not future.done():
            yield ready
            ready = []
        ready.append((item, future.result()))
        if len(ready) == batch or (eager and started.idle()):
            yield ready
            ready = []
    if ready:
        yield ready


def answers(
    decoded: Iterable[list[Decoded[T, Value]]], infer: Callable[[list[Value]], Iterable[Result]], lanes: int = 1
) -> Iterator[tuple[T, Result | ImageError]]:
    """Answer decoded batches: each item with what `infer` gives for it, or with the error that took its place.

    `infer` takes what was decoded, one or more. With several `lanes`, so many batches are answered at the same time,
    and one more is asked for meanwhile.
    """
    if lanes == 1:
        for batch in decoded:
            yield from _answered(batch, infer)
        return
    started = Ahead(_submitted(decoded, lambda batch: _answered(batch, infer), lanes, "infer"), lanes + 1)
    try:
        for _, future in started:
            yield from future.result()
            started.done()
    finally:
        started.close()


def stacked(engine: Engine) -> Callable[[list[Pixels]], Answers]:
    """Give a function that answers pictures, uint8 height × width × 3 each: float32, N × output size."""
    return lambda pixels: engine.infer(np.stack(pixels))


def _answered(
    batch: list[Decoded[T, Value]], infer: Callable[[list[Value]], Iterable[Result]]
) -> list[tuple[T, Result | ImageError]]:
    values = [value for _, value in batch if not isinstance(value, ImageError)]
    results = iter(infer(values) if values else ())
    return [(item, value if isinstance(value, ImageError) else next(results)) for item, value in batch]
