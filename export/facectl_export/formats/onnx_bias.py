"""Bias correction of an ONNX file in QDQ form."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from facectl_export.bias import Means, corrected, excess, same_padding, share_seen

WITH_BIAS = ("Conv", "Gemm")


def correct(graph: Any, trained: Any, means: Means) -> None:
    """Correct the biases of a quantized graph in place; `trained` is the float graph that it was made of."""
    import onnx

    stored = {tensor.name: tensor for tensor in graph.initializer}
    weights = {tensor.name: tensor for tensor in trained.initializer}
    dequantized = {node.output[0]: node for node in graph.node if node.op_type == "DequantizeLinear"}
    floats = {node.name: node for node in trained.node if node.op_type in WITH_BIAS}
    sizes = {value.name: [side.dim_value for side in value.type.tensor_type.shape.dim] for value in trained.value_info}
    value = onnx.numpy_helper.to_array
    for node in graph.node:
        if node.op_type not in WITH_BIAS or len(node.input) < 3 or not dequantized.keys() >= set(node.input):
            continue  # float, or without a bias
        _, rounded, bias = (dequantized[name] for name in node.input)
        before = floats[node.name]
        taken, kernel = before.input[0], _outputs_first(before, value(weights[before.input[1]]))
        seen = _seen(before, sizes[taken][2:], kernel.shape[2:]) if node.op_type == "Conv" else 1.0
        found = excess(kernel, _outputs_first(before, _dequantized(rounded, stored)), means[taken], seen)
        number, scale = stored[bias.input[0]], value(stored[bias.input[1]])
        number.CopyFrom(onnx.numpy_helper.from_array(corrected(value(number), scale, found), number.name))


def _seen(node: Any, sizes: Sequence[int], kernel: Sequence[int]) -> npt.NDArray[np.float64]:
    """Give the share of answers for which each tap of a convolution lies in the map: height × width of its kernel."""
    import onnx

    found = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
    steps, pads = [found.get(name, (1, 1)) for name in ("strides", "dilations")], found.get("pads", (0, 0, 0, 0))
    axes = zip(sizes, kernel, *steps, strict=True)
    ends = zip(pads[:2], pads[2:], strict=True)
    vertical, horizontal = (
        share_seen(*axis, *_padding(found, end, axis)) for axis, end in zip(axes, ends, strict=True)
    )
    return np.outer(vertical, horizontal)


def _padding(attributes: Mapping[str, Any], ends: Sequence[int], axis: tuple[int, int, int, int]) -> Sequence[int]:
    """Give the zeros before and after an axis: as they are written down, or as `auto_pad` says."""
    automatic = attributes.get("auto_pad", b"NOTSET")
    if automatic in (b"NOTSET", b"VALID"):
        return ends
    less, more = same_padding(*axis)
    return (less, more) if automatic == b"SAME_UPPER" else (more, less)


def _dequantized(node: Any, stored: Mapping[str, Any]) -> npt.NDArray[np.float64]:
    """Give the weights that a DequantizeLinear stands for; they are symmetric, so that zero is 0."""
    import onnx

    numbers, scale = (onnx.numpy_helper.to_array(stored[name]) for name in node.input[:2])
    axis = next((entry.i for entry in node.attribute if entry.name == "axis"), 1)
    shape = [-1 if place == axis else 1 for place in range(numbers.ndim)] if scale.size > 1 else []
    return numbers * scale.astype(np.float64).reshape(shape)


def _outputs_first(node: Any, weights: npt.NDArray[Any]) -> npt.NDArray[Any]:
    transposed = any(entry.name == "transB" and entry.i for entry in node.attribute)
    return weights if node.op_type == "Conv" or transposed else weights.T
