"""The head that is kept is the best one met, and its calibration says what the images say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facectl_runtime.errors import FacectlError
from facectl_trainer import fit
from facectl_trainer.recipe import HeadPlan

pytest.importorskip("tf_keras")

PLAN = HeadPlan("adam", rate=0.05, batch=16, epochs=40, patience=40)


def clusters(count, seed, spread=0.3):
    """Three classes around three axes: features N × 5 and their truth."""
    random = np.random.default_rng(seed)
    truth = np.arange(count) % 3
    return (np.eye(3, 5)[truth] + random.normal(0, spread, (count, 5))).astype(np.float32), truth


def noise(count, seed):
    """Features that say nothing of their class."""
    features, truth = clusters(count, seed)
    return features, np.random.default_rng(seed + 100).permutation(truth)


def fitted(plan=PLAN, seed=0, train=None, val=None):
    return fit.fit_head(train or clusters(90, 1), val or clusters(30, 2), 3, plan, seed, lambda _: None)


def test_classes_that_can_be_told_apart_are():
    head, history = fitted()
    features, truth = clusters(300, 3, spread=0.15)
    assert (head.logits(features).argmax(axis=1) == truth).mean() > 0.98
    assert [row["epoch"] for row in history] == list(range(1, 41))
    assert history[-1]["loss"] < history[0]["loss"] / 2


def loss_of(head, data):
    return fit.cross_entropy(head.logits(data[0]), data[1])


@pytest.mark.parametrize("patience", [3, 100])
def test_the_best_epoch_on_val_is_kept(patience):
    val = noise(30, 2)
    plan = HeadPlan("adam", rate=0.05, batch=16, epochs=30, patience=patience)
    head, history = fitted(plan, val=val)
    losses = [row["val_loss"] for row in history]
    assert losses.index(min(losses)) < len(losses) - 1
    assert loss_of(head, val) == pytest.approx(min(losses), rel=1e-5)
    assert loss_of(head, val) < losses[-1] - 1e-3


def test_training_stops_when_val_no_longer_gains():
    ticks = []
    plan = HeadPlan("adam", rate=0.05, batch=16, epochs=300, patience=4)
    _, history = fit.fit_head(clusters(90, 1), noise(30, 2), 3, plan, 0, ticks.append)
    losses = [row["val_loss"] for row in history]
    assert len(losses) < 60
    assert losses.index(min(losses)) == len(losses) - 1 - plan.patience
    assert len(ticks) == len(history)


def test_the_seed_decides_the_weights():
    plan = HeadPlan("adam", rate=0.01, batch=16, epochs=5, patience=5, dropout=0.3)
    one, history = fitted(plan, seed=7)
    again, same = fitted(plan, seed=7)
    other, _ = fitted(plan, seed=8)
    assert one.kernel.tobytes() == again.kernel.tobytes()
    assert one.bias.tobytes() == again.bias.tobytes()
    assert history == same
    assert not np.allclose(one.kernel, other.kernel)


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "rmsprop"])
def test_every_optimizer_learns_at_its_own_rate(optimizer):
    slow, fast = (HeadPlan(optimizer, rate=rate, batch=16, epochs=4, patience=9) for rate in (1e-6, 0.03))
    (_, lazy), (_, keen) = fitted(slow), fitted(fast)
    assert abs(lazy[-1]["val_loss"] - lazy[0]["val_loss"]) < 1e-3
    assert keen[-1]["val_loss"] < keen[0]["val_loss"] - 0.05


def test_a_loss_that_is_no_number_is_an_error():
    features, truth = clusters(90, 1)
    features[5] = np.nan
    with pytest.raises(FacectlError, match=r"no number after epoch 1; lower the head's rate \(0.05\)") as caught:
        fitted(train=(features, truth))
    assert "\n" not in str(caught.value)


def test_a_cooled_head_gives_logits_divided():
    head, features = fit.Head(np.ones((4, 2), np.float32), np.array([1, -1], np.float32)), np.ones((3, 4), np.float32)
    np.testing.assert_allclose(head.cooled(2.5).logits(features), head.logits(features) / 2.5, rtol=1e-6)


def sampled(n, classes, temperature, seed=0):
    """Make logits that are `temperature` times too large, and truths drawn by the odds without it."""
    random = np.random.default_rng(seed)
    honest = random.normal(0, 2, (n, classes))
    chances = np.exp(fit.log_softmax(honest))
    truth = (random.random((n, 1)) > chances.cumsum(axis=1)).sum(axis=1).clip(max=classes - 1)
    return honest * temperature, truth


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5, 6.0])
def test_a_known_temperature_is_found(temperature):
    assert fit.fit_temperature(*sampled(20_000, 5, temperature)) == pytest.approx(temperature, rel=0.04)


@given(st.integers(1, 40), st.integers(2, 6), st.floats(0.05, 20), st.integers(0, 1000), st.booleans())
def test_calibration_never_makes_val_worse(n, classes, temperature, seed, shuffled):
    logits, truth = sampled(n, classes, temperature, seed)
    truth = np.random.default_rng(seed).permutation(truth) if shuffled else truth
    found = fit.fit_temperature(logits, truth)
    assert 0.05 <= found <= 20
    assert fit.cross_entropy(logits / found, truth) <= fit.cross_entropy(logits, truth) + 1e-6


def test_a_few_right_answers_do_not_make_it_sure():
    truth = np.arange(12) % 3
    found = fit.fit_temperature(np.eye(3)[truth] * 3, truth)
    assert 0.5 < found < 1
    assert fit.fit_temperature(np.eye(3)[truth] * 30, truth) == pytest.approx(1, abs=0.01)


def test_logits_that_say_nothing_leave_it_at_one():
    assert fit.fit_temperature(np.zeros((9, 4)), np.zeros(9, int)) == pytest.approx(1, abs=1e-3)


def test_log_softmax_of_odds_beyond_floats():
    logits = np.array([[1e4, 0, -1e4], [-1e4, -1e4, -1e4], [0, np.log(3), -np.inf]], np.float32)
    expected = [[0, -1e4, -2e4], [-np.log(3)] * 3, [np.log(0.25), np.log(0.75), -np.inf]]
    np.testing.assert_allclose(fit.log_softmax(logits), expected, rtol=1e-6, atol=1e-12)


def test_cross_entropy_by_hand():
    logits = np.log([[0.5, 0.5], [0.9, 0.1]])
    assert fit.cross_entropy(logits, np.array([0, 1])) == pytest.approx(-(np.log(0.5) + np.log(0.1)) / 2)
