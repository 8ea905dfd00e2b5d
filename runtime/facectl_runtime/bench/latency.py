"""How long models take to answer, of several side by side on one machine."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import perf_counter
from typing import TypeVar

import msgspec
import numpy as np

from facectl_runtime.engines.base import Engine, Pixels
from facectl_runtime.spec import InputSpec

SECONDS = 2.0
"""Spent on an engine, or longer where that is less than `ROUNDS` answers."""
ROUNDS, TURNS = 5, 10
Name = TypeVar("Name")
Turns = list[list[float]]
"""Seconds of each answer, a list a turn."""


class Times(msgspec.Struct, frozen=True):
    """Milliseconds an image, pixels to answer; all models in turn on one machine.

    One image at a time; of a model of a constant batch, a whole batch at a time, divided by its size.
    """

    median: float
    p95: float
    runs: int


class Latency(Times, frozen=True):
    """Times, and what computed."""

    engine: str
    device: str


def measure(models: Sequence[tuple[str, Engine]], spec: InputSpec, seconds: float | None = None) -> dict[str, Latency]:
    """Time engines of one input on one image at a time; by name."""
    work = {name: answering(engine, spec) for name, engine in models}
    turns = in_turn(work, SECONDS if seconds is None else seconds)
    took = {name: times(turns[name], engine) for name, engine in models}
    return {
        name: Latency(took[name].median, took[name].p95, took[name].runs, engine.name, engine.device)
        for name, engine in models
    }


def answering(engine: Engine, spec: InputSpec, images: int = 1) -> Callable[[], object]:
    """Give a function that has an engine answer `images` of noise.

    An engine of a constant batch computes all of it whatever it is given: it is given a whole one.
    """
    shape = (engine.batch or images, spec.height, spec.width, 3)
    pixels: Pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return partial(engine.infer, pixels)


def times(turns: Turns, engine: Engine) -> Times:
    """Sum up the turns of an engine that answered one image at a time, or its constant batch."""
    answers = [seconds for turn in turns for seconds in turn]
    median, p95 = np.percentile(answers, (50, 95)) * 1000 / (engine.batch or 1)
    return Times(float(median), float(p95), len(answers))


def in_turn(
    work: Mapping[Name, Callable[[], object]], seconds: float, advance: Callable[[float], None] | None = None
) -> dict[Name, Turns]:
    """Time each piece of work again and again; by name.

    Each has ten turns of a tenth of `seconds` or one answer, whichever is longer, and between two of them all others
    have theirs, so that a machine that grows hot or busy slows all alike. One that has had `ROUNDS` turns and its time
    is left out of further ones. A turn before them is not counted: caches fill, and memory is set aside. `advance` is
    told of each of the `TURNS` + 1 rounds.
    """
    turns: dict[Name, Turns] = {name: [] for name in work}
    for number in range(-1, TURNS):
        for name, answer in work.items():
            if number < ROUNDS or sum(map(sum, turns[name])) < seconds:
                took = _turn(answer, seconds / TURNS)
                turns[name] += [took] if number >= 0 else []
        if advance:
            advance(1)
    return turns


def spread(turns: Turns) -> float:
    """Tell how steady a machine was: the interquartile range of the turns' medians, over the median of them."""
    low, middle, high = np.percentile([np.median(turn) for turn in turns], (25, 50, 75))
    return float((high - low) / middle)


def _turn(answer: Callable[[], object], seconds: float) -> list[float]:
    """Answer until the time is over, at least once; give the seconds of each answer."""
    took: list[float] = []
    begun = perf_counter()
    while not took or perf_counter() - begun < seconds:
        start = perf_counter()
        answer()
        took.append(perf_counter() - start)
    return took
