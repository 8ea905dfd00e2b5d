"""Sources without an end: the newest frame is answered and older ones are dropped; what is lost is connected again."""

import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from threading import Condition, Event, Thread
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from facectl_runtime.errors import FacectlError, counted, reason
from facectl_runtime.sources import Source
from facectl_runtime.video.selection import Selection

if TYPE_CHECKING:
    from PIL.Image import Image

FIRST_DELAY, LONGEST_DELAY = 0.25, 1.0
"""Seconds until the first attempt to connect again, and at most: each waits twice as long as the one before."""
LONG_AWAY, LONG_DELAY, LOCKED_DELAY = 60.0, 10.0, 30.0
"""Seconds after which attempts become rare, and at most until the next; and where the password is not taken."""
_AGES = 1_000  # of so many answers the ages are kept


class LostError(Exception):
    """A live source is not there, and not looked for any more."""


class Arrived(NamedTuple):
    """A frame as it came."""

    at: float
    """When its packet came, by `time.monotonic`, in seconds."""
    picture: "Callable[[], Image]"
    """Makes an upright RGB picture of it; raises `ImageError`."""


Connect = Callable[[], AbstractContextManager[Iterator[Arrived | None]]]
"""Opens a source: its frames as they come, None for one that was passed over to catch up.

Raises `OSError`, `EOFError` or `ValueError`, now or while frames are read, where the source is not there or is lost,
and `FacectlError` where it is of no use to try again.
"""


class LiveCounts(msgspec.Struct, frozen=True):
    """What became of the frames of a live source."""

    source: str
    seen: int
    answered: int
    dropped: int
    reconnected: int
    age_median: float | None
    """Seconds from the arrival of a frame to its answer, of the last answers; None where there was none."""
    age_p95: float | None


class Live:
    """A camera or a stream that a thread of its own reads, of which the newest frame can be taken."""

    def __init__(
        self,
        name: str,
        connect: Connect,
        *,
        selection: Selection,
        retries: int | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Prepare to read; nothing is opened before `start`.

        `selection` says how many frames may be answered; `retries` how often in a row it is tried to connect again,
        None for ever; `say` is told in one line what is lost and found.
        """
        self.name, self._connect, self._picked = name, connect, selection.picker()
        self._retries, self._say = retries, say
        self._closed, self._changed = Event(), Condition()
        self._newest: Source | None = None
        self._began = self._lost_at = time.monotonic()
        self.seen = self.answered = self.reconnected = 0
        self.ages: deque[float] = deque(maxlen=_AGES)
        """Seconds from the arrival of a frame to its answer, of the last answers."""
        self.error: BaseException | None = None
        """Why it has ended; None while it goes on."""

    def counts(self) -> LiveCounts:
        """Give what became of the frames so far."""
        ages = sorted(self.ages)
        median, p95 = (ages[len(ages) // 2], ages[len(ages) * 95 // 100]) if ages else (None, None)
        seen, answered = self.seen, self.answered
        return LiveCounts(self.name, seen, answered, seen - answered, self.reconnected, median, p95)

    def start(self, changed: Condition) -> None:
        """Begin to read; `changed` is notified of every frame and of the end."""
        self._changed = changed
        Thread(target=self._run, name=f"live {self.name}", daemon=True).start()

    @property
    def ready(self) -> bool:
        """Whether a frame is there that was not taken yet."""
        return self._newest is not None

    def take(self) -> Source | None:
        """Give the newest frame, once; None where none has come since."""
        with self._changed:
            newest, self._newest = self._newest, None
        return newest

    def has_answered(self, age: float) -> None:
        """Count an answer whose frame had come `age` seconds before."""
        self.answered += 1
        self.ages.append(age)

    def close(self) -> None:
        """Stop reading, at the next frame; `newest` gives no more of it at once."""
        self._closed.set()
        with self._changed:
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed.is_set()

    def _run(self) -> None:
        try:
            self._read_and_wait()
        except BaseException as error:  # such as of `say`: it is to be seen, and not to end as silence
            self._end(error)

    def _read_and_wait(self) -> None:
        failures = 0
        while True:
            before, error = self.seen, self._read()
            if self.closed:
                return
            failures = failures + 1 if self.seen == before else 1
            why = getattr(error, "strerror", None) or reason(error)
            if isinstance(error, FacectlError):
                if not self.seen:
                    raise error
                why = str(error).removeprefix(f"{self.name}: ")
            if self._retries is not None and failures > self._retries:
                raise LostError(f"{'is lost' if self.seen else 'cannot be reached'} ({why}){self._tried()}")
            if failures == 1:
                self._lost_at = time.monotonic()
                self._say_lost(why)
            self._closed.wait(self._delay(failures, error))

    def _delay(self, failures: int, error: Exception) -> float:
        """Give how long to wait until the next attempt, in seconds."""
        if isinstance(error, PermissionError):  # cameras lock out who comes again and again with a wrong password
            most = LOCKED_DELAY
        elif time.monotonic() - self._lost_at > LONG_AWAY:
            most = LONG_DELAY
        else:
            most = min(LONGEST_DELAY, FIRST_DELAY * 2 ** min(failures - 1, 10))
        return most * random.uniform(0.5, 1)  # noqa: S311  # so that many do not come at once

    def _tried(self) -> str:
        return f"; {counted(self._retries, 'attempt')} to connect again failed" if self._retries else ""

    def _say_lost(self, why: str) -> None:
        if self.seen:
            self._say(f"{self.name}: lost ({why}); connecting again")
        else:
            self._say(f"{self.name}: cannot be reached ({why}); waiting for it (--retries 0 does not wait)")

    def _read(self) -> Exception:
        """Read until that is not possible any more, and give what ended it."""
        try:
            with self._connect() as frames:
                again = self.seen > 0
                for arrived in frames:
                    if self.closed:
                        break
                    self._keep(arrived)
                    if again:
                        self.reconnected += 1
                        self._say(f"{self.name}: there again after {time.monotonic() - self._lost_at:.1f} s")
                        again = False
        except (FacectlError, OSError, EOFError, ValueError) as error:
            return error
        return EOFError("it ended")

    def _keep(self, arrived: Arrived | None) -> None:
        number = self.seen
        self.seen += 1
        if arrived is not None and self._picked(arrived.at - self._began):
            source = Source(self.name, arrived.picture, frame=number, arrived=arrived.at)
            with self._changed:
                self._newest = source
                self._changed.notify_all()

    def _end(self, error: BaseException) -> None:
        with self._changed:
            self.error = error
            self._changed.notify_all()


def newest(sources: Iterable[Live]) -> Iterator[Source]:
    """Read live sources at the same time, and give at each step the newest frame of one, all having their turns.

    One that is lost for good gives a source with an error; the iteration ends with the last, and where all are closed.
    Raises what a source raised that is of no use.
    """
    changed = Condition()
    turns = deque(sources)
    for live in turns:
        live.start(changed)
    while turns:
        with changed:
            changed.wait_for(lambda: any(live.closed or live.error or live.ready for live in turns))
        for live in tuple(turns):
            error = live.error  # asked first: the last frame comes before it
            if live.closed:
                turns.remove(live)
            elif (source := live.take()) is not None:
                turns.remove(live)
                turns.append(live)
                yield source
                break
            elif error is not None:
                turns.remove(live)
                if not isinstance(error, LostError):
                    raise error
                yield Source(live.name, None, f"{error}; check that it is on, and its address")
                break
