"""Networks of `tf_keras.applications` up to their last feature map, with their preprocessing in front, as flat graphs.

Sources: MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381), MobileNetV3 (Howard et al. 2019, arXiv:1905.02244),
ResNet50 (He et al. 2015, arXiv:1512.03385), VGG16 (Simonyan & Zisserman 2014, arXiv:1409.1556), InceptionV3 (Szegedy et
al. 2015, arXiv:1512.00567), EfficientNet-B0 (Tan & Le 2019, arXiv:1905.11946).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from facectl_runtime.errors import ModelError
from facectl_trainer.backbones.hdf5 import Values, read_layers, set_values
from facectl_trainer.backbones.preprocess import IMAGENET_DEVIATION, IMAGENET_MEAN, image_input, preprocessed

if TYPE_CHECKING:
    import tf_keras

    from facectl_trainer.weights import Preprocess

APPLICATIONS: Mapping[str, tuple[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "mobilenet_v2": ("MobileNetV2", {}),
        "mobilenet_v3": ("MobileNetV3Large", {"include_preprocessing": False}),
        "resnet50": ("ResNet50", {}),
        "vgg16": ("VGG16", {}),
        "inception_v3": ("InceptionV3", {}),
        "efficientnet_b0": ("EfficientNetB0", {}),
    }
)
"""By our name: the name in `tf_keras.applications`, and what is passed to it besides."""


def build(name: str, side: int, preprocess: Preprocess, weights: Path | None = None) -> tf_keras.Model:
    """Make the network: uint8 N x side x side x 3 (RGB) to its last feature map, float32 N x height x width x channels.

    Layers have the names they have in a process that builds this network alone, however often it was built before.

    Raises:
        ModelError: `weights` is no readable `.h5` file, or has not the network's layers and shapes.
    """
    from tf_keras import Model, applications

    file = read_layers(weights) if weights else {}  # first: a file that is none is said at once
    image = image_input(side)
    application, options = APPLICATIONS[name]
    make = getattr(applications, application)
    network = make(
        include_top=False,
        weights=None,
        input_shape=(side, side, 3),
        input_tensor=preprocessed(image, preprocess),
        **options,
    )
    if name == "efficientnet_b0":
        network = _without_normalization(network)
    _number_from_zero(network)
    _seed_dropout(network)
    if weights is not None:
        _load(network, file, weights, name)
        if preprocess == "caffe":
            _swap_red_and_blue(network)
    return Model(network.inputs, network.outputs[0], name=name)


def _number_from_zero(network: tf_keras.Model) -> None:
    """Rename `conv2d_17`, whose number counts all layers ever made, to what it is in a fresh process.

    A model keeps its nodes by the names that layers had when it was made: clone none before making it anew.
    """
    numbered: dict[str, list[tuple[int, Any]]] = {}
    for layer in network.layers:
        base, number = _automatic_name(layer)
        if base:
            numbered.setdefault(base, []).append((number, layer))
    for base, layers in numbered.items():
        for index, (_, layer) in enumerate(sorted(layers, key=lambda pair: pair[0])):
            layer._name = f"{base}_{index}" if index else base


def _automatic_name(layer: tf_keras.layers.Layer) -> tuple[str, int]:
    """Split the name that Keras gave a layer into base and number; an empty base where an author named it."""
    base, number = re.fullmatch(r"(.+?)(?:_(\d+))?", layer.name).groups()  # type: ignore[union-attr]
    kind = re.sub(r"([a-z])([A-Z])", r"\1_\2", re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", type(layer).__name__)).lower()
    return (base, int(number or 0)) if base == kind or base.startswith("tf.") else ("", 0)


def _seed_dropout(network: tf_keras.Model) -> None:
    """Give each dropout a generator of its own, so that its state can be kept with a training's."""
    from tf_keras import layers

    for layer in network.layers:
        if isinstance(layer, layers.Dropout):
            generator = layer._random_generator
            generator._rng_type, generator._built = generator.RNG_STATEFUL, False
            generator._maybe_init()


def _load(network: tf_keras.Model, file: dict[str, Values], path: Path, name: str) -> None:
    """Set the values of the layers in order, as Keras does: the names in a file depend on who wrote it."""
    if name == "efficientnet_b0":
        file = _drop_statistics(file, path)
    layers = [layer for layer in network.layers if layer.weights]
    if len(file) != len(layers):
        raise ModelError(
            f"{path}: {len(file)} layers with values, not {len(layers)}; these are not the weights of {name}"
        )
    for layer, values in zip(layers, file.values(), strict=True):
        set_values(layer, values, path)


def _swap_red_and_blue(network: tf_keras.Model) -> None:
    """Make a first convolution that was trained on blue, green, red take red, green, blue."""
    from tf_keras import layers

    first = next(layer for layer in network.layers if isinstance(layer, layers.Conv2D))
    kernel, *bias = first.get_weights()
    first.set_weights([kernel[:, :, ::-1], *bias])


def _without_normalization(network: tf_keras.Model) -> tf_keras.Model:
    """Put a Rescaling by ImageNet's mean and deviation in the place of EfficientNet-B0's Normalization.

    tf2onnx takes the statistics of a Normalization for inputs of the graph.
    """
    from tf_keras import layers, models

    def clone(layer: Any) -> Any:
        if not isinstance(layer, layers.Normalization):
            return layer.__class__.from_config(layer.get_config())
        scale = [1 / deviation for deviation in IMAGENET_DEVIATION]
        offset = [-mean / deviation for mean, deviation in zip(IMAGENET_MEAN, IMAGENET_DEVIATION, strict=True)]
        return layers.Rescaling(scale, offset, name="normalization", dtype="float32")

    return models.clone_model(network, clone_function=clone)


def _drop_statistics(file: dict[str, Values], path: Path) -> dict[str, Values]:
    """Leave out the file's first layer: the statistics of EfficientNet-B0's Normalization, constants of the graph here.

    The variance in the official file is ImageNet's deviation: with `weights="imagenet"`, tf_keras divides once more by
    its square root.

    Raises:
        ModelError: the layer is not there, or its statistics are others.
    """
    name, values = next(iter(file.items()), ("", []))
    known = [value.shape for value in values] == [(3,), (3,), ()] and np.allclose(
        values[:2], [IMAGENET_MEAN, IMAGENET_DEVIATION], rtol=1e-3
    )
    if not known:
        raise ModelError(
            f"{path}: does not begin with ImageNet's mean and deviation; these are not the weights of efficientnet_b0"
        )
    return {other: file[other] for other in file if other != name}
