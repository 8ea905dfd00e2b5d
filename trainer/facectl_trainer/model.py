"""What is trained as one flat Keras model, and that model in two: a frozen trunk and the tail that is trained."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from facectl_runtime.errors import UsageError, did_you_mean
from facectl_trainer.backbones import Backbone
from facectl_trainer.framework import tensorflow
from facectl_trainer.recipe import ALL, HEAD, EmbedPlan, FeaturesPlan, HeadPlan, Recipe
from facectl_trainer.weights import Found, Preprocess

FEATURES, PROBABILITIES, EMBEDDING = "features", "probabilities", "embedding"
_OWN = "classifier_"  # how the names of the head's other layers begin
_BATCH_NORM = f"{_OWN}bn"
Floats = npt.NDArray[np.float32]


def assemble(
    body: Backbone, recipe: Recipe, classes: int, preprocess: Preprocess, values: Path | None = None, seed: int = 0
) -> Any:
    """Join a backbone and a head: uint8 N × side × side × 3 (RGB, 0 to 255) → float32 N × classes, rows of sum 1.

    Of a recipe for embeddings, which has no `classes`: → float32 N × d, rows of L2 norm 1. `values` is a file of the
    backbone's pretrained weights, which take pixels scaled by `preprocess`; without, they are random, as the head's
    are. Raises `UsageError` for a side, layer or grid that the backbone has not.
    """
    import tf_keras

    side = input_side(body, recipe)
    network = body.build(side, preprocess, values)
    features = _pool(_cut(network, body, recipe.features.layer), recipe.features, body)
    answer = _embedding(features, recipe.embed) if recipe.embed else _head(features, recipe.head, classes, seed)
    return tf_keras.Model(network.input, answer, name=body.name)


def pretrained(body: Backbone, recipe: Recipe, found: Found | None, classes: int, seed: int = 0) -> Any:
    """Assemble the model with the pretrained weights found, or from scratch where there are none."""
    preprocess = found.weights.preprocess if found else body.preprocess
    return assemble(body, recipe, classes, preprocess, found.path if found else None, seed)


def input_side(body: Backbone, recipe: Recipe) -> int:
    """Give the input's width and height in pixels. Raises `UsageError` where the backbone takes no such size."""
    side = recipe.side or body.side
    if side < body.smallest:
        raise UsageError(f"side {side}: {body.name} takes {body.smallest} pixels or more; its own is {body.side}")
    return side


def _cut(network: Any, body: Backbone, layer: str | None) -> Any:
    if layer is None:
        return network.output
    names = [each.name for each in network.layers]
    if layer not in names:
        raise UsageError(
            f"features.layer {layer!r}: {body.name} has no such layer{did_you_mean(layer, names)}; "
            f"its last are {', '.join(names[-4:])}"
        )
    return network.get_layer(layer).output


def _pool(x: Any, plan: FeaturesPlan, body: Backbone) -> Any:
    """Make a vector of each map; what is a vector already stays."""
    from tf_keras import layers

    if len(x.shape) == 2:
        return x
    if plan.grid == 1:
        return layers.GlobalAveragePooling2D(name=FEATURES)(x)
    height, width = x.shape[1:3]
    if plan.grid > min(height, width):
        raise UsageError(f"features.grid {plan.grid}: the map of {body.name} is {height} × {width} there; use less")
    if plan.grid:
        strides = height // plan.grid, width // plan.grid
        cells = tuple(side - (plan.grid - 1) * stride for side, stride in zip((height, width), strides, strict=True))
        x = layers.AveragePooling2D(cells, strides, name=f"{FEATURES}_grid")(x)
    return layers.Flatten(name=FEATURES)(x)


def _head(x: Any, plan: HeadPlan, classes: int, seed: int) -> Any:
    from tf_keras import layers

    if plan.batch_norm:
        x = layers.BatchNormalization(name=_BATCH_NORM)(x)
    for number, width in enumerate(plan.hidden, start=1):
        x = layers.Dense(width, activation="relu", name=f"{_OWN}dense{number}")(_dropout(x, plan, number, seed))
    x = _dropout(x, plan, len(plan.hidden) + 1, seed)
    # float32 whatever the policy: half precision cannot hold the sum of many small probabilities
    return layers.Dense(classes, activation="softmax", dtype="float32", name=PROBABILITIES)(x)


def _embedding(x: Any, plan: EmbedPlan) -> Any:
    from tf_keras import layers

    for number, layer in enumerate(plan.layers, start=1):
        x = layers.Dense(layer.width, activation=layer.activation, name=f"{EMBEDDING}_dense{number}")(x)
        if layer.norm and number < len(plan.layers):
            x = layers.UnitNormalization(dtype="float32", name=f"{EMBEDDING}_norm{number}")(x)
    # float32 whatever the policy: half precision cannot hold a sum of many squares, nor 1 / 0 made finite
    return layers.UnitNormalization(dtype="float32", name=EMBEDDING)(x)


