"""The signals that end a process, for work that is better ended than broken off."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

_ENDING: tuple[int, ...] = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
_TWICE = 0.5  # seconds; what comes sooner is the same signal, as `timeout` and terminals send it to a whole group


@contextmanager
def ending(stop: Callable[[], None]) -> Iterator[Callable[[], bool]]:
    """Let the first SIGINT, SIGTERM or SIGHUP call `stop`, in the middle of anything, and only a second one interrupt.

    Gives a function that says whether one has come. Outside the main thread, which alone gets signals, nothing is done.
    """
    met: float | None = None

    def handle(number: int, frame: Any) -> None:
        nonlocal met
        if met is None:
            met = monotonic()
            stop()
        elif monotonic() - met > _TWICE:
            signal.default_int_handler(number, frame)

    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in _ENDING} if main else {}
    for number in before:
        signal.signal(number, handle)
    try:
        yield lambda: met is not None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
