"""Bias correction: what the rounding of weights adds to a layer's answers on average is taken off its biases.

After Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019, section 4.2.
The mean of what goes into a layer, there derived from batch norms, is measured here, on training images.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
_INT32 = np.iinfo(np.int32)


def corrected(
    bias: npt.NDArray[np.int32], scale: Floats, trained: Floats, rounded: Floats, mean: Floats
) -> npt.NDArray[np.int32]:
    """Give a layer's biases as they must be for its answers to be right on average.

    `bias`: int32, outputs, each times `scale` (a scalar or one an output) in the units of the answers. `trained` and
    `rounded`: weights, outputs × inputs × taps…; those of a convolution in groups have the inputs of one group.
    `mean`: of each channel that goes in, all groups one after the other.
    """
    outputs, inputs, *_ = trained.shape
    added = (rounded.astype(np.float64) - trained).reshape(outputs, inputs, -1).sum(axis=2)
    by_group = added.reshape(mean.size // inputs, -1, inputs)
    shift = np.einsum("goi,gi->go", by_group, mean.reshape(-1, inputs)).reshape(outputs)
    right: npt.NDArray[np.float64] = np.rint(bias - shift / scale)
    return right.clip(_INT32.min, _INT32.max).astype(np.int32)
