"""Parts of a tensor: slices, windows, bands, and what is turned round."""

import numpy as np

from facectl_export.mlprogram.graph import Given, Graph, Writer, carried
from facectl_export.mlprogram.program import Op

_END = np.iinfo(np.int64).max


def _bounds(op: Op) -> tuple[list[int], list[int], list[int]]:
    """Give where slices with constant bounds begin and end, and their strides; masked ones run from end to end."""
    rank = len(op["x"].shape)
    begin, end = op.integers("begin"), op.integers("end")
    strides = op.integers("stride", [1] * rank)
    no = [0] * rank
    begin_mask, end_mask, squeeze = (op.integers(f"{name}_mask", no) for name in ("begin", "end", "squeeze"))
    for axis in range(rank):
        if squeeze[axis]:
            strides[axis] = 1
        if begin_mask[axis]:
            begin[axis] = 0 if strides[axis] > 0 else _END
        if end_mask[axis]:
            end[axis] = _END if strides[axis] > 0 else -_END
        if squeeze[axis]:
            end[axis] = begin[axis] + 1 or _END  # the last of a side, -1, ends at its end
    return begin, end, strides


def _squeezed(op: Op) -> list[int]:
    return [axis for axis, gone in enumerate(op.integers("squeeze_mask", [])) if gone]


def _slice_by_index(g: Graph, op: Op) -> str:
    rank = len(op["x"].shape)
    axes = list(range(rank))
    if op["begin"].constant is not None and op["end"].constant is not None:
        begin, end, strides = _bounds(op)
        part = g.add("Slice", op["x"], begin, end, axes, strides)
    else:
        if any(op.integers("begin_mask", [])) or any(op.integers("end_mask", [])) or _squeezed(op):
            raise op.unsupported("it has masks, and bounds that are computed while it runs")
        bounds = [g.cast(op[name], np.int64) for name in ("begin", "end")]
        part = g.add("Slice", op["x"], *bounds, axes, op.integers("stride", [1] * rank))
    return g.add("Squeeze", part, _squeezed(op)) if _squeezed(op) else part


def _slice_by_size(g: Graph, op: Op) -> str:
    """Give `size` values from `begin` on; all to the end where size is -1."""
    sizes = op.integers("size")
    axes = list(range(len(sizes)))
    if op["begin"].constant is None:
        if -1 in sizes:
            raise op.unsupported("size -1 from a place that is computed while it runs")
        begin: Given = g.add("Mod", g.cast(op["begin"], np.int64), g.add("Shape", op["x"]))  # negative from the end
        return g.add("Slice", op["x"], begin, g.add("Add", begin, sizes), axes)
    starts = op.integers("begin")
    ends = [
        _END if size == -1 or start < 0 <= start + size else start + size
        for start, size in zip(starts, sizes, strict=True)
    ]
    return g.add("Slice", op["x"], starts, ends, axes)


def _slice_update(g: Graph, op: Op) -> str:
    """Put `update` where `slice_by_index` would take it from."""
    shape = op.shape_of("x")
    begin, end, strides = _bounds(op)
    places = np.arange(np.prod(shape), dtype=np.int64).reshape(shape)
    for axis, one in enumerate(zip(begin, end, strides, strict=True)):
        start, stop, step = one
        chosen = slice(start, None if stop == -_END else stop, step)
        places = places[(*[slice(None)] * axis, chosen)]
    flat, update = g.add("Reshape", op["x"], [-1]), g.add("Reshape", op["update"], [-1])
    return g.add("Reshape", g.add("ScatterElements", flat, places.reshape(-1), update, axis=0), list(shape))


def _crop(g: Graph, op: Op) -> str:
    """Cut from the last two sides."""
    (top, bottom), (left, right) = op.integers("crop_height"), op.integers("crop_width")
    return g.add("Slice", op["x"], [top, left], [-bottom or _END, -right or _END], [-2, -1])


def _reverse(g: Graph, op: Op) -> str:
    rank = len(op["x"].shape)
    axes = [axis % rank for axis in op.integers("axes", range(rank))]
    count = len(axes)
    return g.add("Slice", op["x"], [-1] * count, [-_END] * count, axes, [-1] * count)


def _reverse_sequence(g: Graph, op: Op) -> str:
    axes = (op.integer("batch_axis", 0), op.integer("seq_axis", 0))
    if sorted(axes) != [0, 1]:
        raise op.unsupported(f"batch_axis {axes[0]}, seq_axis {axes[1]}; 0 and 1 are known, in either order")
    return g.add("ReverseSequence", op["x"], g.cast(op["lengths"], np.int64), batch_axis=axes[0], time_axis=axes[1])


def _sliding_windows(g: Graph, op: Op) -> str:
    """Give every window along an axis: that side becomes windows × size."""
    shape, size, stride = op.shape_of("x"), op.integer("size"), op.integer("stride", 1)
    axis = op.integer("axis") % len(shape)
    starts = np.arange(0, shape[axis] - size + 1, stride, dtype=np.int64)
    return g.add("Gather", op["x"], starts[:, None] + np.arange(size, dtype=np.int64), axis=axis)


def _band_part(g: Graph, op: Op) -> str:
    """Keep so many diagonals below and above the main one, all where the number is negative."""
    rows, columns = op.shape_of("x")[-2:]
    lower, upper = op.integer("lower", -1), op.integer("upper", -1)
    below = np.arange(rows)[:, None] - np.arange(columns)
    band = ((lower < 0) | (below <= lower)) & ((upper < 0) | (-below <= upper))
    if op["x"].kind == "bool":
        return g.add("And", op["x"], band)
    return g.add("Where", band, op["x"], np.zeros((), carried(op["x"].kind)))


OPS: dict[str, Writer] = {
    "band_part": _band_part,
    "crop": _crop,
    "reverse": _reverse,
    "reverse_sequence": _reverse_sequence,
    "slice_by_index": _slice_by_index,
    "slice_by_size": _slice_by_size,
    "slice_update": _slice_update,
    "sliding_windows": _sliding_windows,
}
