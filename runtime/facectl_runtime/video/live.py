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
_AGES = 1_000  # of so many answers the ages are kept


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
        self.error: Exception | None = None
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
        """Stop reading, at the next frame."""
        self._closed.set()

    def _run(self) -> None:
        failures = 0
        while self.error is None and not self._closed.is_set():
            before, why = self.seen, self._read()
            failures = failures + 1 if self.seen == before else 1
            if self._retries is not None and failures > self._retries:
                self._end(EOFError(f"{'is lost' if self.seen else 'cannot be reached'} ({why}){self._tried()}"))
            elif self.error is None and not self._closed.is_set():
                if failures == 1:
                    self._say_lost(why)
                most = min(LONGEST_DELAY, FIRST_DELAY * 2 ** min(failures - 1, 10))
                self._closed.wait(most * random.uniform(0.5, 1))  # noqa: S311  # so that many do not come at once

    def _tried(self) -> str:
        return f"; {counted(self._retries, 'attempt')} to connect again failed" if self._retries else ""

    def _say_lost(self, why: str) -> None:
        self._lost_at = time.monotonic()
        if self.seen:
            self._say(f"{self.name}: lost ({why}); connecting again")
        else:
            self._say(f"{self.name}: cannot be reached ({why}); waiting for it (--retries 0 does not wait)")

    def _read(self) -> str:
        """Read until that is not possible any more, and give the reason."""
        try:
            with self._connect() as frames:
                again = self.seen > 0
                for arrived in frames:
                    if self._closed.is_set():
                        return "closed"
                    if again:
                        self.reconnected += 1
                        self._say(f"{self.name}: there again after {time.monotonic() - self._lost_at:.1f} s")
                        again = False
                    self._keep(arrived)
        except FacectlError as error:
            self._end(error)
        except (OSError, EOFError, ValueError) as error:
            return getattr(error, "strerror", None) or reason(error)
        except Exception as error:  # a mistake of ours: it is to be seen, and not to end as silence
            self._end(error)
        return "it ended"

    def _keep(self, arrived: Arrived | None) -> None:
        number = self.seen
        self.seen += 1
        if arrived is not None and self._picked(arrived.at - self._began):
            source = Source(self.name, arrived.picture, frame=number, arrived=arrived.at)
            with self._changed:
                self._newest = source
                self._changed.notify_all()

    def _end(self, error: Exception) -> None:
        with self._changed:
            self.error = error
            self._changed.notify_all()


def newest(sources: Iterable[Live]) -> Iterator[Source]:
    """Read live sources at the same time, and give at each step the newest frame of one, all having their turns.

    One that is lost for good gives a source with an error; the iteration ends with the last. Raises what a source
    raised that is of no use.
    """
    changed = Condition()
    turns = deque(sources)
    for live in turns:
        live.start(changed)
    while turns:
        with changed:
            changed.wait_for(lambda: any(live._newest or live.error for live in turns))
        for live in tuple(turns):
            error = live.error  # asked first: the last frame comes before it
            if (source := live.take()) is not None:
                turns.remove(live)
                turns.append(live)
                yield source
                break
            if error is not None:
                turns.remove(live)
                if not isinstance(error, EOFError):
                    raise error
                yield Source(live.name, None, f"{error}; check that it is on, and its address")
                break
