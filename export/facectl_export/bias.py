"""Bias correction: what the rounding of weights adds to a layer's answers on average is taken off its biases.

After Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019, section 4.2.
The mean of what goes into a layer, there derived from batch norms, is measured here, on training images.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
_INT32 = np.iinfo(np.int32)


def shift(trained: Floats, rounded: Floats, mean: Floats) -> npt.NDArray[np.float64]:
    """Give what a layer's answers have too much on average, one number an output, when its weights are rounded.

    `trained` and `rounded`: outputs × inputs × taps…; a convolution in groups has the inputs of one group. `mean`: of
    each channel that goes in, all groups one after the other.
    """
    outputs, inputs, *_ = trained.shape
    added = (rounded.astype(np.float64) - trained).reshape(outputs, inputs, -1).sum(axis=2)
    by_group = added.reshape(mean.size // inputs, -1, inputs)
    return np.asarray(np.einsum("goi,gi->go", by_group, mean.reshape(-1, inputs))).reshape(outputs)


def corrected(bias: npt.NDArray[np.int32], scale: Floats, excess: Floats) -> npt.NDArray[np.int32]:
    """Take `excess` off integer biases, each of which stands for itself times `scale` (a scalar, or one an output)."""
    right: npt.NDArray[np.float64] = np.rint(bias - excess / scale)
    return right.clip(_INT32.min, _INT32.max).astype(np.int32)
