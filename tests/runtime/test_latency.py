"""Times of several engines side by side."""

import time

import numpy as np
import pytest

from facectl_runtime.bench import latency
from facectl_runtime.bench.latency import ROUNDS, measure, spread
from facectl_runtime.engines.base import Engine
from facectl_runtime.spec import InputSpec, Squash

SPEC = InputSpec(20, 10, Squash())


class Clock:
    """A clock that only an engine's work moves, so that a busy machine is no failure."""

    def __init__(self):
        self.now = 0.0
        self.calls = []

    def __call__(self):
        return self.now

    def engine(self, name, seconds):
        """Make an engine that takes `seconds`, or what `seconds` says of the time."""

        def infer(pixels):
            self.calls.append(name)
            self.now += seconds(self.now) if callable(seconds) else seconds
            return np.zeros((len(pixels), 2), np.float32)

        return name, Engine(f"{name} 1.0", "cpu", infer)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(latency, "perf_counter", clock)
    return clock


def test_one_image_of_the_input_is_timed_in_milliseconds():
    seen = []

    def infer(pixels):
        seen.append(pixels)
        time.sleep(0.002)
        return np.zeros((1, 2), np.float32)

    found = measure([("x.onnx", Engine("engine 1.0", "cpu", infer))], SPEC, seconds=0.2)["x.onnx"]
    assert all(pixels.shape == (1, 10, 20, 3) and pixels.dtype == np.uint8 for pixels in seen)
    assert 2 <= found.median <= found.p95
    assert found.median < 500
    assert ROUNDS <= found.runs < len(seen)  # what warms it up is not counted
    assert (found.engine, found.device) == ("engine 1.0", "cpu")


def test_a_constant_batch_is_timed_whole_and_divided_by_its_size(clock):
    def infer(pixels):
        seen.append(len(pixels))
        clock.now += 0.08
        return np.zeros((len(pixels), 2), np.float32)

    seen = []
    found = measure([("a", Engine("a 1.0", "cpu", infer, 8)), clock.engine("b", 0.02)], SPEC, seconds=1)
    assert set(seen) == {8}
    assert [found[name].median for name in "ab"] == pytest.approx([10, 20])
    assert found["a"].p95 == pytest.approx(10)


def test_median_and_p95_are_those_of_the_times(clock):
    slow_tenth = iter([0.001] * 40 + [0.001, 0.001, 0.001, 0.001, 0.001, 0.001, 0.001, 0.001, 0.001, 0.011] * 100)
    found = measure([clock.engine("a", lambda _: next(slow_tenth))], SPEC, seconds=0.4)["a"]
    assert found.median == pytest.approx(1)
    assert found.p95 == pytest.approx(11)


def test_all_have_their_turns_one_after_another(clock):
    measure([clock.engine(name, 0.001) for name in "abc"], SPEC, seconds=0.1)
    turns = [name for place, name in enumerate(clock.calls) if place == 0 or clock.calls[place - 1] != name]
    assert turns == list("abc") * 11  # the first to warm up


def test_a_machine_that_slows_down_slows_all_alike(clock):
    """The same engine three times, on a machine that takes three times as long from some time on."""
    models = [clock.engine(name, lambda now: 0.006 if now > 1.5 else 0.002) for name in "abc"]
    found = measure(models, SPEC, seconds=1)
    assert {round(each.p95) for each in found.values()} == {6}
    runs = [each.runs for each in found.values()]
    assert max(runs) < 1.4 * min(runs)


def test_a_slow_one_is_timed_often_enough_and_no_longer(clock):
    found = measure([clock.engine("slow", 0.9), clock.engine("fast", 0.002)], SPEC, seconds=1)
    assert found["slow"].runs == ROUNDS
    assert found["fast"].runs > 400
    assert clock.now < 0.9 * (ROUNDS + 1) + 1.3


def test_no_models_take_no_time():
    assert measure([], SPEC) == {}


def test_spread_tells_a_steady_machine_from_one_that_was_disturbed():
    steady = [[0.01, 0.011, 0.01]] * 10
    assert spread(steady) == 0
    assert spread([*steady[:5], *[[0.02]] * 5]) > 0.5
    assert spread([*steady[:9], [5.0]]) < 0.1  # one turn of ten is no noisy machine
