"""The softmax head on frozen features, and its calibration."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from facectl_runtime.errors import FacectlError
from facectl_trainer.framework import seed_everything
from facectl_trainer.recipe import HeadPlan

Features = npt.NDArray[np.float32]
Truth = npt.NDArray[np.intp]

_LOG_T_DEVIATION = 0.5


@dataclass(frozen=True)
class Head:
    """A fitted softmax layer."""

    kernel: npt.NDArray[np.float32]
    """d × classes."""
    bias: npt.NDArray[np.float32]
    """classes."""

    def logits(self, features: Features) -> npt.NDArray[np.float32]:
        """Give N × classes for features N × d."""
        return np.asarray(features @ self.kernel + self.bias)

    def cooled(self, temperature: float) -> "Head":
        """Fold a temperature in: the head whose logits are this one's divided by it."""
        return Head(self.kernel / np.float32(temperature), self.bias / np.float32(temperature))


def fit_head(
    train: tuple[Features, Truth],
    val: tuple[Features, Truth],
    classes: int,
    plan: HeadPlan,
    seed: int,
    on_epoch: Callable[[int], None],
) -> tuple[Head, list[dict[str, float]]]:
    """Fit a softmax layer by cross-entropy, and give it with its history, one dict an epoch.

    Each of `train` and `val`: (N × d float32, N class indices). Training stops when the loss on val has not fallen for
    `plan.patience` epochs, and the best epoch's weights are restored. Raises `FacectlError` where the loss is NaN.
    """
    import tf_keras
    from tf_keras import layers

    seed_everything(seed)
    inputs = layers.Input((train[0].shape[1],))
    hidden = layers.Dropout(plan.dropout, seed=seed)(inputs) if plan.dropout else inputs
    model = tf_keras.Model(inputs, layers.Dense(classes, activation="softmax", name="probabilities")(hidden))
    optimizer = tf_keras.optimizers.get({"class_name": plan.optimizer, "config": {"learning_rate": plan.rate}})
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    callbacks = [
        tf_keras.callbacks.EarlyStopping("val_loss", patience=plan.patience, restore_best_weights=True),
        tf_keras.callbacks.TerminateOnNaN(),
        tf_keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: on_epoch(1)),
    ]
    fitted = model.fit(
        *train, validation_data=val, batch_size=plan.batch, epochs=plan.epochs, callbacks=callbacks, verbose=0
    )
    history = _rows(fitted.history)
    if not all(np.isfinite(value) for row in history for value in row.values()):
        raise FacectlError(f"the loss is no number after epoch {len(history)}; lower the head's rate ({plan.rate})")
    return Head(*model.get_layer("probabilities").get_weights()), history


def _rows(columns: dict[str, list[Any]]) -> list[dict[str, float]]:
    """Turn Keras's history, a list a measure, into a dict an epoch."""
    return [
        {"epoch": epoch, **{name: float(value) for name, value in zip(columns, values, strict=True)}}
        for epoch, values in enumerate(zip(*columns.values(), strict=True), start=1)
    ]


def fit_temperature(logits: npt.NDArray[np.floating], truth: Truth) -> float:
    """Give the temperature T for which softmax(logits / T) fits `truth` best; between 0.05 and 20.

    `logits`: N × classes. Source: Guo, Pleiss, Sun & Weinberger, On Calibration of Modern Neural Networks, ICML 2017.
    Where every image of val is answered rightly, the cross-entropy falls for ever as T goes to 0, and the model would
    be made as sure as can be on no evidence. So log T has a normal prior, mean 0 and deviation 0.5: it holds T near 1
    until the images say otherwise, and the cross-entropy on val never rises.
    """
    from scipy.optimize import minimize_scalar

    n = len(truth)
    found = minimize_scalar(
        lambda log_t: n * cross_entropy(logits / np.exp(log_t), truth) + log_t**2 / (2 * _LOG_T_DEVIATION**2),
        bounds=np.log([0.05, 20]),
        method="bounded",
    )
    return float(np.exp(found.x))


def cross_entropy(logits: npt.NDArray[np.floating], truth: Truth) -> float:
    """Give the mean of -log softmax(logits)[truth], in nats."""
    return float(-np.mean(log_softmax(logits)[np.arange(len(truth)), truth]))


def log_softmax(logits: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Give log softmax of each row, exact where the odds are beyond float32."""
    exact = np.asarray(logits, np.float64)
    shifted = exact - exact.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))
