"""What training makes smaller: the order of an epoch, the loss of a batch, and how val is judged."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from facectl_trainer.calibrate import Truth
from facectl_trainer.feed import Indices
from facectl_trainer.framework import tensorflow
from facectl_trainer.recipe import Balance

Floats = npt.NDArray[np.float32]


class Objective(Protocol):
    """What a stage is for."""

    @property
    def unit(self) -> int:
        """So many examples, one after the other, are one term of the loss."""

    def order(self, truth: Truth, answers: Callable[[], Floats], random: np.random.Generator) -> tuple[Indices, Floats]:
        """Give an epoch's examples in their order, and the weight of each in the loss.

        `truth`: class indices of the train part; `answers` computes what the network now makes of it, N × output.
        """

    def loss(self, truth: Any, answers: Any) -> tuple[Any, Any]:
        """Give the loss of each unit of a batch, and whether it was right: two tensors. `answers`: N × output."""

    def judge(self, answers: Floats, truth: Truth) -> Mapping[str, float]:
        """Give `val_loss`, `val_accuracy` and what else an epoch is to be known by."""

    def look(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Look at the epochs so far. Raises `FacectlError` where going on is in vain."""


@dataclass(frozen=True)
class Classes:
    """The right class: cross-entropy."""

    balance: Balance = "none"
    smoothing: float = 0.0
    unit: int = 1

    def order(
        self,
        truth: Truth,
        answers: Callable[[], Floats],  # noqa: ARG002
        random: np.random.Generator,
    ) -> tuple[Indices, Floats]:
        """Give a random order."""
        return order(truth, int(truth.max()) + 1, self.balance, random)

    def loss(self, truth: Any, answers: Any) -> tuple[Any, Any]:
        """Give the cross-entropy in nats."""
        import tf_keras

        tf = tensorflow()
        wanted = tf.one_hot(truth, answers.shape[-1])
        loss = tf_keras.losses.categorical_crossentropy(wanted, answers, label_smoothing=self.smoothing)
        return loss, tf.equal(tf.argmax(answers, axis=1, output_type=tf.int32), truth)

    def judge(self, answers: Floats, truth: Truth) -> Mapping[str, float]:
        """Give the mean cross-entropy in nats, and the accuracy."""
        return judge(answers, truth, self.balance)

    def look(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Have nothing to add: a loss that is no number is noticed by who fits."""


def judge(probabilities: Floats, truth: Truth, balance: Balance = "none") -> Mapping[str, float]:
    """Give `val_loss`, the mean cross-entropy in nats, and `val_accuracy`.

    Where training counts every class alike, the loss does so too: the best epoch is then not the one that neglects the
    rare classes.
    """
    likelihood = probabilities[np.arange(len(truth)), truth].astype(np.float64)
    # A probability that underflowed is not a loss without bound; NaN stays NaN.
    weights = None if balance == "none" else class_weights(truth)
    loss = -np.average(np.log(np.maximum(likelihood, 1e-12)), weights=weights)
    return {"val_loss": float(loss), "val_accuracy": float(np.mean(probabilities.argmax(axis=1) == truth))}


def class_weights(truth: Truth) -> Floats:
    """Give each example N / (classes × its class's count): classes count alike then, and the mean is 1."""
    counts = np.bincount(truth)
    return (len(truth) / (np.count_nonzero(counts) * counts[truth])).astype(np.float32)


def order(truth: Truth, classes: int, balance: Balance, random: np.random.Generator) -> tuple[Indices, Floats]:
    """Give an epoch's examples in random order, and the weight of each in the loss.

    With `class_weights`, an example weighs as the function of that name says. With `sampling`, every class is drawn
    equally often, N / classes times, rounded up: rare ones are repeated, each round of them in a new order.
    """
    n = len(truth)
    if balance != "sampling":
        weights = class_weights(truth) if balance == "class_weights" else np.ones(n, np.float32)
        shuffled = random.permutation(n)
        return shuffled, weights[shuffled]
    drawn = [_rounds(np.flatnonzero(truth == label), -(-n // classes), random) for label in range(classes)]
    chosen = random.permutation(np.concatenate(drawn))
    return chosen, np.ones(len(chosen), np.float32)


def _rounds(members: Indices, count: int, random: np.random.Generator) -> Indices:
    rounds = [random.permutation(members) for _ in range(-(-count // len(members)))]
    return np.concatenate(rounds)[:count]
