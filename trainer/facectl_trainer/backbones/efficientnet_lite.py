"""EfficientNet-Lite as a flat graph of built-in Keras layers, so that quantizers and exporters see every one of them.

Source: Tan & Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, ICML 2019
(arXiv:1905.11946), and its Lite release of 2020 (github.com/tensorflow/tpu, models/official/efficientnet/lite):
ReLU6 in place of swish, no squeeze-and-excitation, stem and head never scaled.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from facectl_runtime.errors import ModelError
from facectl_trainer.backbones.preprocess import image_input, preprocessed
from facectl_trainer.pth import read_state_dict

if TYPE_CHECKING:
    import tf_keras

    from facectl_trainer.weights import Preprocess

FEATURES = 1280


@dataclass(frozen=True)
class Variant:
    """How one member of the family is scaled."""

    name: str
    width: float
    """Multiplies the blocks' channels."""
    depth: float
    """Multiplies the stages' blocks, those of the first and the last stage apart."""
    side: int
    """The square input's width and height in pixels."""


LITE0 = Variant("efficientnet_lite0", width=1.0, depth=1.0, side=224)
LITE1 = Variant("efficientnet_lite1", width=1.0, depth=1.1, side=240)
LITE2 = Variant("efficientnet_lite2", width=1.1, depth=1.2, side=260)


@dataclass(frozen=True)
class _Block:
    """One inverted residual: expand, depthwise, project."""

    name: str
    kernel: int
    stride: int
    expansion: int
    channels: int


# blocks, kernel, stride of the first block, expansion, channels (Tan & Le 2019, table 1)
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)

_TORCH_ENDS = {"stem_conv": "_conv_stem", "stem_bn": "_bn0", "head_conv": "_conv_head", "head_bn": "_bn1"}
_TORCH_PARTS = {
    "expand_conv": "_expand_conv",
    "expand_bn": "_bn0",
    "depthwise_conv": "_depthwise_conv",
    "depthwise_bn": "_bn1",
    "project_conv": "_project_conv",
    "project_bn": "_bn2",
}
_BATCH_NORM_PARTS = ("weight", "bias", "running_mean", "running_var")  # in the order of Keras's values


def build(variant: Variant, side: int, preprocess: Preprocess, weights: Path | None = None) -> tf_keras.Model:
    """Make the network: uint8 N x side x side x 3 (RGB) to its last feature map.

    The map is float32 N x side / 32 (rounded up) x the same x 1280, from 0 to 6. With `weights`, a legacy `.pth` state
    dict, every tensor but the classifier's is used; without, values are random.

    Raises:
        ModelError: the file is no readable state dict, or a tensor is missing, surplus or of another shape.
    """
    from tf_keras import Model

    file = read_state_dict(weights) if weights else {}  # first: a file that is none is said at once
    image = image_input(side)
    x = preprocessed(image, preprocess)
    x = _relu(_convolve(x, "stem", 32, kernel=3, stride=2), "stem")
    for block in _blocks(variant):
        x = _inverted_residual(x, block)
    x = _relu(_convolve(x, "head", FEATURES), "head")
    model = Model(image, x, name=variant.name)
    if weights is not None:
        try:
            _load(model, file, variant)
        except _MismatchError as error:
            raise ModelError(f"{weights}: {error}; these are not the weights of {variant.name}") from error
    return model


def _blocks(variant: Variant) -> Iterator[_Block]:
    for stage, (blocks, kernel, stride, expansion, channels) in enumerate(_STAGES, start=1):
        count = blocks if stage in (1, len(_STAGES)) else math.ceil(variant.depth * blocks)
        for index in range(count):
            name = f"block{stage}{'abcdefgh'[index]}"
            yield _Block(name, kernel, 1 if index else stride, expansion, _scaled(channels, variant.width))


def _scaled(channels: int, width: float) -> int:
    """Give the multiple of 8 next to `channels * width`, and no more than a tenth below it."""
    wanted = channels * width
    nearest = max(8, int(wanted + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * wanted else nearest + 8


def _inverted_residual(x: Any, block: _Block) -> Any:
    from tf_keras import layers

    y, channels = x, x.shape[-1]
    if block.expansion > 1:
        name = f"{block.name}_expand"
        y = _relu(_convolve(y, name, block.expansion * channels), name)
    name = f"{block.name}_depthwise"
    y = layers.DepthwiseConv2D(block.kernel, block.stride, padding="same", use_bias=False, name=f"{name}_conv")(y)
    y = _relu(_normalize(y, name), name)
    y = _convolve(y, f"{block.name}_project", block.channels)
    if block.stride > 1 or channels != block.channels:
        return y
    return layers.Add(name=f"{block.name}_add")([x, y])


def _convolve(x: Any, name: str, channels: int, kernel: int = 1, stride: int = 1) -> Any:
    from tf_keras import layers

    convolve = layers.Conv2D(channels, kernel, stride, padding="same", use_bias=False, name=f"{name}_conv")
    return _normalize(convolve(x), name)


def _normalize(x: Any, name: str) -> Any:
    from tf_keras import layers

    return layers.BatchNormalization(epsilon=1e-3, name=f"{name}_bn")(x)


def _relu(x: Any, name: str) -> Any:
    from tf_keras import layers

    return layers.ReLU(6.0, name=f"{name}_relu")(x)


class _MismatchError(Exception):
    """A state dict is not the network's."""


def _load(model: tf_keras.Model, state: dict[str, np.ndarray], variant: Variant) -> None:
    """Set every layer's values from the tensor of PyTorch's name, each used once."""
    unused = dict(state)
    blocks = {block.name: index for index, block in enumerate(_blocks(variant))}
    for layer in model.layers:
        if layer.weights:
            name, axes = _torch_name(layer.name, blocks), _torch_axes(layer.name)
            parts = _BATCH_NORM_PARTS if layer.name.endswith("_bn") else ("weight",)
            shapes = [tuple(weight.shape) for weight in layer.weights]
            layer.set_weights(
                [_take(unused, f"{name}.{part}", axes, shape) for part, shape in zip(parts, shapes, strict=True)]
            )
    if surplus := [
        name for name in unused if not name.startswith("_fc.") and not name.endswith(".num_batches_tracked")
    ]:
        raise _MismatchError(
            f"{len(surplus)} tensors have no place in the network, the first being {surplus[0][:80]!r}"
        )


def _torch_name(layer: str, blocks: dict[str, int]) -> str:
    block, _, part = layer.partition("_")
    return f"_blocks.{blocks[block]}.{_TORCH_PARTS[part]}" if block in blocks else _TORCH_ENDS[layer]


def _torch_axes(layer: str) -> tuple[int, ...]:
    """Say where the Keras value's axes stand in PyTorch's tensor."""
    if layer.endswith("_bn"):
        return (0,)
    return (2, 3, 0, 1) if layer.endswith("_depthwise_conv") else (2, 3, 1, 0)  # C1HW to HWC1, OIHW to HWIO


def _take(state: dict[str, np.ndarray], name: str, axes: tuple[int, ...], shape: tuple[int, ...]) -> np.ndarray:
    if name not in state:
        raise _MismatchError(f"the tensor {name} is missing")
    tensor = state.pop(name)
    wanted = tuple(shape[axes.index(axis)] for axis in range(len(axes)))
    if tensor.shape != wanted:
        raise _MismatchError(f"the tensor {name} has the shape {tensor.shape}, not {wanted}")
    return tensor.transpose(axes)
