"""Decode ahead of the work: in order, in bounded memory, and really at the same time."""

import gc
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from facectl_runtime import pipeline
from facectl_runtime.engines.base import Engine
from facectl_runtime.errors import ImageError
from facectl_runtime.pipeline import Ahead, answers, decode_ahead, stacked

CORES = 2
LONG = 20  # seconds: how long a test waits for what must happen; never reached where it does


@pytest.fixture(autouse=True)
def _cores(monkeypatch):
    monkeypatch.setattr(pipeline, "usable_cores", lambda: CORES)


def pixels(value):
    return np.full((2, 2, 3), value, np.uint8)


def engine(infer=lambda batch: batch.mean(axis=(1, 2, 3), dtype=np.float32)[:, None]):
    return Engine("test 1", "cpu", infer)


def values(lists):
    return [(item, int(value[0, 0, 0])) for part in lists for item, value in part]


@pytest.mark.parametrize("eager", [False, True])
def test_order_is_kept_whichever_is_ready_first(eager):
    second = threading.Event()

    def load(item):
        if item % 2:
            second.set()
        else:
            assert second.wait(LONG)  # the even ones are ready only after the odd ones that follow them
            if item % 4 == 2:
                second.clear()
        return pixels(item)

    lists = decode_ahead(range(4), load, batch=2, eager=eager)
    assert values(lists) == [(number, number) for number in range(4)]


def test_lists_are_full_but_the_last():
    lists = list(decode_ahead(range(11), pixels, batch=4, eager=False))
    assert [len(part) for part in lists] == [4, 4, 3]


def test_nothing_gives_nothing():
    assert list(decode_ahead([], pixels, batch=4, eager=True)) == []
    assert list(answers([], stacked(engine()))) == []


def test_eager_gives_what_is_ready_and_waits_for_no_more():
    go_on = threading.Event()

    def load(item):
        assert item == 0 or go_on.wait(LONG)
        return pixels(item)

    lists = decode_ahead(range(3), load, batch=3, eager=True)
    assert [item for item, _ in next(lists)] == [0]
    go_on.set()
    assert [item for part in lists for item, _ in part] == [1, 2]


def test_loading_starts_before_the_first_list_is_asked_for():
    started = threading.Event()

    def load(item):
        started.set()
        return pixels(item)

    lists = decode_ahead([1], load, batch=1, eager=True)
    assert started.wait(LONG)
    lists.close()


def test_the_room_grows_with_the_batch_that_is_known_later():
    lists = decode_ahead(range(100), pixels, lambda: 20, eager=False, workers=2, room=4)
    assert [len(part) for part in lists] == [20] * 5


@pytest.mark.parametrize("eager", [False, True])
def test_no_more_than_the_bound_is_held(eager):
    pulled = 0

    def items():
        nonlocal pulled
        for number in range(200):
            pulled += 1
            yield number

    given = 0
    for part in decode_ahead(items(), pixels, batch=4, eager=eager):
        given += len(part)
        assert pulled - given <= 4 + 2 * CORES
    assert given == pulled == 200


def test_an_image_error_takes_the_place_of_its_pixels():
    def load(item):
        if item in (1, 4):
            raise ImageError(f"number {item}")
        return pixels(item)

    calls = []

    def infer(batch):
        calls.append(len(batch))
        return batch[:, 0, 0, :1].astype(np.float32)

    rows = list(answers(decode_ahead(range(6), load, batch=3, eager=False), stacked(engine(infer))))
    assert [item for item, _ in rows] == list(range(6))
    assert [str(row) if isinstance(row, ImageError) else float(row[0]) for _, row in rows] == [
        0, "number 1", 2, 3, "number 4", 5
    ]  # fmt: skip
    assert calls == [2, 2]


def test_a_list_of_errors_alone_asks_nothing_of_the_engine():
    def load(item):
        raise ImageError(item)

    def infer(_):
        pytest.fail("asked to answer nothing")

    rows = list(answers(decode_ahead("ab", load, batch=2, eager=False), stacked(engine(infer))))
    assert [(item, str(row)) for item, row in rows] == [("a", "a"), ("b", "b")]


def test_any_other_error_is_raised():
    def load(item):
        raise ZeroDivisionError(item)

    with pytest.raises(ZeroDivisionError):
        list(decode_ahead(range(3), load, batch=2, eager=False))


def test_an_error_of_the_source_itself_is_raised():
    def items():
        yield 1
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(decode_ahead(items(), pixels, batch=2, eager=False))


def test_closing_early_loads_no_more_and_leaves_no_threads():
    before = set(threading.enumerate())
    loaded, go_on, full = [], threading.Event(), threading.Event()
    room = 1 + 2 * CORES

    def items():
        for number in range(1000):
            if number == room - 1:  # one has been given, but is not done with: no further one is asked for
                full.set()
            yield number

    def load(item):
        loaded.append(item)
        assert item == 0 or go_on.wait(LONG)
        return pixels(item)

    lists = decode_ahead(items(), load, batch=1, eager=True)
    assert [item for item, _ in next(lists)] == [0]
    assert full.wait(LONG)
    started = set(threading.enumerate()) - before
    assert {thread.name.partition("_")[0] for thread in started} == {"ahead", "decode"}
    lists.close()
    go_on.set()
    for thread in started:
        thread.join(LONG)
        assert not thread.is_alive(), thread.name
    assert set(loaded) <= set(range(1 + CORES))


