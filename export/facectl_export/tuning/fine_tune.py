"""Short fine-tunings of a run that make its network easier to shrink, towards the trained model's own answers.

The trained model teaches: what is wanted of an exported file is that it answers as that one does, and the gate measures
just this. Sources: Hinton, Vinyals & Dean 2015, Distilling the Knowledge in a Neural Network (arXiv:1503.02531), at
temperature 1; Romero et al. 2015, FitNets (arXiv:1412.6550), whose hint is here the last feature map.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from facectl_export.measured import Tuning
from facectl_export.precision import Network
from facectl_export.tuning.fold import LOGITS, fold
from facectl_export.tuning.simulate import SIMULATIONS, Simulated
from facectl_runtime.errors import FacectlError, UsageError
from facectl_trainer.model import FEATURES

Pixels = npt.NDArray[np.uint8]
Answers = npt.NDArray[np.float32]
BATCH = 32
EPOCHS: dict[Network, int] = {"quantize-aware": 1, "pruned": 3, "clustered": 1}
"""Where it is not said."""
RATES: dict[Network, float] = {"quantize-aware": 5e-6, "pruned": 1e-4, "clustered": 2e-5}
"""Adam's, at the beginning; they fall to 0 by a half cosine."""
BACKBONES = (
    "efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2", "mobilenet_v2", "resnet50", "vgg16",
    "inception_v3", "inception_resnet_v1", "convnet", "convnet_bn",
)  # fmt: skip
"""Those whose layers the toolkit can wrap."""


@dataclass(frozen=True)
class Material:
    """What is learnt from, and what is judged by."""

    train: Sequence[Pixels]
    """Images as the network takes them, each uint8 height × width × 3."""
    val: Sequence[Pixels]
    truth: npt.NDArray[np.intp]
    """Class of each image of val."""


def check_backbone(name: str, network: Network) -> None:
    """Raise `UsageError` where the layers of a backbone cannot be fine-tuned so."""
    if name not in BACKBONES:
        raise UsageError(
            f"{name}: {network} fine-tuning does not know its layers; it does {', '.join(BACKBONES)}. Take int8 or "
            "fp16, or train with one of these"
        )


def fine_tune(
    model: Any,
    network: Network,
    material: Material,
    epochs: int | None,
    seed: int,
    advance: Callable[[float], None],
) -> tuple[Any, Tuning]:
    """Give a plain network of new weights, folded, and what the fine-tuning did.

    `model`: uint8 N × height × width × 3 → float32 N × size, taught by itself; it stays as it is. The weights kept are
    those of the epoch that is nearest to it on val; those it began with count as an epoch. `advance` is told the share
    that was done. Raises `FacectlError` where the loss is no number.
    """
    from facectl_trainer.framework import seed_everything

    started = time.perf_counter()
    seed_everything(seed, exactly=False)
    epochs = EPOCHS[network] if epochs is None else epochs
    folded = fold(model)
    wanted = _answers(model, material.val)
    steps = epochs * math.ceil(len(material.train) / BATCH)
    simulated = _simulated(folded, network, steps, material, seed)
    best = _learn(simulated, folded, RATES[network], material, wanted, epochs, seed, advance)
    simulated.model.set_weights(best)
    plain = simulated.strip()
    rows = [wanted, *(_answers(each, material.val) for each in (simulated.model, plain))]
    before, tuned, stripped = (float(np.mean(row.argmax(axis=1) == material.truth)) for row in rows)
    return plain, Tuning(network, epochs, before, tuned, stripped, round(time.perf_counter() - started, 1))


def _simulated(folded: Any, network: Network, steps: int, material: Material, seed: int) -> Simulated:
    """Put the simulation around a network, and what it needs to begin near it."""
    if network != "quantize-aware":
        simulated = SIMULATIONS[network](folded, steps)
        _freeze_norms(simulated.model)
        return simulated
    from facectl_export.tuning.correct import bias_corrected
    from facectl_export.tuning.fake_quant import observe_ranges

    some = _some(material, seed)
    simulated = SIMULATIONS[network](bias_corrected(folded, some), steps)
    _freeze_norms(simulated.model)
    observe_ranges(simulated.model, some)
    return simulated


