"""Fitting: one stage of training, epoch by epoch, from any epoch on.

All that is random in an epoch is drawn from the seed, the stage and the epoch's number. So a training that is
continued from a checkpoint goes on as it would have gone uninterrupted.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from facectl_runtime.errors import FacectlError
from facectl_runtime.labelled import Part
from facectl_trainer.feed import Feed
from facectl_trainer.objective import Objective
from facectl_trainer.recipe import StagePlan
from facectl_trainer.steps import Steps, Sums

_PREDICT = 64  # images at once
_LEAST_GAIN = 1e-4  # nats; where every image of val is answered rightly, its loss falls by less and less for ever


class DivergedError(FacectlError):
    """The loss is no number."""


@dataclass
class Position:
    """Where a stage stands at the end of an epoch: all that a checkpoint needs beside the weights."""

    stage: int = 0
    epoch: int = 0
    """Epochs done in this stage."""
    best_epoch: int = 0
    best_loss: float | None = None
    """The least loss on val so far."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """A row an epoch, of all stages: stage, epoch, rate, loss, accuracy, val_loss, val_accuracy, seconds."""
    kept: dict[str, int] = field(default_factory=dict)
    """Of each stage done, the epoch whose weights were kept, as the history counts; 0 where none bettered val."""


@dataclass(frozen=True)
class Hooks:
    """What the loop tells its surroundings."""

    advance: Callable[[float], None]
    """Called with the share of an epoch that was just done."""
    epoch_done: Callable[[Position, list[Any]], None]
    """Called at the end of each epoch, with the best epoch's weights."""


@dataclass(frozen=True)
class Task:
    """What is the same in every epoch of a stage, beside its plan."""

    name: str
    """Of the stage, in the history."""
    objective: Objective
    seed: int
    fitted: bool = False
    """Whether a stage or a run fitted the network before: this one must better its loss, or leave it as it was."""


def fit_stage(
    feed: Feed,
    plan: StagePlan,
    task: Task,
    steps: Steps,
    position: Position,
    best: list[Any] | None,
    hooks: Hooks,
) -> None:
    """Train `steps.network` from `position` on, and leave it with the weights of the best epoch on val so far.

    `best` are the best weights so far, where epochs were done already. Raises `DivergedError` where the loss is NaN.
    """
    if best is None:
        best = feed.judged.get_weights()
        if task.fitted:
            position.best_loss = task.objective.judge(predict(feed, "val"), feed.truth["val"])["val_loss"]
    while position.epoch < plan.epochs and position.epoch - position.best_epoch < plan.patience:
        started = time.perf_counter()
        row = _epoch(feed, plan, task, steps, position, hooks.advance)
        row |= task.objective.judge(predict(feed, "val"), feed.truth["val"])
        row["seconds"] = round(time.perf_counter() - started, 3)
        if not all(np.isfinite([row["loss"], row["val_loss"]])):
            raise DivergedError(
                f"the loss is no number in epoch {position.epoch + 1} of stage {task.name}; "
                f"lower its rate ({plan.rate:g}) in the recipe"
            )
        position.epoch += 1
        position.history.append({"stage": task.name, "epoch": len(position.history) + 1, **row})
        if position.best_loss is None or row["val_loss"] < position.best_loss - _LEAST_GAIN:
            position.best_loss, position.best_epoch = row["val_loss"], position.epoch
            best = feed.judged.get_weights()
        hooks.epoch_done(position, best)
        task.objective.look(position.history)
    feed.judged.set_weights(best)
    before = len(position.history) - position.epoch
    position.kept[task.name] = before + position.best_epoch if position.best_epoch else 0


def _epoch(
    feed: Feed,
    plan: StagePlan,
    task: Task,
    steps: Steps,
    position: Position,
    advance: Callable[[float], None],
) -> dict[str, float]:
    random = np.random.default_rng([task.seed, position.stage, position.epoch])
    reseed_dropout(feed.judged, int(random.integers(2**31)))
    rate = rate_at(plan, position.epoch)
    steps.set_rate(rate)
    chosen, weights = task.objective.order(feed.truth["train"], partial(predict, feed, "train"), random)
    totals, step = np.zeros(4), plan.batch * task.objective.unit
    for start in range(0, len(chosen), step):
        batch = chosen[start : start + step]
        totals += steps.train(feed.examples(batch, random), feed.truth["train"][batch], weights[start : start + step])
        advance(len(batch) / len(chosen))
    total = Sums(*totals.tolist())
    return {"rate": rate, "loss": total.loss / total.weight, "accuracy": total.hits / total.n}


def rate_at(plan: StagePlan, epoch: int) -> float:
    """Give the learning rate of an epoch, counted from 0."""
    if plan.schedule == "cosine":
        return plan.rate * 0.5 * (1 + math.cos(math.pi * epoch / plan.epochs))
    if plan.schedule == "decay":
        return plan.rate * plan.decay**epoch
    return plan.rate


def reseed_dropout(model: Any, seed: int) -> None:
    """Set the state of every dropout layer's random numbers."""
    from tf_keras.layers import Dropout

    for number, layer in enumerate(layer for layer in model.layers if isinstance(layer, Dropout)):
        # Keras keeps the generator to itself, out of checkpoints and of every public name.
        layer._random_generator._generator.reset_from_seed(seed + number)


def predict(feed: Feed, part: Part, network: Any = None) -> npt.NDArray[np.float32]:
    """Give what `network` (by default the judged one) makes of a part, N × its output."""
    network = network or feed.judged
    n = len(feed.truth[part])
    rows = []
    for start in range(0, n, _PREDICT):
        inputs = feed.inputs(part, slice(start, min(start + _PREDICT, n)))
        rows.append(network.predict_on_batch(inputs if len(inputs) > 1 else inputs[0]))
    return np.concatenate(rows).astype(np.float32)
