"""Ctrl-C and SIGTERM during training: never lost, wherever they strike."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interruptible() -> Iterator[Callable[[], None]]:
    """Give a function to call now and then, which raises a `KeyboardInterrupt` that has struck and come to nothing.

    Python drops an exception that is raised in a destructor or in a callback of a library, and TensorFlow has many;
    the traceback that it prints of a dropped one is kept from the terminal.
    """
    struck = threading.Event()

    def strike(_signal: int, _frame: FrameType | None) -> None:
        struck.set()
        raise KeyboardInterrupt

    def check() -> None:
        if struck.is_set():
            raise KeyboardInterrupt

    def dropped(what: "sys.UnraisableHookArgs") -> None:
        if not issubclass(what.exc_type, KeyboardInterrupt):
            print_dropped(what)

    before = {}
    print_dropped, sys.unraisablehook = sys.unraisablehook, dropped
    if threading.current_thread() is threading.main_thread():  # no other receives signals, or may ask for them
        heard = [each for each in _SIGNALS if signal.getsignal(each) is signal.default_int_handler]
        before = {each: signal.signal(each, strike) for each in heard}  # and not where a shell said to ignore them
    try:
        yield check
    finally:
        sys.unraisablehook = print_dropped
        for each, handler in before.items():
            signal.signal(each, handler)
