"""The temperature says what the images say, and makes nothing worse."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facectl_trainer import calibrate

pytest.importorskip("scipy")


def sampled(n, classes, temperature, seed=0):
    """Make logits that are `temperature` times too large, and truths drawn by the odds without it."""
    random = np.random.default_rng(seed)
    honest = random.normal(0, 2, (n, classes))
    chances = np.exp(calibrate.log_softmax(honest))
    truth = (random.random((n, 1)) > chances.cumsum(axis=1)).sum(axis=1).clip(max=classes - 1)
    return honest * temperature, truth


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5, 6.0])
def test_a_known_temperature_is_found(temperature):
    assert calibrate.fit_temperature(*sampled(20_000, 5, temperature)) == pytest.approx(temperature, rel=0.04)


@given(st.integers(1, 40), st.integers(2, 6), st.floats(0.05, 20), st.integers(0, 1000), st.booleans())
def test_calibration_never_makes_val_worse(n, classes, temperature, seed, shuffled):
    logits, truth = sampled(n, classes, temperature, seed)
    truth = np.random.default_rng(seed).permutation(truth) if shuffled else truth
    found = calibrate.fit_temperature(logits, truth)
    assert 0.05 <= found <= 20
    assert calibrate.cross_entropy(logits / found, truth) <= calibrate.cross_entropy(logits, truth) + 1e-6


def test_a_few_right_answers_do_not_make_it_sure():
    truth = np.arange(12) % 3
    found = calibrate.fit_temperature(np.eye(3)[truth] * 3, truth)
    assert 0.5 < found < 1
    assert calibrate.fit_temperature(np.eye(3)[truth] * 30, truth) == pytest.approx(1, abs=0.01)


def test_logits_that_say_nothing_leave_it_at_one():
    assert calibrate.fit_temperature(np.zeros((9, 4)), np.zeros(9, int)) == pytest.approx(1, abs=1e-3)


def test_log_softmax_of_odds_beyond_floats():
    logits = np.array([[1e4, 0, -1e4], [-1e4, -1e4, -1e4], [0, np.log(3), -np.inf]], np.float32)
    expected = [[0, -1e4, -2e4], [-np.log(3)] * 3, [np.log(0.25), np.log(0.75), -np.inf]]
    np.testing.assert_allclose(calibrate.log_softmax(logits), expected, rtol=1e-6, atol=1e-12)


def test_cross_entropy_by_hand():
    logits = np.log([[0.5, 0.5], [0.9, 0.1]])
    assert calibrate.cross_entropy(logits, np.array([0, 1])) == pytest.approx(-(np.log(0.5) + np.log(0.1)) / 2)


def test_logits_give_their_probabilities_back():
    probabilities = np.array([[0.2, 0.3, 0.5], [1, 0, 0]], np.float32)
    found = calibrate.logits(probabilities)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(np.exp(calibrate.log_softmax(found)), probabilities, atol=1e-7)
