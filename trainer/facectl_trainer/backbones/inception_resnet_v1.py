"""InceptionResNetV1 as FaceNet has it, as a flat graph without Lambda layers, and FaceNet's values for it.

Sources: Szegedy et al., Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning, AAAI 2017
(arXiv:1602.07261); Schroff et al., FaceNet, CVPR 2015 (arXiv:1503.03832); the layout is that of David Sandberg's
facenet (github.com/davidsandberg/facenet, MIT). A layer is named as in the Keras file of those values, in small
letters: `block35_1_…` to `block8_6_…`, `mixed_6a`, `mixed_7a`, `bottleneck`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from facectl_runtime.errors import ModelError
from facectl_trainer.backbones.hdf5 import Values, read_layers, set_values
from facectl_trainer.backbones.preprocess import image_input, preprocessed

if TYPE_CHECKING:
    import tf_keras

    from facectl_trainer.weights import Preprocess

SIDE, SMALLEST = 160, 75
FEATURES = 128

_Branch = tuple[tuple[str, int, tuple[int, int]], ...]
"""Convolutions one after the other: name, channels, kernel."""

_BLOCK35: tuple[_Branch, ...] = (
    (("conv2d_1x1", 32, (1, 1)),),
    (("conv2d_0a_1x1", 32, (1, 1)), ("conv2d_0b_3x3", 32, (3, 3))),
    (("conv2d_0a_1x1", 32, (1, 1)), ("conv2d_0b_3x3", 32, (3, 3)), ("conv2d_0c_3x3", 32, (3, 3))),
)
_BLOCK17: tuple[_Branch, ...] = (
    (("conv2d_1x1", 128, (1, 1)),),
    (("conv2d_0a_1x1", 128, (1, 1)), ("conv2d_0b_1x7", 128, (1, 7)), ("conv2d_0c_7x1", 128, (7, 1))),
)
_BLOCK8: tuple[_Branch, ...] = (
    (("conv2d_1x1", 192, (1, 1)),),
    (("conv2d_0a_1x1", 192, (1, 1)), ("conv2d_0b_1x3", 192, (1, 3)), ("conv2d_0c_3x1", 192, (3, 1))),
)
_MIXED_6A: tuple[_Branch, ...] = (
    (("conv2d_1a_3x3", 384, (3, 3)),),
    (("conv2d_0a_1x1", 192, (1, 1)), ("conv2d_0b_3x3", 192, (3, 3)), ("conv2d_1a_3x3", 256, (3, 3))),
)
_MIXED_7A: tuple[_Branch, ...] = (
    (("conv2d_0a_1x1", 256, (1, 1)), ("conv2d_1a_3x3", 384, (3, 3))),
    (("conv2d_0a_1x1", 256, (1, 1)), ("conv2d_1a_3x3", 256, (3, 3))),
    (("conv2d_0a_1x1", 256, (1, 1)), ("conv2d_0b_3x3", 256, (3, 3)), ("conv2d_1a_3x3", 256, (3, 3))),
)

_SCALES = {
    **{f"block35_{index}": 0.17 for index in range(1, 6)},
    **{f"block17_{index}": 0.1 for index in range(1, 11)},
    **{f"block8_{index}": 0.2 for index in range(1, 6)},
    "block8_6": 1.0,
}
"""What each block's residual is multiplied by before it is added."""


def build(side: int, preprocess: Preprocess, weights: Path | None = None) -> tf_keras.Model:
    """Make the network: uint8 N x side x side x 3 (RGB) to float32 N x 128, an embedding not yet of norm 1.

    A block's residual scale lies in the values of the linear convolution before the sum. FaceNet's are multiplied by it
    as they are read; random ones are drawn from Glorot's distribution times the scale, so that a training from scratch
    starts as it would with the scale in the graph, and the sum of 21 blocks does not grow.

    Raises:
        ModelError: `weights` is no readable `.h5` file, or has not the network's layers and shapes.
    """
    from tf_keras import Model, layers

    file = read_layers(weights) if weights else {}  # first: a file that is none is said at once
    image = image_input(side)
    x = _stem(preprocessed(image, preprocess))
    for name in _SCALES:
        if name == "block17_1":
            x = _reduction(x, "mixed_6a", _MIXED_6A)
        if name == "block8_1":
            x = _reduction(x, "mixed_7a", _MIXED_7A)
        x = _residual(x, name)
    x = layers.GlobalAveragePooling2D(name="avgpool")(x)
    # As the original was trained; a generator of its own, so that its state can be kept with a training's.
    x = layers.Dropout(0.2, force_generator=True, name="dropout")(x)
    x = _normalize(layers.Dense(FEATURES, use_bias=False, name="bottleneck")(x), "bottleneck")
    model = Model(image, x, name="inception_resnet_v1")
    if weights is not None:
        _load(model, file, weights)
    return model


