"""How many false accepts a rate allows, and the lowest threshold for that, against what they say of themselves."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facectl_runtime.threshold.rates import lowest_threshold, most_accepted, most_accepted_outside


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=40), st.integers(0, 45))
def test_the_lowest_threshold_lets_in_no_more_than_allowed_and_no_lower_score_would_do(values, allowed):
    scores = np.array(values, np.float32) / 10
    found = lowest_threshold(scores, allowed)
    assert np.sum(scores >= found) <= allowed
    lower = scores[scores < found]
    assert not len(lower) or np.sum(scores >= lower.max()) > allowed
    top = np.sort(scores)[-(allowed + 1) :]
    assert lowest_threshold(scores[scores >= top[0]], allowed) == found


@pytest.mark.parametrize(
    ("far", "count", "allowed"), [(0.29, 100, 29), (0.07, 100, 7), (0.001, 2999, 2), (0.001, 3000, 3), (0.5, 1, 0),
                                  (math.nextafter(0.07, 0), 100, 6), (0.1, 30, 3)]
)  # fmt: skip
def test_as_many_are_allowed_as_the_rate_says(far, count, allowed):
    assert most_accepted(far, count) == allowed


@settings(deadline=None)
@given(st.integers(4, 10**6), st.floats(0, 1, exclude_min=True, exclude_max=True), st.floats(0.1, 1))
def test_as_large_a_share_is_allowed_of_those_outside_a_fold(count, far, part):
    outside = np.array([[1, math.ceil(part * count)], [count - 1, count]])
    found = most_accepted_outside(far, count, outside)
    all_of_them = most_accepted(far, count)
    assert found[-1, -1] == all_of_them
    assert (found < outside).all()
    assert (found >= 0).all()
    exact = outside * (all_of_them / count)
    assert (np.abs(found - np.minimum(exact, outside - 1)) <= 0.5).all()
