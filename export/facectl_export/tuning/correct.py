"""Bias correction of a network before it learns to be rounded: it begins where int8 files without learning end."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from facectl_export.bias import excess, same_padding, share_seen
from facectl_export.tuning.fake_quant import rounded

Kernel = npt.NDArray[np.float32]


def bias_corrected(model: Any, batches: Sequence[npt.NDArray[np.uint8]]) -> Any:
    """Give a copy of a folded network whose answers are right on average once its kernels are rounded.

    `batches`: of training images, uint8 N × height × width × 3 each.
    """
    import tf_keras
    from tf_keras import layers

    kinds = layers.Conv2D | layers.DepthwiseConv2D | layers.Dense
    weighted = [layer for layer in model.layers if isinstance(layer, kinds) and layer.use_bias]
    taken = [layer.input for layer in weighted]
    pooled = [layers.GlobalAveragePooling2D()(values) if values.shape.rank == 4 else values for values in taken]
    means = _means(tf_keras.Model(model.input, pooled), batches)
    copy = tf_keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    for layer, mean in zip(weighted, means, strict=True):
        kernel, bias = layer.get_weights()
        after = _outputs_first(layer, rounded(layer, kernel))
        too_much = excess(_outputs_first(layer, kernel), after, mean, _seen(layer))
        copy.get_layer(layer.name).set_weights([kernel, bias - too_much])
    return copy


def _means(model: Any, batches: Sequence[npt.NDArray[np.uint8]]) -> list[npt.NDArray[np.float64]]:
    found = [[values.sum(axis=0, dtype=np.float64) for values in model.predict_on_batch(some)] for some in batches]
    images = sum(len(some) for some in batches)
    return [np.sum(each, axis=0) / images for each in zip(*found, strict=True)]


def _outputs_first(layer: Any, kernel: Kernel) -> Kernel:
    """Turn a kernel to outputs × inputs × taps…, of a depthwise layer to outputs × 1 × height × width."""
    from tf_keras import layers

    if isinstance(layer, layers.DepthwiseConv2D):
        height, width, inputs, times = kernel.shape
        return kernel.reshape(height, width, inputs * times).transpose(2, 0, 1)[:, None]
    return kernel.transpose(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T


def _seen(layer: Any) -> Any:
    """Give the share of answers for which each tap lies in the map: height × width; 1 where there are none."""
    if not hasattr(layer, "kernel_size"):
        return 1.0
    axes = zip(layer.input.shape[1:3], layer.kernel_size, layer.strides, layer.dilation_rate, strict=True)
    vertical, horizontal = (
        share_seen(*axis, *(same_padding(*axis) if layer.padding == "same" else (0, 0))) for axis in axes
    )
    return np.outer(vertical, horizontal)