def _dropout(x: Any, plan: HeadPlan, number: int, seed: int) -> Any:
    """Drop features by a generator whose state is a variable, so that a checkpoint holds it."""
    from tf_keras import layers

    if not plan.dropout:
        return x
    return layers.Dropout(plan.dropout, seed=seed + number, force_generator=True, name=f"{_OWN}dropout{number}")(x)


def begins_at(model: Any, train: str) -> int:
    """Give the index of the first layer that a stage trains. Raises `UsageError` for a layer that is not there."""
    names = [layer.name for layer in model.layers]
    if train == ALL:
        return 0
    if train == HEAD:
        return next(index for index, name in enumerate(names) if name.startswith((_OWN, PROBABILITIES, EMBEDDING)))
    if train not in names:
        raise UsageError(
            f"train = {train!r}: {model.name} has no such layer{did_you_mean(train, [HEAD, ALL, *names])}; "
            f"use {HEAD}, {ALL} or a layer's name, such as {names[-8:][0]}"
        )
    return names.index(train)


def unfreeze(model: Any, first: int, batch_norm: bool) -> None:
    """Let the layers from `first` on be trained, and no others.

    A pretrained batch norm keeps its statistics: a few small batches would spoil them. The head's own is trained, and
    with `batch_norm` all are, as training from scratch needs.
    """
    from tf_keras.layers import BatchNormalization

    for index, layer in enumerate(model.layers):
        fixed = isinstance(layer, BatchNormalization) and not (batch_norm or layer.name == _BATCH_NORM)
        layer.trainable = index >= first and not fixed


@dataclass(frozen=True)
class Halves:
    """A model in two: `tail(trunk(pixels))` is the model, and both share its layers."""

    trunk: Any
    """uint8 N × H × W × 3 → a list of float32 tensors."""
    tail: Any
    """Those tensors → probabilities."""
    shapes: tuple[tuple[int, ...], ...]
    """Of the tensors between, without the batch."""
    name: str
    """Of the model."""

    @property
    def size(self) -> int:
        """Count the values between the two of one image."""
        return sum(int(np.prod(shape)) for shape in self.shapes)

    @cached_property
    def vectors(self) -> Callable[[npt.NDArray[np.uint8]], Floats]:
        """The trunk as one graph: uint8 N × H × W × 3 → N × size. Keras's `predict_on_batch` is slower by a tenth."""
        tf = tensorflow()
        given = tf.TensorSpec(self.trunk.input_shape, tf.uint8)
        graph = tf.function(lambda pixels: self.trunk(pixels, training=False), input_signature=[given])
        return lambda pixels: self.flat([tensor.numpy() for tensor in tf.nest.flatten(graph(pixels))])

    def flat(self, tensors: Any) -> Floats:
        """Join the tensors between to N × size."""
        return np.concatenate([np.reshape(tensor, (len(tensor), -1)) for tensor in tensors], axis=1)

    def parted(self, rows: Floats) -> list[Floats]:
        """Undo `flat`."""
        ends = np.cumsum([int(np.prod(shape)) for shape in self.shapes])[:-1]
        pieces = np.split(rows, ends, axis=1)
        return [piece.reshape(-1, *shape) for piece, shape in zip(pieces, self.shapes, strict=True)]


def halve(model: Any, first: int) -> Halves:
    """Cut a flat model before its layer of index `first`, which is not its input."""
    import tf_keras

    before = {id(layer) for layer in model.layers[:first]}
    crossing: dict[int, Any] = {}
    for layer in model.layers[first:]:
        for tensor in _inputs(layer):
            if id(tensor.node.layer) in before:
                crossing[id(tensor)] = tensor
    tensors = list(crossing.values())
    return Halves(
        tf_keras.Model(model.input, tensors, name="trunk"),
        tf_keras.Model(tensors, model.output, name="tail"),
        tuple(tuple(tensor.shape[1:]) for tensor in tensors),
        model.name,
    )


def _inputs(layer: Any) -> list[Any]:
    """Give what a layer takes in the model it was made for; a model cut from that one adds uses of its own."""
    first = layer.get_input_at(0)
    return list(first) if isinstance(first, list | tuple) else [first]


def digest(model: Any) -> str:
    """Give a SHA-256 over a model's layers, their wiring and their values: two models of one digest give one answer."""
    total = hashlib.sha256()
    for layer in model.layers:
        config = {key: value for key, value in layer.get_config().items() if key != "trainable"}
        wiring = [tensor.node.layer.name for tensor in _inputs(layer)]
        total.update(json.dumps([type(layer).__name__, config, wiring], sort_keys=True, default=str).encode())
        for value in layer.get_weights():
            total.update(np.ascontiguousarray(value).data)
    total.update(json.dumps([tensor.node.layer.name for tensor in model.outputs]).encode())
    return total.hexdigest()
