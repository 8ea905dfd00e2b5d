"""Ctrl-C during training: never lost, wherever it strikes."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interruptible() -> Iterator[Callable[[], None]]:
    """Give a function to call now and then, which raises a `KeyboardInterrupt` that has struck and come to nothing.

    Python drops an exception that is raised in a destructor or in a callback of a library, and TensorFlow has many.
    """
    struck = threading.Event()

    def strike(_signal: int, _frame: FrameType | None) -> None:
        struck.set()
        raise KeyboardInterrupt

    def check() -> None:
        if struck.is_set():
            raise KeyboardInterrupt

    main = threading.current_thread() is threading.main_thread()  # no other receives signals, or may ask for them
    if not main or signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a job that a shell put aside
        yield check
        return
    before = signal.signal(signal.SIGINT, strike)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, before)
