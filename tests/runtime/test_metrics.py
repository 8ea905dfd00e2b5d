"""Measures, against published figures and other implementations."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facectl_runtime.metrics import confusion, kl_divergence, paired_drop, precision_recall_f1, wilson


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0000, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_is_that_of_newcombe_1998(hits, n, low, high):
    """Table I of "Two-sided confidence intervals for the single proportion", method 3."""
    assert wilson(hits, n) == pytest.approx((low, high), abs=5e-5)


@settings(deadline=None)
@given(st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_that_of_scipy(case):
    stats = pytest.importorskip("scipy.stats")
    expected = stats.binomtest(*case).proportion_ci(method="wilson")
    assert wilson(*case) == pytest.approx((expected.low, expected.high), abs=1e-12)
    low, high = wilson(*case)
    assert 0 <= low <= case[0] / case[1] <= high <= 1


@pytest.mark.parametrize(("hits", "n"), [(0, 0), (3, 2), (-1, 5)])
def test_wilson_refuses_what_is_no_proportion(hits, n):
    with pytest.raises(ValueError, match="proportion"):
        wilson(hits, n)


def pairs(both, lost, won, neither):
    before = np.repeat([True, True, False, False], [both, lost, won, neither])
    after = np.repeat([True, False, True, False], [both, lost, won, neither])
    return before, after


cells = st.tuples(*[st.integers(0, 200)] * 4).filter(any)


@settings(deadline=None)
@given(cells)
def test_the_paired_interval_is_that_of_weighted_differences(counts):
    """Agresti & Min 2005: Wald's interval once half an observation is added to each cell, from its definition."""
    weights = np.array(counts) + 0.5
    difference = np.array([0, 1, -1, 0])
    mean = np.average(difference, weights=weights)
    error = math.sqrt(np.average((difference - mean) ** 2, weights=weights) / weights.sum())
    drop, low, high = paired_drop(*pairs(*counts))
    assert drop == pytest.approx((counts[1] - counts[2]) / sum(counts))
    assert low == pytest.approx(min(drop, max(-1, mean - 1.959964 * error)), abs=1e-6)
    assert high == pytest.approx(max(drop, min(1, mean + 1.959964 * error)), abs=1e-6)


@settings(deadline=None)
@given(cells)
def test_the_paired_interval_turns_with_the_pair(counts):
    before, after = pairs(*counts)
    drop, low, high = paired_drop(before, after)
    assert -1 <= low <= drop <= high <= 1
    assert paired_drop(after, before) == pytest.approx((-drop, -high, -low))


def test_no_difference_is_still_uncertain():
    drop, low, high = paired_drop(*pairs(100, 0, 0, 0))
    assert drop == 0
    assert low < 0 < high


def test_confusion_counts_truth_in_rows():
    table = confusion(np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 0, 2, 2]), 4)
    assert table.tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [1, 0, 2, 0], [0, 0, 0, 0]]
    assert confusion(np.array([], int), np.array([], int), 2).tolist() == [[0, 0], [0, 0]]


def test_precision_recall_and_f1_of_a_table_by_hand():
    measured = precision_recall_f1(np.array([[3, 1, 0], [2, 4, 0], [0, 0, 0]]))
    assert measured[0] == pytest.approx((3 / 5, 3 / 4, 2 / 3))
    assert measured[1] == pytest.approx((4 / 5, 4 / 6, 8 / 11))
    assert measured[2] == (None, None, None)


def test_a_class_never_predicted_has_no_precision_and_one_not_there_no_recall():
    measured = precision_recall_f1(np.array([[0, 2], [0, 0]]))
    assert measured == [(None, 0.0, 0.0), (0.0, None, 0.0)]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1))
def test_measures_per_class_are_those_of_scikit_learn(answered):
    sklearn = pytest.importorskip("sklearn.metrics")
    truth, predicted = (np.array(column) for column in zip(*answered, strict=True))
    table = confusion(truth, predicted, 4)
    assert table.tolist() == sklearn.confusion_matrix(truth, predicted, labels=range(4)).tolist()
    expected = sklearn.precision_recall_fscore_support(truth, predicted, labels=range(4), zero_division=0)[:3]
    measured = [[value or 0.0 for value in row] for row in precision_recall_f1(table)]
    np.testing.assert_allclose(measured, np.transpose(expected))


def test_kl_of_two_coins_by_hand():
    found = kl_divergence(np.array([[0.5, 0.5], [0.9, 0.1]]), np.array([[0.9, 0.1], [0.5, 0.5]]))
    assert found == pytest.approx([0.5 * math.log(25 / 9), 0.9 * math.log(1.8) + 0.1 * math.log(0.2)])


LEAST = 1e-6
rows = (
    st.lists(st.floats(0, 1), min_size=3, max_size=3)
    .filter(lambda row: sum(row) > 1e-3)
    .map(lambda row: LEAST + (1 - 3 * LEAST) * np.array([row]) / sum(row))
)


@settings(deadline=None)
@given(rows, rows)
def test_kl_is_that_of_scipy_and_never_below_zero(p, q):
    stats = pytest.importorskip("scipy.stats")
    assert kl_divergence(p, q) == pytest.approx(stats.entropy(p, q, axis=1), abs=1e-6)
    assert kl_divergence(p, q)[0] >= 0
    assert kl_divergence(p, p) == 0


def test_kl_of_rows_that_sum_to_one_only_nearly_is_not_below_zero():
    p, q = np.array([[0.5, 0.5]], np.float32), np.array([[0.5, 0.5000001]], np.float32)
    assert np.sum(p * np.log(p / q)) < 0
    assert kl_divergence(p, q) == 0


def test_kl_of_a_probability_that_underflowed_is_large_and_finite():
    (found,) = kl_divergence(np.array([[0.5, 0.5]], np.float32), np.array([[1, 0]], np.float32))
    assert 10 < found < 100
    assert kl_divergence(np.array([[1.0, 0.0]]), np.array([[1.0, 0.0]])) == pytest.approx(0, abs=1e-9)
