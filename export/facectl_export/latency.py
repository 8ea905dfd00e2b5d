"""How long a file takes to answer, of several side by side on one machine."""

from collections.abc import Sequence
from time import perf_counter

import numpy as np

from facectl_export.measured import Latency
from facectl_runtime.engines.base import Engine, Pixels
from facectl_runtime.spec import InputSpec

SECONDS = 2.0
"""Spent on an engine, or longer where that is less than `ROUNDS` answers."""
ROUNDS, _TURNS = 5, 10


def measure(models: Sequence[tuple[str, Engine]], spec: InputSpec, seconds: float | None = None) -> dict[str, Latency]:
    """Time engines on one image at a time, from uint8 pixels to the answer; by name, in milliseconds an image.

    An engine of a constant batch computes all of it whatever it is given: it is given a whole one, and the time is
    divided by its size. Each has ten turns of a tenth of `seconds` or one answer, whichever is longer, and between two
    of them all others have theirs, so that a machine that grows hot or busy slows all alike. One that has had `ROUNDS`
    turns and its time is left out of further ones. A turn before them is not counted: caches fill, and memory is set
    aside.
    """
    seconds = SECONDS if seconds is None else seconds
    most = max((_at_once(engine) for _, engine in models), default=0)
    pixels = np.random.default_rng(0).integers(0, 256, (most, spec.height, spec.width, 3), np.uint8)
    times: dict[str, list[float]] = {name: [] for name, _ in models}
    for _, engine in models:
        _turn(engine, pixels, seconds / _TURNS)
    for turn in range(_TURNS):
        for name, engine in models:
            if turn < ROUNDS or sum(times[name]) < seconds:
                times[name] += _turn(engine, pixels, seconds / _TURNS)
    return {name: _latency(engine, times[name]) for name, engine in models}


def _turn(engine: Engine, pixels: Pixels, seconds: float) -> list[float]:
    """Answer until the time is over, at least once; give the seconds of each answer."""
    took: list[float] = []
    given = pixels[: _at_once(engine)]
    begun = perf_counter()
    while not took or perf_counter() - begun < seconds:
        start = perf_counter()
        engine.infer(given)
        took.append(perf_counter() - start)
    return took


def _at_once(engine: Engine) -> int:
    return engine.batch or 1


def _latency(engine: Engine, seconds: Sequence[float]) -> Latency:
    median, p95 = np.percentile(seconds, (50, 95)) * 1000 / _at_once(engine)
    return Latency(float(median), float(p95), len(seconds), engine.name, engine.device)
