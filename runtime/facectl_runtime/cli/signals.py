"""SIGINT and SIGTERM, for work that is better ended than broken off."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_ENDING: tuple[int, ...] = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def ending(stop: Callable[[], None]) -> Iterator[Callable[[], bool]]:
    """Let the first SIGINT or SIGTERM call `stop`, in the middle of anything, and only a second one interrupt.

    Gives a function that says whether one has come. Outside the main thread, which alone gets signals, nothing is done.
    """
    met = False

    def first(number: int, _: Any) -> None:
        nonlocal met
        met = True
        signal.signal(number, before[number])
        stop()

    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in _ENDING} if main else {}
    for number in before:
        signal.signal(number, first)
    try:
        yield lambda: met
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
