"""Bias correction of an int8 TFLite file."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from facectl_export.bias import Means, corrected, excess, same_padding, share_seen
from facectl_runtime.tflite_metadata import packed

_LAYOUTS = {"CONV_2D": (0, 3, 1, 2), "DEPTHWISE_CONV_2D": (3, 0, 1, 2), "FULLY_CONNECTED": (0, 1)}
"""By op, the order of axes that makes of its weights outputs × inputs × taps."""
WITH_BIAS = tuple(_LAYOUTS)


def correct(int8: bytes, fp32: bytes, means: Means) -> bytes:
    """Correct the biases of a quantized file that was made of the file `fp32`."""
    from ai_edge_litert.tools import flatbuffer_utils as schema

    after, before = (schema.read_model_from_bytearray(bytearray(data)) for data in (int8, fp32))
    taken = Counter(number for op in after.subgraphs[0].operators for number in op.inputs)
    for (op, rounded), (_, trained) in zip(_layers(after), _layers(before), strict=True):
        if len(rounded) < 3 or not all(one.scale.size for one in rounded):
            continue  # without a bias, or float
        image, weights, bias = rounded
        if taken[bias.number] > 1:
            continue  # a layer that is applied twice
        order = _LAYOUTS[op.kind]
        kernels = trained[1].values.transpose(order), weights.dequantized.transpose(order)
        seen = _seen(op.options, image.shape[1:3], kernels[0].shape[2:]) if op.kind != "FULLY_CONNECTED" else 1.0
        bias.write(corrected(bias.values, bias.scale, excess(*kernels, means[trained[0].name], seen)))
    return packed(after)


def _seen(options: Any, sizes: Sequence[int], kernel: Sequence[int]) -> npt.NDArray[np.float64]:
    """Give the share of answers for which each tap of a convolution lies in the map: height × width of its kernel."""
    from ai_edge_litert.schema_py_generated import Padding

    strides, dilations = (options.strideH, options.strideW), (options.dilationHFactor, options.dilationWFactor)
    vertical, horizontal = (
        share_seen(*axis, *(same_padding(*axis) if options.padding == Padding.SAME else (0, 0)))
        for axis in zip(sizes, kernel, strides, dilations, strict=True)
    )
    return np.outer(vertical, horizontal)


@dataclass(frozen=True)
class _Operand:
    """A tensor that goes into an op, as TFLite's schema has it."""

    model: Any
    number: int

    @property
    def _tensor(self) -> Any:
        return self.model.subgraphs[0].tensors[self.number]

    @property
    def name(self) -> str:
        return str(self._tensor.name.decode())

    @property
    def shape(self) -> Sequence[int]:
        return [int(side) for side in self._tensor.shape]

    @property
    def scale(self) -> npt.NDArray[np.float64]:
        found = self._tensor.quantization
        return np.array([] if found is None or found.scale is None else found.scale, np.float64)

    @property
    def values(self) -> npt.NDArray[Any]:
        from ai_edge_litert.tools.flatbuffer_utils import type_to_name

        tensor = self._tensor
        kind = np.dtype(type_to_name(tensor.type).lower())
        return np.frombuffer(bytes(self.model.buffers[tensor.buffer].data), kind).reshape(tensor.shape)

    @property
    def dequantized(self) -> npt.NDArray[np.float64]:
        """Weights are symmetric: zero is 0."""
        values, scale = self.values, self.scale
        shape = np.ones(values.ndim, int)
        shape[self._tensor.quantization.quantizedDimension] = scale.size
        return values * scale.reshape(shape)

    def write(self, values: npt.NDArray[np.int32]) -> None:
        """Put other values into the tensor alone: equal ones may share a buffer."""
        from ai_edge_litert.tools.flatbuffer_utils import BufferT

        buffers, tensor = self.model.buffers, self._tensor
        if sum(other.buffer == tensor.buffer for other in self.model.subgraphs[0].tensors) > 1:
            tensor.buffer = len(buffers)
            buffers.append(BufferT())
        buffers[tensor.buffer].data = np.frombuffer(values.tobytes(), np.uint8)


class _Op(NamedTuple):
    kind: str
    options: Any


def _layers(model: Any) -> Iterator[tuple[_Op, list[_Operand]]]:
    """Give convolutions and dense layers in their order, and what goes into each: values, weights, biases."""
    from ai_edge_litert.tools.flatbuffer_utils import opcode_to_name

    for op in model.subgraphs[0].operators:
        kind = opcode_to_name(model, op.opcodeIndex)
        if kind in _LAYOUTS:
            yield _Op(kind, op.builtinOptions), [_Operand(model, number) for number in op.inputs if number >= 0]
