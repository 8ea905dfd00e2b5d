"""Progress of long work, on stderr: a bar on a terminal, one line at the end elsewhere."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(what: str, total: int | None, quiet: bool = False) -> Iterator[Callable[[float], None]]:
    """Show how far `what` has come. Gives a function to call with the number of steps just done, or a share of one."""
    if quiet:
        yield lambda _: None
    elif sys.stderr.isatty():
        with _bar(what, total) as advance:
            yield advance
    else:
        started, done = time.perf_counter(), 0.0

        def count(steps: float) -> None:
            nonlocal done
            done += steps

        yield count
        print(f"{what}: {done:.0f} in {time.perf_counter() - started:.1f} s", file=sys.stderr)


@contextmanager
def _bar(what: str, total: int | None) -> Iterator[Callable[[float], None]]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    shape = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    # A way of its own to the terminal: libraries are silenced by turning the process's stderr away. What is written to
    # stdout meanwhile is left alone: it may go to a file, and would be drawn above the bar in its place.
    with (
        os.fdopen(os.dup(sys.stderr.fileno()), "w", encoding=sys.stderr.encoding) as terminal,
        Progress(*shape, console=Console(file=terminal), redirect_stdout=False) as bar,
    ):
        task = bar.add_task(what, total=total)
        yield lambda steps: bar.advance(task, steps)
        bar.update(task, total=bar.tasks[0].completed)  # what stops early is done, not broken off
