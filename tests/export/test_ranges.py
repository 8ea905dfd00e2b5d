"""Ranges of activations: exact percentiles of a stream, and candidates to choose from."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facectl_export import ranges
from facectl_export.calibration import METHODS
from facectl_export.ranges import Outermost, find, pieces
from facectl_runtime.errors import ModelError


def wanted(values, percentile):
    outside = int(values.size * (100 - percentile) / 200)
    values = np.sort(values)
    return values[outside], values[-1 - outside]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.sampled_from(["normal", "relu", "few", "one", "rising"]))
def test_percentiles_are_exact_however_values_arrive(seed, parts, kind):
    random = np.random.default_rng(seed)
    values = random.normal(size=parts * 300).astype(np.float32)
    values = {
        "normal": values,
        "relu": np.maximum(values, 0),
        "few": np.float32(random.integers(-2, 3, values.size)),
        "one": np.full_like(values, -3),
        "rising": np.sort(values),
    }[kind]
    outermost = Outermost(1 + int(values.size * 0.05))
    for part in np.split(values, parts):
        outermost.add(part.reshape(3, 100))
    for percentile in (100, 99.5, 95, 90):
        assert outermost.limits(percentile) == wanted(values, percentile)


def test_candidates_go_from_the_widest_to_the_narrowest():
    images = [np.zeros((1, 2, 2, 3), np.uint8)] * 50
    random = np.random.default_rng(0)

    def activations(batches):
        for _ in batches:
            yield {"map": random.standard_t(3, (1, 40, 40, 8)).astype(np.float32)}

    found = find("a.file", activations, {"map": -1}, images, 50, "auto")
    assert [one.how for one in found] == ["minmax", "percentile 99.999", "percentile 99.99"]
    widths = [np.ptp(one.limits["map"]) for one in found]
    assert widths[0] > widths[1] > widths[2]
    assert found[0].means["map"].shape == (8,)


def test_entropy_counts_a_sample_of_a_large_map_the_same_each_time_and_cuts_what_is_rare():
    maps = np.random.default_rng(0).standard_t(3, (12, 1, 100, 100, 2)).astype(np.float32)
    assert maps[0].size > ranges._SAMPLE

    def activations(batches):
        for values, _ in zip(maps, batches, strict=True):
            yield {"map": values}

    images = [np.zeros((1, 2, 2, 3), np.uint8)] * len(maps)
    (first,), (again,), (widest,) = (
        find("a.file", activations, {}, images, len(maps), method) for method in ("entropy", "entropy", "minmax")
    )
    assert first.limits == again.limits
    assert np.ptp(first.limits["map"]) < 0.9 * np.ptp(widest.limits["map"])


@pytest.mark.parametrize("strange", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("method", METHODS)
def test_what_is_no_number_is_met_wherever_it_stands(strange, method):
    def activations(batches):
        for number, _ in enumerate(batches):
            values = np.zeros((1, 100, 100, 21), np.float32)  # as many that a percentile cuts some
            values[0, 2, 3, 1] = strange if number == 7 else number
            yield {"good": np.zeros((1, 3), np.float32), "layer/map": values}

    with pytest.raises(ModelError, match=r"a\.file: layer/map gives values that are not finite"):
        find("a.file", activations, {}, [np.zeros((1, 2, 2, 3), np.uint8)] * 20, 20, method)


def test_the_last_piece_is_filled_up_and_says_how_many_count():
    images = np.arange(5, dtype=np.uint8)[:, None, None, None]
    found = [(pixels.ravel().tolist(), count) for pixels, count in pieces([images[:4], images[4:]], 3)]
    assert found == [([0, 1, 2], 3), ([3, 4, 3], 2)]
