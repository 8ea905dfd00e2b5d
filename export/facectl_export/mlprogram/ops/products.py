"""Products of matrices."""

import math

from facectl_export.mlprogram.graph import Given, Graph, Writer, carried
from facectl_export.mlprogram.program import Op, Value


def _linear(g: Graph, op: Op) -> str:
    """x: … × in; weight: out × in; bias: out."""
    bias = op.get("bias")
    _refuse_mixed(op, op["x"], op["weight"], bias or op["weight"])
    y = g.add("MatMul", op["x"], _transposed(g, op["weight"]))
    return y if bias is None else g.add("Add", y, bias)


def _matmul(g: Graph, op: Op) -> str:
    _refuse_mixed(op, op["x"], op["y"])
    if len(op["x"].shape) == 1 and len(op["y"].shape) > 2:
        raise op.unsupported("the shape that coremltools declares for a vector times a batch is not the one it defines")
    x: Given = _transposed(g, op["x"]) if op.flag("transpose_x") else op["x"]
    y: Given = _transposed(g, op["y"]) if op.flag("transpose_y") else op["y"]
    return g.add("MatMul", x, y)


def _refuse_mixed(op: Op, *values: Value) -> None:
    if len({carried(value.kind) for value in values}) > 1:
        raise op.unsupported("what Core ML makes of integers times floats is not written down")


def _transposed(g: Graph, value: Value) -> Given:
    """Let the last two sides change places."""
    rank = len(value.shape)
    if rank < 2:
        return value
    return g.add("Transpose", value, perm=[*range(rank - 2), rank - 1, rank - 2])


def _einsum(g: Graph, op: Op) -> str:
    """Multiply matrices that lie along the third side from the end and the last; all others are batches.

    ONNX's own does not say that it broadcasts.
    """
    equation = str(op.constant("equation").reshape(-1)[0])
    letters: dict[str, str] = {}
    pattern = "".join(letters.setdefault(one, str(len(letters))) if one.isalpha() else one for one in equation)
    if pattern not in ("0123,0324->0124", "012,213->013"):
        raise op.unsupported(f"the equation {equation!r} is not known")
    rank = len(op["values"].shape)
    perm = [*range(rank - 3), rank - 2, rank - 3, rank - 1]
    x, y = (g.add("Transpose", value, perm=perm) for value in op.inputs["values"])
    return g.add("Transpose", g.add("MatMul", x, y), perm=perm)


def _attention(g: Graph, op: Op) -> str:
    """Give softmax(q kᵀ / √d + mask) v; a mask of truth values says what takes part."""
    width = op["query"].shape[-1]
    if width is None:
        raise op.unsupported("the width of its query is open, and only a fixed one is known")
    scores = g.add("Mul", g.add("MatMul", op["query"], _transposed(g, op["key"])), 1 / math.sqrt(width))
    if (mask := op.get("attn_mask")) is not None:
        added: Given = g.add("Where", mask, 0.0, -math.inf) if mask.kind == "bool" else mask
        scores = g.add("Add", scores, added)
    return g.add("MatMul", g.add("Softmax", scores, axis=-1), op["value"])


OPS: dict[str, Writer] = {
    "einsum": _einsum,
    "linear": _linear,
    "matmul": _matmul,
    "scaled_dot_product_attention": _attention,
}
