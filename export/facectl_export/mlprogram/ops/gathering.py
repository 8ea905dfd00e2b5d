"""Ops that look values up, put them elsewhere, or sort them."""

from collections.abc import Sequence

import numpy as np

from facectl_export.mlprogram.graph import Given, Graph, Writer
from facectl_export.mlprogram.program import Op

_MODES = ("update", "add", "sub", "mul", "div", "max", "min")


def _gather(g: Graph, op: Op) -> str:
    axis, batch = op.integer("axis", 0), op.integer("batch_dims", 0)
    if not batch:
        return g.add("Gather", op["x"], g.cast(op["indices"], np.int64), axis=axis)
    if axis % len(op["x"].shape) != batch:
        raise op.unsupported(f"batch_dims {batch} with axis {axis}; only the axis after the batch is known")
    indices = g.add("Unsqueeze", g.cast(op["indices"], np.int64), [-1])
    return g.add("GatherND", op["x"], indices, batch_dims=batch)


def _gather_along_axis(g: Graph, op: Op) -> str:
    return g.add("GatherElements", op["x"], g.cast(op["indices"], np.int64), axis=op.integer("axis", 0))


def _gather_nd(g: Graph, op: Op) -> str:
    return g.add("GatherND", op["x"], g.cast(op["indices"], np.int64), batch_dims=op.integer("batch_dims", 0))


def _scatter(g: Graph, op: Op) -> str:
    """Put slices at places along an axis, which first becomes the foremost."""
    rank = len(op["data"].shape)
    axis = op.integer("axis", 0) % rank
    perm = [axis, *(other for other in range(rank) if other != axis)]
    data = g.add("Transpose", op["data"], perm=perm)
    places = range(axis, axis + len(op["indices"].shape))  # which sides of the updates the indices are
    others = (side for side in range(len(op["updates"].shape)) if side not in places)
    updates = g.add("Transpose", op["updates"], perm=[*places, *others])
    indices = g.add("Unsqueeze", g.cast(op["indices"], np.int64), [-1])
    put = _put(g, op, "ScatterND", data, indices, updates)
    return g.add("Transpose", put, perm=[perm.index(place) for place in range(rank)])


def _scatter_along_axis(g: Graph, op: Op) -> str:
    return _put(g, op, "ScatterElements", op["data"], op["indices"], op["updates"], axis=op.integer("axis", 0))


def _scatter_nd(g: Graph, op: Op) -> str:
    return _put(g, op, "ScatterND", op["data"], g.cast(op["indices"], np.int64), op["updates"])


def _put(g: Graph, op: Op, kind: str, data: Given, indices: Given, updates: Given, **more: int) -> str:
    """Scatter in the op's mode; to subtract is to add what is negative, to divide to multiply by what is inverse."""
    mode = op.word("mode", _MODES, None if op.type == "scatter" else "add")  # of scatter, add and update are both said
    if mode == "sub":
        mode, updates = "add", g.add("Neg", updates)
    elif mode == "div":
        if op["data"].kind not in ("fp16", "fp32"):
            raise op.unsupported("what Core ML makes of a quotient of integers is not written down")
        mode, updates = "mul", g.add("Reciprocal", updates)
    how = "none" if mode == "update" else mode
    return g.add(kind, data, indices, updates, reduction=how, **more)


def _top(g: Graph, op: Op, k: int, axis: int, least: bool) -> list[str]:
    values, places = g.add_several("TopK", 2, op["x"], [k], axis=axis, largest=int(not least), sorted=1)
    return [values, g.cast(places, np.int32)]


def _topk(g: Graph, op: Op) -> Sequence[str]:
    """Give the greatest or least k values, all of a side where k is -1, and their places."""
    k, axis = op.integer("k", 1), op.integer("axis", -1)
    count = op.shape_of("x")[axis] if k == -1 else k
    return _top(g, op, count, axis, op.flag("ascending"))[: len(op.outputs)]


def _argsort(g: Graph, op: Op) -> str:
    axis = op.integer("axis", -1)
    return _top(g, op, op.shape_of("x")[axis], axis, op.flag("ascending"))[1]


def _non_zero(g: Graph, op: Op) -> str:
    """Give the places of what is not zero: N × rank."""
    return g.cast(g.add("Transpose", g.add("NonZero", op["x"]), perm=[1, 0]), np.int32)


def _cumsum(g: Graph, op: Op) -> str:
    exclusive, reverse = (int(op.flag(name)) for name in ("exclusive", "reverse"))
    axis = np.array(op.integer("axis", 0), np.int64)
    return g.add("CumSum", op["x"], axis, exclusive=exclusive, reverse=reverse)


OPS: dict[str, Writer] = {
    "argsort": _argsort,
    "cumsum": _cumsum,
    "gather": _gather,
    "gather_along_axis": _gather_along_axis,
    "gather_nd": _gather_nd,
    "non_zero": _non_zero,
    "scatter": _scatter,
    "scatter_along_axis": _scatter_along_axis,
    "scatter_nd": _scatter_nd,
    "topk": _topk,
}
