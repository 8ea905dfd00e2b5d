"""What `facectl predict` says of its work while it goes on and at its end, on stderr."""

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from facectl_runtime.errors import counted
from facectl_runtime.progress import progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from facectl_runtime.pipeline import Ahead
    from facectl_runtime.rows import Answered, Row
    from facectl_runtime.video.live import Live


class Count:
    """Passes answers on, and counts them."""

    def __init__(self, rows: "Ahead[Answered]", streams: "Sequence[Live]") -> None:
        self._rows, self._streams = rows, {stream.name: stream for stream in streams}
        self._began = time.perf_counter()
        self.frames = self.images = self.errors = 0

    def __iter__(self) -> "Iterator[Answered]":
        for source, row in self._rows:
            self.errors += row.error is not None
            if source.time is not None or source.arrived is not None:
                self.frames += 1
            elif source.error is None:
                self.images += 1
            if row.age is not None and row.error is None:
                self._streams[row.source].has_answered(row.age)
            yield source, row
            self._rows.done()

    def said(self) -> str:
        """Say in one line what there was, and how long it took."""
        counts = ((self.images, "image"), (self.frames, "frame"))
        parts = [counted(number, noun) for number, noun in counts if number] or (["nothing"] if not self.errors else [])
        parts += [f"{self.errors:,} could not be read"] if self.errors else []
        return f"{', '.join(parts)}, {time.perf_counter() - self._began:.2f} s"


def stream_line(stream: "Live") -> str:
    """Say what became of a live source's frames."""
    one = stream.counts()
    median, p95 = (1000 * (age or 0) for age in (one.age_median, one.age_p95))
    age = f", age {median:.0f} ms (p95 {p95:.0f})" if one.answered else ""
    again = f"; connected again {counted(one.reconnected, 'time')}" if one.reconnected else ""
    frames = f"{counted(one.seen, 'frame')} seen, {one.answered:,} answered, {one.dropped:,} dropped"
    return f"{one.source}: {frames}{age}{again}"


def bar(*, hidden: bool) -> "AbstractContextManager[Callable[[float], None]]":
    """Show how far the work has come, where answers are not seen to come: they go to a file, stderr to a terminal."""
    return progress("answered", None, quiet=hidden or sys.stdout.isatty() or not sys.stderr.isatty())


def told(answered: "Iterable[Answered]", advance: "Callable[[float], None]") -> "Iterator[Row]":
    """Give the rows, and tell of each."""
    for _, row in answered:
        yield row
        advance(1)
