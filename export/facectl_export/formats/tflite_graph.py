"""What a TFLite file computes: its ops, the Keras layers they come from, and how much of them is integer."""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from facectl_export.gate import IntegerShare

_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "CONV_3D", "BATCH_MATMUL")
"""Ops that multiply by weights, which are their second input."""
_SMALL = ("INT8", "UINT8", "INT4", "INT2")
_KERNEL = re.compile(r"(Conv2D|Conv2DBackpropInput|Conv3D|depthwise|conv2d_transpose|MatMul|Tensordot)\d*")
"""What TensorFlow calls the op of a convolution or dense layer, below the layer's own name."""


@dataclass(frozen=True)
class Tensor:
    """A value of the graph."""

    name: str
    type: str
    """As in TFLite's schema: `FLOAT32`, `INT8`, …"""
    size: int
    """Elements."""
    constant: bool


@dataclass(frozen=True)
class Op:
    """A step of the graph."""

    kind: str
    """As in TFLite's schema: `CONV_2D`, …"""
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    """Numbers of tensors."""
    name: str
    """Of its output: the paths of the TensorFlow ops that it does, `model/layer/op`, separated by semicolons."""

    @property
    def layers(self) -> set[str]:
        """What the Keras layers that it does may be called: a layer's name may hold slashes, or stand in a scope."""
        scopes = [path.split("/")[1:-1] for path in self.name.split(";")]
        return {
            "/".join(scope[start:end])
            for scope in scopes
            for start in range(len(scope))
            for end in range(start + 1, len(scope) + 1)
        }

    @property
    def layer(self) -> str | None:
        """Name of the convolution or dense layer that it does, with whatever is fused into it."""
        for path in self.name.split(";"):
            _, *layer, kernel = path.split("/") if "/" in path else ("", path)
            if layer and self.weighted and _KERNEL.fullmatch(kernel):
                return "/".join(layer)
        return None

    @property
    def weighted(self) -> bool:
        """Whether it multiplies by weights."""
        return self.kind in _WEIGHTED


class Graph:
    """The ops of a TFLite file, in the order in which they are done."""

    def __init__(self, path: Path) -> None:
        from ai_edge_litert.tools import flatbuffer_utils as schema

        model = schema.read_model_from_bytearray(path.read_bytes())
        (graph,) = model.subgraphs
        kinds, types = _names(schema.BuiltinOperator), _names(schema.TensorType)
        codes = [kinds[schema.get_builtin_code_from_operator_code(code)] for code in model.operatorCodes]
        self.tensors = [
            Tensor(
                tensor.name.decode(), types[tensor.type], _size(tensor), model.buffers[tensor.buffer].data is not None
            )
            for tensor in graph.tensors
        ]
        self.ops = [
            Op(
                codes[op.opcodeIndex],
                tuple(number for number in op.inputs if number >= 0),
                tuple(op.outputs),
                ";".join(self.tensors[number].name for number in op.outputs),
            )
            for op in graph.operators
        ]

    @cached_property
    def around(self) -> set[str]:
        """Names of the ops before the first weights and after the last: what pixels and answers go through."""
        before: set[int] = {number for number, tensor in enumerate(self.tensors) if tensor.constant}
        made = {number for op in self.ops for number in op.outputs}
        before |= set(range(len(self.tensors))) - made
        names = set()
        for op in self.ops:
            if not op.weighted and before.issuperset(op.inputs):
                before.update(op.outputs)
                names.add(op.name)
        used: set[int] = set()  # by an op that has weights after it, or has them itself
        for op in reversed(self.ops):
            if op.weighted or used.intersection(op.outputs):
                used.update(op.inputs)
            else:
                names.add(op.name)
        return names

    def weights(self, op: Op) -> Tensor | None:
        """Give what `op` multiplies by, as it is stored; None where that is computed."""
        number = op.inputs[1]
        for other in self.ops:
            if number in other.outputs and other.kind == "DEQUANTIZE":
                number = other.inputs[0]
        return self.tensors[number] if self.tensors[number].constant else None

    def is_integer(self, op: Op) -> bool:
        """Say whether `op` goes from int8 activations to int8 activations."""
        return self.tensors[op.inputs[0]].type == self.tensors[op.outputs[0]].type == "INT8"


def layers(path: Path) -> list[str]:
    """Name the Keras layers of an fp32 file that are convolutions or dense, in the order in which they are done."""
    return list(dict.fromkeys(op.layer for op in Graph(path).ops if op.layer is not None))


def integer_share(path: Path) -> IntegerShare:
    """Count what is integer in a TFLite file: LiteRT computes each op in the types of its tensors.

    Where weights alone are int8, LiteRT rounds activations as they come: such ops are not counted as integer.
    """
    graph = Graph(path)
    weighted = [op for op in graph.ops if op.weighted]
    stored = [weights for op in weighted if (weights := graph.weights(op)) is not None]
    return IntegerShare(
        ops=sum(graph.is_integer(op) for op in weighted),
        ops_of=len(weighted),
        weights=sum(weights.size for weights in stored if weights.type in _SMALL),
        weights_of=sum(weights.size for weights in stored),
    )


def _names(enumeration: Any) -> dict[int, str]:
    return {number: name for name, number in vars(enumeration).items() if isinstance(number, int)}


def _size(tensor: Any) -> int:
    size = 1
    for side in tensor.shape if tensor.shape is not None else ():
        size *= int(side)
    return size
