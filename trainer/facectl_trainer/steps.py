"""Gradient steps: one optimizer on one network, on one device or on several."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from facectl_trainer.calibrate import Truth
from facectl_trainer.feed import Arrays
from facectl_trainer.framework import tensorflow
from facectl_trainer.recipe import StagePlan


class Sums(NamedTuple):
    """Totals over a batch."""

    loss: float
    """Cross-entropy times the examples' weights."""
    weight: float
    hits: float
    n: float


class Steps:
    """The trainable layers of a network, and the optimizer that moves them.

    `network` takes a list of arrays, N first, and gives probabilities N × classes. `strategy` is a
    `tf.distribute.Strategy`: each of its replicas takes an equal share of every batch.
    """

    def __init__(self, network: Any, plan: StagePlan, strategy: Any) -> None:
        tf = tensorflow()
        self.network, self._strategy, self._smoothing = network, strategy, plan.label_smoothing
        with strategy.scope():
            self.optimizer = _optimizer(plan)
            self.optimizer.build(network.trainable_variables)
        self._run = tf.function(self._everywhere, reduce_retracing=True)

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of the steps that follow."""
        self.optimizer.learning_rate = rate

    def train(self, inputs: Arrays, truth: Truth, weights: npt.NDArray[np.float32]) -> Sums:
        """Take one step on a batch."""
        replicas, n = self._strategy.num_replicas_in_sync, len(truth)
        if short := -len(truth) % replicas:  # every replica needs an equal share: repeat examples at no weight
            inputs = [np.concatenate([array, np.repeat(array[:1], short, axis=0)]) for array in inputs]
            truth = np.concatenate([truth, np.repeat(truth[:1], short)])
            weights = np.concatenate([weights, np.zeros(short, np.float32)])
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
            probabilities = self.network(inputs if len(inputs) > 1 else inputs[0], training=True)
            loss = tf.reduce_sum(weights * self._cross_entropy(truth, probabilities))
            # By the count, and not by the batch's own weights: a batch without a rare class must count less.
            mean = self._scaled(loss / n)
        gradients = tape.gradient(mean, self.network.trainable_variables)
        if self._half:
            gradients = self.optimizer.get_unscaled_gradients(gradients)
        self.optimizer.apply_gradients(zip(gradients, self.network.trainable_variables, strict=True))
        real = tf.cast(weights > 0, tf.float32)
        right = tf.cast(tf.equal(tf.argmax(probabilities, axis=1, output_type=tf.int32), truth), tf.float32)
        return loss, tf.reduce_sum(weights), tf.reduce_sum(right * real), tf.reduce_sum(real)

    def _cross_entropy(self, truth: Any, probabilities: Any) -> Any:
        import tf_keras

        tf = tensorflow()
        wanted = tf.one_hot(truth, probabilities.shape[-1])
        return tf_keras.losses.categorical_crossentropy(wanted, probabilities, label_smoothing=self._smoothing)

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