def test_decode_and_inference_overlap():
    """The engine answers the first list only once the second is being decoded: each waits for the other to begin."""
    decoding, inferring = threading.Event(), threading.Event()

    def load(item):
        if item == 1:
            decoding.set()
            assert inferring.wait(LONG)
        return pixels(item)

    def infer(batch):
        inferring.set()
        assert decoding.wait(LONG)
        return batch[:, 0, 0, :1].astype(np.float32)

    rows = answers(decode_ahead(range(3), load, batch=1, eager=True), stacked(engine(infer)))
    assert [float(row[0]) for _, row in rows] == [0, 1, 2]


def test_every_core_decodes():
    together = threading.Barrier(CORES)

    def load(item):
        together.wait(LONG)
        return pixels(item)

    assert len(values(decode_ahead(range(2 * CORES), load, batch=2, eager=False))) == 2 * CORES


def test_what_is_newest_is_asked_for_only_when_there_is_room():
    newest = 0

    def items():
        while True:
            yield newest

    lists = decode_ahead(items(), pixels, batch=1, eager=True, workers=1, room=1)
    assert [item for item, _ in next(lists)] == [0]
    newest = 7  # has come while the first one was answered
    assert [item for item, _ in next(lists)] == [7]
    lists.close()


def test_ahead_works_while_what_it_gave_is_written():
    asked = threading.Event()

    def items():
        yield 1
        asked.set()
        yield 2

    ahead = Ahead(items(), room=2)
    assert next(ahead) == 1
    assert asked.wait(LONG)
    ahead.done()
    assert list(ahead) == [2]
    assert list(ahead) == []


def test_closing_gives_what_is_there_and_then_ends():
    ahead = Ahead(range(100), room=3)
    while ahead._queue.qsize() < 3:
        time.sleep(0.001)
    ahead.close()
    assert list(ahead) == [0, 1, 2]


def test_a_signal_handler_may_close_it_while_its_thread_makes_room():
    """The handler interrupts `done` itself, which must not hold a lock that `close` asks for."""
    before = signal.getsignal(signal.SIGALRM)
    try:
        for _ in range(300):
            closed = threading.Event()
            ahead = Ahead([], room=1)
            signal.signal(signal.SIGALRM, lambda *_, ahead=ahead, closed=closed: (ahead.close(), closed.set()))
            signal.setitimer(signal.ITIMER_REAL, 0.0005)
            while not closed.is_set():
                ahead.done()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_signal_handler_may_close_it():
    """The handler runs in the very thread that waits for the next item."""
    waiting = threading.Event()

    def items():
        yield 1
        waiting.wait(LONG)

    ahead = Ahead(items(), room=2)
    before = signal.signal(signal.SIGALRM, lambda *_: ahead.close())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        assert list(ahead) == [1]
    finally:
        signal.signal(signal.SIGALRM, before)
        waiting.set()


# Several batches at the same time


def test_lanes_answer_at_the_same_time_and_in_order():
    both = threading.Barrier(2, timeout=LONG)

    def infer(batch):
        both.wait()
        return batch.mean(axis=(1, 2, 3), dtype=np.float32)[:, None]

    lists = decode_ahead(range(8), pixels, batch=2, eager=False)
    assert [(item, int(answer[0])) for item, answer in answers(lists, stacked(engine(infer)), 2)] == [
        (n, n) for n in range(8)
    ]


def test_lanes_ask_for_no_more_than_they_have_room_for():
    asked, go_on = [], threading.Event()

    def lists():
        for number in range(50):
            asked.append(number)
            yield [(number, pixels(number))]

    def infer(batch):
        assert go_on.wait(LONG)
        return batch.mean(axis=(1, 2, 3), dtype=np.float32)[:, None]

    found = answers(lists(), stacked(engine(infer)), 2)
    threading.Timer(0.2, go_on.set).start()
    next(found)
    assert len(asked) <= 3
    assert len(list(found)) == 49


def test_an_error_of_a_lane_is_raised_and_ends_the_others():
    def infer(_):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(answers(decode_ahead(range(100), pixels, batch=2, eager=False), stacked(engine(infer)), 2))
    for thread in [thread for thread in threading.enumerate() if thread.name.startswith("infer")]:
        thread.join(LONG)
        assert not thread.is_alive()


def test_what_is_garbage_never_waits_for_the_thread_that_collects_it(monkeypatch):
    """A pipeline that was left in the middle may be collected anywhere, also by its own thread while that submits."""
    adjust = ThreadPoolExecutor._adjust_thread_count

    def collecting(pool):  # it is called by `submit`, which holds its locks
        gc.collect()
        adjust(pool)

    monkeypatch.setattr(ThreadPoolExecutor, "_adjust_thread_count", collecting)
    left, ended = threading.Event(), threading.Event()

    def items():
        try:
            yield 0
            assert left.wait(LONG)
            yield 1
        finally:
            ended.set()

    gc.disable()
    try:
        lists = [decode_ahead(items(), pixels, batch=1, eager=False)]
        lists.append(lists)  # a cycle: only the collector frees it
        next(lists[0])
        del lists
        left.set()
        assert ended.wait(5)
    finally:
        gc.enable()
