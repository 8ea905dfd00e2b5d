"""Activations and weights in 8 bits, with a scale for all or for each slice along an axis."""

import numpy as np

from facectl_export.mlprogram.graph import Given, Graph, Writer, carried
from facectl_export.mlprogram.program import Op


def _zero(op: Op, kind: str) -> Given:
    zero = op.get("zero_point")
    return zero if zero is not None else np.zeros(op.constant("scale").shape, carried(kind))


def _axis(op: Op) -> dict[str, int]:
    return {"axis": op.integer("axis")} if op.constant("scale").ndim else {}


def _quantize(g: Graph, op: Op) -> str:
    """Round x / scale + zero point to int8 or uint8."""
    return g.add("QuantizeLinear", op["input"], op["scale"], _zero(op, op.outputs[0].kind), **_axis(op))


def _dequantize(g: Graph, op: Op) -> str:
    """Give scale × (x - zero point)."""
    return g.add("DequantizeLinear", op["input"], op["scale"], _zero(op, op["input"].kind), **_axis(op))


OPS: dict[str, Writer] = {"dequantize": _dequantize, "quantize": _quantize}
