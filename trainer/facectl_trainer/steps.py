"""Gradient steps: one optimizer on one network, on one device or on several."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from facectl_trainer.calibrate import Truth
from facectl_trainer.feed import Arrays
from facectl_trainer.framework import tensorflow
from facectl_trainer.objective import Objective
from facectl_trainer.recipe import StagePlan


class Sums(NamedTuple):
    """Totals over a batch."""

    loss: float
    """Of the objective, times the weights."""
    weight: float
    hits: float
    n: float
    """Units of the objective: examples, or triplets of them."""


class Steps:
    """The trainable layers of a network, and the optimizer that moves them.

    `network` takes a list of arrays, N first, and gives answers N × output, which `objective` judges. `strategy` is a
    `tf.distribute.Strategy`: each of its replicas takes an equal share of every batch.
    """

    def __init__(self, network: Any, plan: StagePlan, objective: Objective, strategy: Any) -> None:
        tf = tensorflow()
        self.network, self._objective, self._strategy = network, objective, strategy
        with strategy.scope():
            self.optimizer = _optimizer(plan)
            self.optimizer.build(network.trainable_variables)
        self._run = tf.function(self._everywhere, reduce_retracing=True)

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of the steps that follow."""
        self.optimizer.learning_rate = rate

    def train(self, inputs: Arrays, truth: Truth, weights: npt.NDArray[np.float32]) -> Sums:
        """Take one step on a batch of whole units."""
        unit = self._objective.unit
        replicas, n = self._strategy.num_replicas_in_sync, len(truth) // unit
        if short := -n % replicas:  # every replica needs an equal share: repeat the first unit at no weight
            again = np.tile(np.arange(unit), short)
            inputs = [np.concatenate([array, array[again]]) for array in inputs]
            truth = np.concatenate([truth, truth[again]])
            weights = np.concatenate([weights, np.zeros(len(again), np.float32)])
        batch = ([*inputs], truth.astype(np.int32), weights)
        total = self._run(self._shared(batch), np.float32(n))
        return Sums(*(float(value) for value in total))

    def _shared(self, batch: Any) -> Any:
        tf, replicas = tensorflow(), self._strategy.num_replicas_in_sync
        if replicas == 1:
            return tf.nest.map_structure(tf.convert_to_tensor, batch)

        def share(context: Any) -> Any:
            return tf.nest.map_structure(
                lambda array: np.split(array, replicas)[context.replica_id_in_sync_group], batch
            )

        return self._strategy.experimental_distribute_values_from_function(share)

    def _everywhere(self, batch: Any, n: Any) -> Any:
        sums = self._strategy.run(self._step, args=(batch, n))
        return [self._strategy.reduce("SUM", each, axis=None) for each in sums]

    def _step(self, batch: Any, n: Any) -> Any:
        tf = tensorflow()
        inputs, truth, weights = batch
        with tf.GradientTape() as tape:
            answers = self.network(inputs if len(inputs) > 1 else inputs[0], training=True)
            losses, right = self._objective.loss(truth, answers)
            weights = weights[:: self._objective.unit]
            loss = tf.reduce_sum(weights * losses)
            # By the count, and not by the batch's own weights: a batch without a rare class must count less.
            mean = self._scaled(loss / n)
        gradients = tape.gradient(mean, self.network.trainable_variables)
        if self._half:
            gradients = self.optimizer.get_unscaled_gradients(gradients)
        self.optimizer.apply_gradients(zip(gradients, self.network.trainable_variables, strict=True))
        real = tf.cast(weights > 0, tf.float32)
        return loss, tf.reduce_sum(weights), tf.reduce_sum(tf.cast(right, tf.float32) * real), tf.reduce_sum(real)

    @property
    def _half(self) -> bool:
        return hasattr(self.optimizer, "get_scaled_loss")

    def _scaled(self, loss: Any) -> Any:
        return self.optimizer.get_scaled_loss(loss) if self._half else loss


def _optimizer(plan: StagePlan) -> Any:
    import tf_keras

    options: dict[str, Any] = {"learning_rate": plan.rate}
    if plan.optimizer in ("sgd", "rmsprop"):
        options["momentum"] = plan.momentum
    if plan.optimizer == "adamw":
        options["weight_decay"] = plan.weight_decay
    optimizers = tf_keras.optimizers
    kinds = {"adam": optimizers.Adam, "adamw": optimizers.AdamW, "rmsprop": optimizers.RMSprop, "sgd": optimizers.SGD}
    optimizer = kinds[plan.optimizer](**options)
    if tf_keras.mixed_precision.global_policy().name == "mixed_float16":
        return tf_keras.mixed_precision.LossScaleOptimizer(optimizer)
    return optimizer
