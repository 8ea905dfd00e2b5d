"""Models side by side: every measurement takes them in turn, and one document holds what was found."""

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter

import msgspec
import numpy as np

from facectl_runtime.bench.compare import Opened, Quality, answer_all
from facectl_runtime.bench.latency import TURNS, Times, Turns, answering, in_turn, spread, times
from facectl_runtime.bench.others import watch_others
from facectl_runtime.bench.process import Process, processes, size_of
from facectl_runtime.devices import Device, usable_cores
from facectl_runtime.labelled import Chosen
from facectl_runtime.progress import progress
from facectl_runtime.sources import display_name
from facectl_runtime.spec import Precision


class Throughput(msgspec.Struct, frozen=True):
    """Images a second, of so many answered at once."""

    batch: int
    images_per_second: float
    """By the median time of a batch."""
    spread: float
    """As of the latency."""
    runs: int


class Measured(msgspec.Struct, frozen=True):
    """One model and all that was measured of it."""

    model: str
    precision: Precision
    engine: str
    device: str
    """The one used."""
    bytes: int
    """Size of the file; of a folder: of all files in it."""
    batch: int | None
    """Images that it always computes at once; None where any number is."""
    latency: Times
    ratio: float
    """Its time over that of the first model: the median of the turns' ratios."""
    spread: float
    """Interquartile range of the turns' median times over their median: the machine's unrest, not the model's."""
    throughput: tuple[Throughput, ...]
    """By batch; of a model of a constant batch, that one alone."""
    process: Process | None
    """Of `facectl predict` on one image; None for an embedder, which it does not take."""
    quality: Quality | None
    """None without labelled images."""


class Benchmark(msgspec.Struct, frozen=True):
    """What `facectl benchmark --json` prints."""

    device_requested: str
    threads: int
    """That each engine computes with on the processor."""
    machine: str
    """Processor architecture, system and cores."""
    seconds: float
    """Spent on all of it."""
    busy_elsewhere: float | None
    """Share of all processors, 0 to 1, that other processes took while time was measured; None off Linux."""
    data: str | None
    """The labelled images, in words."""
    unreadable: dict[str, str]
    """Path to reason, of labelled images that were left out."""
    models: tuple[Measured, ...]


def benchmark(
    opened: Sequence[Opened], chosen: Chosen | None, batches: Sequence[int], seconds: float, asked: Device, quiet: bool
) -> Benchmark:
    """Measure models side by side: `seconds` of latency and as many of throughput each, or a little more.

    Labelled images come first, since they may not fit the models. Raises `UsageError` and `ModelError`.
    """
    begun = perf_counter()
    qualities, unreadable = _qualities(opened, chosen, asked.cores, quiet)
    others = watch_others()
    turns = _latencies(opened, seconds, quiet)
    rates = _rates(opened, turns, batches, seconds, quiet)
    started = _started(opened, asked, quiet)
    busy = others()
    models = tuple(
        Measured(
            model=display_name(one.path),
            precision=one.spec.precision,
            engine=one.engine.name,
            device=one.engine.device,
            bytes=size_of(one.path),
            batch=one.engine.batch,
            latency=times(turns[one.path], one.engine),
            ratio=_ratio(turns, one, opened[0]),
            spread=spread(turns[one.path]),
            throughput=tuple(rates[one.path]),
            process=started.get(one.path),
            quality=quality,
        )
        for one, quality in zip(opened, qualities, strict=True)
    )
    machine = f"{platform.machine()}, {platform.system()}, {usable_cores()} cores"
    what = chosen.what if chosen else None
    return Benchmark(str(asked), asked.cores, machine, perf_counter() - begun, busy, what, unreadable, models)


def _qualities(
    opened: Sequence[Opened], chosen: Chosen | None, cores: int, quiet: bool
) -> tuple[Sequence[Quality | None], dict[str, str]]:
    if chosen is None:
        return [None] * len(opened), {}
    with progress("answers", len(opened) * len(chosen.images), quiet) as advance:
        return answer_all(opened, chosen, cores, advance)


def _latencies(opened: Sequence[Opened], seconds: float, quiet: bool) -> dict[Path, Turns]:
    work = {one.path: answering(one.engine, one.spec.input) for one in opened}
    with progress("rounds of latency", TURNS + 1, quiet) as advance:
        return in_turn(work, seconds, advance)


def _rates(
    opened: Sequence[Opened], singly: Mapping[Path, Turns], batches: Sequence[int], seconds: float, quiet: bool
) -> dict[Path, list[Throughput]]:
    """Give the throughput by batch; that of one image, or of a constant batch, is known by the latency's turns.

    One batch after the other, and in each all models in turn: an engine that changes its batch sets memory aside anew.
    """
    rates = {
        one.path: [_throughput(one.engine.batch or 1, singly[one.path])] if one.engine.batch or 1 in batches else []
        for one in opened
    }
    several = [batch for batch in batches if batch > 1]
    anyhow = [one for one in opened if one.engine.batch is None]
    if not several or not anyhow:
        return rates
    with progress("rounds of throughput", len(several) * (TURNS + 1), quiet) as advance:
        for batch in several:
            work = {one.path: answering(one.engine, one.spec.input, batch) for one in anyhow}
            for path, turns in in_turn(work, seconds / len(several), advance).items():
                rates[path].append(_throughput(batch, turns))
    return rates


def _throughput(batch: int, turns: Turns) -> Throughput:
    answers = [seconds for turn in turns for seconds in turn]
    return Throughput(batch, batch / float(np.median(answers)), spread(turns), len(answers))


def _started(opened: Sequence[Opened], asked: Device, quiet: bool) -> dict[Path, Process]:
    paths = [one.path for one in opened if one.spec.task == "classify"]
    if not paths:
        return {}
    with progress("models started", len(paths), quiet) as advance:
        return processes(paths, asked, advance)


def _ratio(turns: Mapping[Path, Turns], one: Opened, first: Opened) -> float:
    """Give the median over the turns, each held against the first model's of that time, whatever the machine did."""
    pairs = zip(turns[one.path], turns[first.path], strict=False)  # a slow model may have had fewer
    slower = np.median([np.median(own) / np.median(other) for own, other in pairs])
    return float(slower) * (first.engine.batch or 1) / (one.engine.batch or 1)
