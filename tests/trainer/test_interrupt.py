import os
import signal
import sys
import threading

import pytest

from facectl_trainer.interrupt import interruptible


@pytest.fixture
def printed(monkeypatch):
    """Collect the exceptions that Python drops and would print the tracebacks of."""
    seen = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: seen.append(what.exc_type))
    return seen


class Careless:
    """What Python drops an exception in."""

    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):  # a signal is handled between two steps of the interpreter
            pass


class Broken:
    def __del__(self):
        raise ZeroDivisionError


def test_ctrl_c_that_a_destructor_swallowed_is_raised_at_the_next_check_and_prints_nothing(printed):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with interruptible() as check:
            Careless()
            with pytest.raises(KeyboardInterrupt):
                check()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert printed == []


def test_what_else_a_destructor_swallows_is_printed_as_ever(printed):
    with interruptible():
        Broken()
    Broken()
    assert printed == [ZeroDivisionError, ZeroDivisionError]


def test_sigterm_is_heard_too_where_it_means_to_stop():
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with interruptible() as check:
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGTERM)
            with pytest.raises(KeyboardInterrupt):
                check()
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_signal_that_is_to_be_ignored_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interruptible() as check:
            os.kill(os.getpid(), signal.SIGINT)
            check()
    finally:
        signal.signal(signal.SIGINT, before)


def test_without_ctrl_c_nothing_happens_in_any_thread():
    done = []

    def work():
        with interruptible() as check:
            check()
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    work()
    assert done == [True, True]
