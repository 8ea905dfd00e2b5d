"""Bias correction: what the rounding of weights adds to a layer's answers on average is taken off its biases.

After Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019, section 4.2.
The mean of what goes into a layer, there derived from batch norms, is measured here, on training images.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Means = Mapping[str, npt.NDArray[np.float64]]
"""By the name of a tensor that goes into a layer of a float file: the mean of each of its channels."""
_INT32 = np.iinfo(np.int32)


def excess(trained: Floats, rounded: Floats, mean: Floats, seen: Floats | float = 1.0) -> npt.NDArray[np.float64]:
    """Give what a layer's answers have too much on average, one number an output, when its weights are rounded.

    `trained` and `rounded`: outputs × inputs × taps…; a convolution in groups has the inputs of one group. `mean`: of
    each channel that goes in, all groups one after the other. `seen`: of each tap, as `share_seen` gives it.
    """
    outputs, inputs, *_ = trained.shape
    added = ((rounded.astype(np.float64) - trained) * seen).reshape(outputs, inputs, -1).sum(axis=2)
    by_group = added.reshape(mean.size // inputs, -1, inputs)
    return np.asarray(np.einsum("goi,gi->go", by_group, mean.reshape(-1, inputs))).reshape(outputs)


def share_seen(size: int, taps: int, stride: int, dilation: int, before: int, after: int) -> npt.NDArray[np.float64]:
    """Give, for each tap along one axis, the share of answers for which it lies in the map and not in its padding.

    `size`: of the map; `before` and `after`: zeros at its ends. On a map of 4, of five taps the middle one sees all.
    """
    answers = (size + before + after - dilation * (taps - 1) - 1) // stride + 1
    places = np.arange(answers)[:, None] * stride + np.arange(taps) * dilation - before
    return np.asarray(((places >= 0) & (places < size)).mean(axis=0))


def same_padding(size: int, taps: int, stride: int, dilation: int) -> tuple[int, int]:
    """Give the zeros before and after an axis that TensorFlow's `same` adds."""
    needed = (-(-size // stride) - 1) * stride + dilation * (taps - 1) + 1 - size
    return max(needed, 0) // 2, max(needed, 0) - max(needed, 0) // 2


def corrected(bias: npt.NDArray[np.int32], scale: Floats, too_much: Floats) -> npt.NDArray[np.int32]:
    """Take what is too much off integer biases, each of which stands for itself times `scale` (one, or one each)."""
    right: npt.NDArray[np.float64] = np.rint(bias - too_much / scale)
    return right.clip(_INT32.min, _INT32.max).astype(np.int32)