def _freeze_norms(model: Any) -> None:
    """Let the statistics of the batch norms that could not be folded stay: a few batches would spoil them."""
    import tf_keras

    for layer in model.layers:
        inner = getattr(layer, "layer", layer)
        if isinstance(inner, tf_keras.layers.BatchNormalization):
            inner.trainable = False


def _some(material: Material, seed: int) -> list[Pixels]:
    """Give batches of training images to measure activations by."""
    chosen = np.random.default_rng(seed).permutation(len(material.train))[: 8 * BATCH]
    return [np.stack([material.train[i] for i in some]) for some in _batches(chosen)]


def _learn(
    simulated: Simulated,
    teacher: Any,
    highest: float,
    material: Material,
    wanted: Answers,
    epochs: int,
    seed: int,
    advance: Callable[[float], None],
) -> list[npt.NDArray[Any]]:
    """Train for `epochs`, and give the weights of the epoch whose answers to val are nearest to `wanted`."""
    model, random = simulated.model, np.random.default_rng(seed)
    step, rate = _stepper(model, teacher, highest)
    steps = epochs * math.ceil(len(material.train) / BATCH)
    best: list[npt.NDArray[Any]] = model.get_weights()
    done = 0
    least = math.inf if simulated.settles else _judged(model, material, wanted)
    for _ in range(epochs):
        mirrored = random.integers(0, 2, len(material.train))
        for chosen in _batches(random.permutation(len(material.train))):
            rate.assign(highest * 0.5 * (1 + math.cos(math.pi * done / steps)))
            loss = step(np.stack([material.train[i][:, :: 1 - 2 * mirrored[i]] for i in chosen]))
            if not math.isfinite(float(loss)):
                raise FacectlError(f"{model.name}: the loss of the fine-tuning is no number; use fewer --epochs")
            done += 1
            advance(1 / steps)
        distance = _judged(model, material, wanted)
        if done >= simulated.settles * steps and distance < least:
            best, least = model.get_weights(), distance
    return best


def _judged(model: Any, material: Material, wanted: Answers) -> float:
    """Give the mean distance from the answers wanted on val."""
    return float(np.mean(_distance(wanted, _answers(model, material.val))))


def _distance(wanted: Any, given: Any) -> Any:
    """Give, for each row, KL(wanted ‖ given) in nats of probabilities."""
    import tf_keras

    return tf_keras.losses.kl_divergence(wanted, given)


def _stepper(model: Any, teacher: Any, rate: float) -> tuple[Callable[[Pixels], Any], Any]:
    """Give a function that takes one step on pixels (N × height × width × 3) and gives the loss, and its learning rate.

    The loss is the distance between the answers, and beside it the squared difference of the last feature maps as a
    share of their mean square: a few hundred images of a few classes say little by their answers alone.
    """
    import tensorflow as tf
    import tf_keras

    optimizer = tf_keras.optimizers.Adam(rate)
    optimizer.build(model.trainable_variables)
    student, taught = _with_features(model), _with_features(teacher)

    # Of any number of images: to trace it anew for the last, smaller batch takes as long as five steps.
    pixels = tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8)

    @tf.function(input_signature=[pixels])  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def step(pixels: Any) -> Any:
        features, answers = taught(pixels, training=False)
        with tf.GradientTape() as tape:
            own_features, own_answers = student(pixels, training=True)
            off = tf.reduce_mean(tf.square(own_features - features)) / tf.reduce_mean(tf.square(features))
            loss = tf.reduce_mean(_distance(answers, own_answers)) + off
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    return step, optimizer.learning_rate


def _with_features(model: Any) -> Any:
    """Give a network of the same layers that gives (last feature map, answers); the vector where there is no map."""
    import tf_keras

    layers = {getattr(layer, "layer", layer).name: layer for layer in model.layers}
    taken = layers.get(FEATURES) or layers[LOGITS]
    return tf_keras.Model(model.input, [taken.input, model.output])


def _batches(order: npt.NDArray[np.intp]) -> Iterator[npt.NDArray[np.intp]]:
    for start in range(0, len(order), BATCH):
        yield order[start : start + BATCH]


def _answers(model: Any, images: Sequence[Pixels]) -> Answers:
    rows = [model.predict_on_batch(np.stack(images[start : start + BATCH])) for start in range(0, len(images), BATCH)]
    return np.concatenate(rows).astype(np.float32)
