"""A stage ends with the best epoch's weights, stops when val no longer gains, and depends on its seed alone."""

import math

import numpy as np
import pytest

from facectl_runtime.errors import FacectlError
from facectl_trainer.feed import Photographs
from facectl_trainer.fit import Hooks, Position, Task, fit_stage, predict, rate_at
from facectl_trainer.framework import tensorflow
from facectl_trainer.objective import Classes, judge
from facectl_trainer.steps import Steps
from tiny_network import stage

tf_keras = pytest.importorskip("tf_keras")

PLAN = stage(rate=0.05, batch=16, epochs=12)


def clusters(count, seed, spread=0.3):
    """Three classes around three axes: features N × 5 and their truth."""
    random = np.random.default_rng(seed)
    truth = np.arange(count) % 3
    return (np.eye(3, 5)[truth] + random.normal(0, spread, (count, 5))).astype(np.float32), truth


def noise(count, seed):
    """Features that say nothing of their class."""
    features, truth = clusters(count, seed)
    return features, np.random.default_rng(seed + 100).permutation(truth)


def fitted(plan=PLAN, seed=0, train=None, val=None, dropout=0.0, advance=lambda _: None):
    """Give (the feed, what was met in each epoch, the history)."""
    layers = tf_keras.layers
    data = {"train": train or clusters(90, 1), "val": val or clusters(30, 2), "test": clusters(30, 3)}
    tf_keras.utils.set_random_seed(seed)
    head = [layers.Dropout(dropout, force_generator=True, input_shape=(5,)), layers.Dense(3, "softmax")]
    model = tf_keras.Sequential(head)
    rows, truth = ({part: each[place] for part, each in data.items()} for place in (0, 1))
    feed, met, position = Photographs(model, model, rows, truth, None), [], Position()
    hooks = Hooks(advance, lambda position, best: met.append((position.best_epoch, best)))
    steps = Steps(model, plan, Classes(), tensorflow().distribute.get_strategy())
    fit_stage(feed, plan, Task("head", Classes(), seed), steps, position, None, hooks)
    return feed, met, position.history


def test_classes_that_can_be_told_apart_are():
    feed, _, history = fitted()
    assert judge(predict(feed, "test"), feed.truth["test"])["val_accuracy"] > 0.9
    assert [row["epoch"] for row in history] == list(range(1, 13))
    assert history[-1]["loss"] < history[0]["loss"] / 2
    assert set(history[0]) == {"stage", "epoch", "rate", "loss", "accuracy", "val_loss", "val_accuracy", "seconds"}


@pytest.mark.parametrize("patience", [3, 100])
def test_the_best_epoch_on_val_is_kept(patience):
    plan = stage(rate=0.05, batch=16, epochs=20, patience=patience)
    feed, met, history = fitted(plan, val=noise(30, 2))
    losses = [row["val_loss"] for row in history]
    best = losses.index(min(losses))
    assert best < len(losses) - 1
    kept = judge(predict(feed, "val"), feed.truth["val"])["val_loss"]
    assert kept == pytest.approx(min(losses), rel=1e-6)
    assert kept < losses[-1]
    assert met[-1][0] == best + 1
    np.testing.assert_array_equal(met[-1][1][0], feed.judged.get_weights()[0])


def test_training_stops_when_val_no_longer_gains():
    ticks = []
    _, _, history = fitted(stage(rate=0.05, batch=16, epochs=300, patience=4), val=noise(30, 2), advance=ticks.append)
    losses = [row["val_loss"] for row in history]
    assert len(losses) < 60
    assert losses.index(min(losses)) == len(losses) - 1 - 4
    assert sum(ticks) == pytest.approx(len(losses))


def test_the_seed_decides_the_weights():
    plan = stage(rate=0.01, batch=16, epochs=3)
    (one, _, history), (again, _, same), (other, _, _) = (fitted(plan, seed, dropout=0.3) for seed in (7, 7, 8))
    ours, theirs, others = (feed.judged.get_weights() for feed in (one, again, other))
    assert [value.tobytes() for value in ours] == [value.tobytes() for value in theirs]
    assert [{**row, "seconds": 0} for row in history] == [{**row, "seconds": 0} for row in same]
    assert not np.allclose(ours[0], others[0])


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "rmsprop"])
def test_every_optimizer_learns_at_its_own_rate(optimizer):
    slow, fast = (stage(optimizer=optimizer, rate=rate, batch=16, epochs=3) for rate in (1e-6, 0.03))
    (_, _, lazy), (_, _, keen) = fitted(slow), fitted(fast)
    assert abs(lazy[-1]["val_loss"] - lazy[0]["val_loss"]) < 1e-3
    assert keen[-1]["val_loss"] < keen[0]["val_loss"] - 0.04


def test_a_cosine_falls_from_the_rate_to_nothing():
    plan = stage(rate=0.2, epochs=4, schedule="cosine")
    assert [rate_at(plan, epoch) for epoch in (0, 2, 4)] == pytest.approx([0.2, 0.1, 0])
    assert [row["rate"] for row in fitted(plan)[2]] == pytest.approx([rate_at(plan, epoch) for epoch in range(4)])
    assert {rate_at(PLAN, epoch) for epoch in range(9)} == {0.05}


def test_a_loss_that_is_no_number_is_an_error():
    features, truth = clusters(90, 1)
    features[5] = np.nan
    with pytest.raises(FacectlError, match=r"no number in epoch 1 of stage head; lower its rate \(0.05\)") as caught:
        fitted(train=(features, truth))
    assert "\n" not in str(caught.value)


def test_the_loss_of_val_by_hand():
    met = judge(np.array([[0.5, 0.5], [0.9, 0.1]], np.float32), np.array([0, 1]))
    assert met["val_loss"] == pytest.approx(-(math.log(0.5) + math.log(0.1)) / 2)
    assert met["val_accuracy"] == 0.5


def test_a_probability_that_underflowed_is_no_loss_without_bound():
    assert math.isfinite(judge(np.array([[0, 1]], np.float32), np.array([0]))["val_loss"])
    assert math.isnan(judge(np.array([[np.nan, 1]], np.float32), np.array([0]))["val_loss"])


def test_where_classes_count_alike_the_loss_on_val_counts_them_so_too():
    truth = np.array([0, 0, 0, 1])
    probabilities = np.array([[0.9, 0.1]] * 4, np.float32)
    assert judge(probabilities, truth)["val_loss"] == pytest.approx(-(3 * np.log(0.9) + np.log(0.1)) / 4, rel=1e-5)
    for balance in ("class_weights", "sampling"):
        loss = judge(probabilities, truth, balance)["val_loss"]
        assert loss == pytest.approx(-(np.log(0.9) + np.log(0.1)) / 2, rel=1e-5)
