"""Sources without an end: the newest frame and no other, and what is lost is found again."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue

import pytest
from PIL import Image

from facectl_runtime.errors import ImageError, UsageError
from facectl_runtime.sources import open_sources
from facectl_runtime.video import live as module
from facectl_runtime.video.connect import live_sources
from facectl_runtime.video.live import Arrived, Live, newest
from facectl_runtime.video.selection import ALL, parse_selection

LONG = 20  # seconds: how long a test waits for what must happen; never reached where it does
END, PASSED_OVER = object(), object()


class Tap:
    """A source out of which frames come when a test says so; what is no frame is raised, or ends it."""

    def __init__(self, *items: object) -> None:
        self.items: SimpleQueue[object] = SimpleQueue()
        self.connections = self.read = 0
        self.give(*items)

    def give(self, *items: object) -> None:
        for item in items:
            self.items.put(item)

    @contextmanager
    def connect(self) -> Iterator[Iterator[Arrived | None]]:
        self.connections += 1
        yield self.frames()

    def frames(self) -> Iterator[Arrived | None]:
        while (item := self.items.get()) is not END:
            if isinstance(item, BaseException):
                raise item
            self.read += 1
            yield None if item is PASSED_OVER else item

    def live(self, name: str = "cam", **options) -> Live:
        return Live(name, self.connect, **{"selection": ALL, "say": lambda _: None, **options})


def frame(at: float | None = None) -> Arrived:
    return Arrived(time.monotonic() if at is None else at, lambda: Image.new("RGB", (4, 3)))


def frames(count: int) -> list[Arrived]:
    return [frame() for _ in range(count)]


def until(condition) -> None:
    limit = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.001)


@pytest.fixture
def tap() -> Iterator[Tap]:
    tap = Tap()
    yield tap
    tap.give(END)  # no thread stays behind


@pytest.fixture(autouse=True)
def _no_delays(monkeypatch):
    monkeypatch.setattr(module, "FIRST_DELAY", 0.001)
    monkeypatch.setattr(module, "LONGEST_DELAY", 0.01)


# The newest


def test_the_newest_frame_is_given_and_those_before_it_are_dropped(tap):
    live = tap.live()
    found = newest([live])
    tap.give(frame())
    assert next(found).frame == 0
    for wanted in (3, 4, 9):
        tap.give(*frames(wanted + 1 - live.seen))
        until(lambda wanted=wanted: live.seen == wanted + 1)
        assert next(found).frame == wanted
    live.has_answered(0.1)
    assert (live.counts().seen, live.counts().answered, live.counts().dropped) == (10, 1, 9)
    live.close()


def test_nothing_is_given_twice(tap):
    live = tap.live()
    found = newest([live])
    tap.give(frame())
    assert next(found).frame == 0
    later = threading.Timer(0.05, tap.give, [frame()])
    later.start()
    assert next(found).frame == 1
    live.close()


def test_a_frame_says_when_it_came_and_makes_its_picture_only_when_asked(tap):
    made, at = [], time.monotonic() + 1
    live = tap.live()
    tap.give(Arrived(at, lambda: made.append(1) or Image.new("RGB", (4, 3))))
    source = next(newest([live]))
    assert (source.name, source.arrived, source.time, source.error) == ("cam", at, None, None)
    assert made == []
    assert source.data().size == (4, 3)
    live.close()


def test_what_was_passed_over_to_catch_up_counts_as_seen(tap):
    live = tap.live()
    found = newest([live])
    tap.give(PASSED_OVER, PASSED_OVER, frame(), PASSED_OVER)
    assert next(found).frame == 2
    until(lambda: live.seen == 4)
    assert live.counts().dropped == 4
    live.close()


def test_every_thins_a_stream_out(tap):
    began = time.monotonic()
    live = tap.live(selection=parse_selection("1s", None, None))
    found = newest([live])
    given = []
    for tenth in range(35):
        tap.give(frame(began + 0.05 + tenth / 10))
        if tenth in (0, 10, 20, 30):
            given.append(next(found).frame)
    assert given == [0, 10, 20, 30]
    until(lambda: live.seen == 35)
    assert live.take() is None
    live.close()


def test_several_sources_have_their_turns_however_fast_one_is():
    fast, slow = Tap(), Tap()
    lives = [fast.live("fast"), slow.live("slow")]
    found, given = newest(lives), []
    fast.give(frame())
    given.append(next(found).name)
    for _ in range(5):
        slow.give(frame())
        fast.give(frame())
        until(lambda: all(live._newest for live in lives))
        given += [next(found).name for _ in lives]
    assert given[0] == "fast"
    assert given[1:] == ["slow", "fast"] * 5
    for tap, live in zip((fast, slow), lives, strict=True):
        live.close()
        tap.give(END)


def test_ages_are_told_of_the_last_answers(tap):
    live = tap.live()
    assert (live.counts().age_median, live.counts().age_p95) == (None, None)
    for age in range(100):
        live.has_answered(age / 100)
    assert (live.counts().age_median, live.counts().age_p95) == (0.5, 0.95)
    live.ages.clear()
    live.has_answered(0.25)
    assert (live.counts().age_median, live.counts().age_p95) == (0.25, 0.25)


# Lost and found


@pytest.mark.parametrize("loss", [OSError(5, "Input/output error"), EOFError("it ended"), ValueError("nonsense"), END])
def test_what_is_lost_is_connected_again(tap, loss):
    said = []
    live = tap.live(say=said.append)
    found = newest([live])
    tap.give(frame())
    assert next(found).frame == 0
    tap.give(loss, frame())
    assert next(found).frame == 1  # the numbers go on
    assert (tap.connections, live.counts().reconnected) == (2, 1)
    why = {OSError: "Input/output error", ValueError: "nonsense"}.get(type(loss), "it ended")
    assert said[0] == f"cam: lost ({why}); connecting again"
    assert said[1].startswith("cam: there again after ")
    assert len(said) == 2
    live.close()


def test_what_is_not_there_yet_is_waited_for_and_said_once(tap):
    said = []
    live = tap.live(say=said.append)
    tap.give(*[OSError(111, "Connection refused")] * 5, frame())
    assert next(newest([live])).frame == 0
    assert tap.connections == 6
    assert live.counts().reconnected == 0
    assert said == ["cam: cannot be reached (Connection refused); waiting for it (--retries 0 does not wait)"]
    live.close()


def test_without_retries_it_ends_at_once_with_an_error():
    tap = Tap()
    live = tap.live(retries=0)
    tap.give(frame(), OSError(5, "Input/output error"))
    first, last = newest([live])
    assert first.frame == 0
    assert last.data is None
    assert last.error == "is lost (Input/output error); check that it is on, and its address"
    assert tap.connections == 1


def test_the_attempts_are_counted():
    tap = Tap(*[OSError(111, "Connection refused")] * 9)
    said = []
    (last,) = newest([tap.live(retries=2, say=said.append)])
    assert tap.connections == 3
    assert last.error.startswith("cannot be reached (Connection refused); 2 attempts to connect again failed; check")
    assert len(said) == 1


def test_a_connection_that_gives_a_frame_begins_the_count_anew():
    lost = OSError(5, "lost")
    tap = Tap()
    live = tap.live(retries=2)
    tap.give(*[frame(), lost, lost] * 3, lost)
    *_, last = newest([live])
    assert tap.connections == 7
    assert live.counts().reconnected == 2
    assert "2 attempts" in last.error


def test_one_that_ends_leaves_the_others():
    gone, there = Tap(), Tap()
    lives = [gone.live("gone", retries=0), there.live("there")]
    found = newest(lives)
    gone.give(END)
    assert next(found).error.startswith("cannot be reached (it ended)")
    for number in range(3):
        there.give(frame())
        assert next(found).frame == number
    lives[1].close()
    there.give(END)


def test_an_address_without_a_machine_is_refused():
    for address in ("http://", "rtsp:///"):
        with pytest.raises(UsageError, match="names no machine"):
            open_sources([address])


@pytest.mark.parametrize("error", [UsageError("cam: it is one picture"), ImageError("no"), ZeroDivisionError("a bug")])
def test_what_is_of_no_use_to_try_again_is_raised(error):
    tap = Tap(error)
    with pytest.raises(type(error), match=str(error)):
        next(newest([tap.live()]))
    assert tap.connections == 1


def test_the_waits_grow_up_to_the_longest(monkeypatch):
    monkeypatch.setattr(module, "FIRST_DELAY", 0.25)
    monkeypatch.setattr(module, "LONGEST_DELAY", 2.0)
    tap = Tap(*[OSError(111, "Connection refused")] * 9)
    live = tap.live(retries=8)
    waits = []
    monkeypatch.setattr(live._closed, "wait", waits.append)
    (_,) = newest([live])
    assert len(waits) == 8
    for wait, most in zip(waits, [0.25, 0.5, 1, 2, 2, 2, 2, 2], strict=True):
        assert most / 2 <= wait <= most


def test_a_closed_source_says_no_more(tap):
    said = []
    live = tap.live(say=said.append)
    tap.give(frame())
    next(newest([live]))
    live.close()
    tap.give(OSError(5, "lost"))
    until(lambda: not any(thread.name == "live cam" for thread in threading.enumerate()))
    assert said == []
    assert tap.connections == 1


# From words


def test_the_same_source_twice_is_refused():
    for word in ("0", "rtsp://cam/1"):
        with pytest.raises(UsageError, match=f"{word} is given twice"):
            open_sources([word, "rtsp://other", word])
    with pytest.raises(UsageError, match=r"rtsp://u:\*\*\*@cam/1 is given twice"):
        open_sources(["rtsp://u:secret@cam/1"] * 2)


@pytest.mark.parametrize("words", [["photos", "0"], ["rtsp://cam/1", "-"], ["picamera", "*.png"]])
def test_live_sources_and_others_are_not_mixed(words):
    with pytest.raises(UsageError, match=r"has no end, so .* would never be reached; give live sources alone"):
        open_sources(words)


@pytest.mark.parametrize("words", [("1", None), (None, "9")])
def test_start_and_end_are_of_files(words):
    with pytest.raises(UsageError, match="--start and --end are of video files"):
        live_sources(["0"], parse_selection(None, *words), retries=None, timeout=5, say=print)