def _stem(x: Any) -> Any:
    from tf_keras import layers

    x = _convolve(x, "conv2d_1a_3x3", 32, (3, 3), stride=2, padding="valid")
    x = _convolve(x, "conv2d_2a_3x3", 32, (3, 3), padding="valid")
    x = _convolve(x, "conv2d_2b_3x3", 64, (3, 3))
    x = layers.MaxPooling2D(3, 2, name="maxpool_3a_3x3")(x)
    x = _convolve(x, "conv2d_3b_1x1", 80, (1, 1), padding="valid")
    x = _convolve(x, "conv2d_4a_3x3", 192, (3, 3), padding="valid")
    return _convolve(x, "conv2d_4b_3x3", 256, (3, 3), stride=2, padding="valid")


def _residual(x: Any, name: str) -> Any:
    from tf_keras import initializers, layers

    branches = {"block35": _BLOCK35, "block17": _BLOCK17, "block8": _BLOCK8}[name.split("_")[0]]
    y = layers.Concatenate(name=f"{name}_concatenate")(_branches(x, name, branches))
    # Glorot's uniform distribution times the residual scale
    initial = initializers.VarianceScaling(_SCALES[name] ** 2, mode="fan_avg", distribution="uniform")
    y = layers.Conv2D(x.shape[-1], 1, kernel_initializer=initial, name=f"{name}_conv2d_1x1")(y)
    x = layers.Add(name=f"{name}_add")([x, y])
    return x if name == "block8_6" else layers.ReLU(name=f"{name}_relu")(x)


def _reduction(x: Any, name: str, branches: tuple[_Branch, ...]) -> Any:
    """Halve height and width."""
    from tf_keras import layers

    pooled = layers.MaxPooling2D(3, 2, name=f"{name}_branch_{len(branches)}_maxpool_1a_3x3")(x)
    return layers.Concatenate(name=name)([*_branches(x, name, branches), pooled])


def _branches(x: Any, name: str, branches: tuple[_Branch, ...]) -> list[Any]:
    """Give the ends of the branches; in each, the convolution called `1a` is the one that halves."""
    ends = []
    for number, branch in enumerate(branches):
        y = x
        for part, channels, kernel in branch:
            halves = "_1a_" in part
            stride, padding = (2, "valid") if halves else (1, "same")
            y = _convolve(y, f"{name}_branch_{number}_{part}", channels, kernel, stride, padding)
        ends.append(y)
    return ends


def _convolve(x: Any, name: str, channels: int, kernel: tuple[int, int], stride: int = 1, padding: str = "same") -> Any:
    from tf_keras import layers

    x = layers.Conv2D(channels, kernel, stride, padding=padding, use_bias=False, name=name)(x)
    return layers.ReLU(name=f"{name}_relu")(_normalize(x, name))


def _normalize(x: Any, name: str) -> Any:
    from tf_keras import layers

    return layers.BatchNormalization(momentum=0.995, epsilon=1e-3, scale=False, name=f"{name}_bn")(x)


def _load(model: tf_keras.Model, file: dict[str, Values], path: Path) -> None:
    """Set every layer's values from the layer of its name in the file, each used once."""
    file = {name.lower().replace("_batchnorm", "_bn"): values for name, values in file.items()}
    layers = {layer.name: layer for layer in model.layers if layer.weights}
    if odd := sorted(layers.keys() ^ file.keys()):
        where = "file" if odd[0] in layers else "network"
        raise ModelError(f"{path}: the {where} has no layer {odd[0][:80]!r}; these are not the weights of {model.name}")
    for name, layer in layers.items():
        scale = _SCALES.get(name.removesuffix("_conv2d_1x1"), 1.0)
        set_values(layer, [value * scale for value in file[name]], path)
