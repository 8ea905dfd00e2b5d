"""Bias correction of a network before it learns to be rounded: it then begins where the int8 files without it end."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from facectl_export.bias import shift

_STEPS = 127  # of a kernel's channel, on either side of zero


def bias_corrected(model: Any, batches: Iterable[npt.NDArray[np.uint8]]) -> Any:
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
        weights = _outputs_first(layer, kernel)
        copy.get_layer(layer.name).set_weights([kernel, bias - shift(weights, _rounded(weights), mean)])
    return copy


def _means(model: Any, batches: Iterable[npt.NDArray[np.uint8]]) -> list[npt.NDArray[np.float64]]:
    found = [[values.mean(axis=0, dtype=np.float64) for values in model.predict_on_batch(batch)] for batch in batches]
    return [np.mean(each, axis=0) for each in zip(*found, strict=True)]


def _outputs_first(layer: Any, kernel: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    from tf_keras import layers

    if isinstance(layer, layers.DepthwiseConv2D):
        height, width, inputs, times = kernel.shape
        return kernel.reshape(height, width, inputs * times).transpose(2, 0, 1)[:, None]
    return kernel.transpose(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T


def _rounded(weights: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Round to int8, symmetric, with a scale for each output."""
    flat = weights.reshape(len(weights), -1)
    scale = np.abs(flat).max(axis=1, keepdims=True) / _STEPS
    return np.asarray(np.rint(flat / np.where(scale, scale, 1)) * scale, np.float32).reshape(weights.shape)
