"""Ops that change shapes, join, repeat and make tensors."""

from collections.abc import Sequence

import numpy as np

from facectl_export.mlprogram.graph import Given, Graph, Writer, carried
from facectl_export.mlprogram.program import Op, Value


def _sides(g: Graph, value: Value) -> Given:
    """Give a vector of integers as ONNX wants shapes."""
    return [int(side) for side in value.constant] if value.constant is not None else g.cast(value, np.int64)


def _to_declared(g: Graph, op: Op) -> str:
    """Reshape x to the shape that the program declares for the result, where that is known."""
    return g.add("Reshape", op["x"], list(op.output_shape()), allowzero=1)


def _reshape(g: Graph, op: Op) -> str:
    """Where the shape is open, a 0 stands for the side of x in its place, counted from the right since iOS 17."""
    declared, shape = op.outputs[0].static, op["shape"]
    if declared is not None and all(declared):  # of an open x, coremltools declares a 0 as it stands
        return _to_declared(g, op)
    if shape.constant is None:
        aligned = shape.shape == (len(op["x"].shape),)  # else no 0 can be in it that ONNX understands
        return g.add("Reshape", op["x"], _sides(g, shape), allowzero=int(not aligned))
    sides = op.integers("shape")
    if 0 in sides and len(sides) != len(op["x"].shape):
        raise op.unsupported(f"shape {sides} for {len(op['x'].shape)} open sides")
    return g.add("Reshape", op["x"], sides)


def _expand_dims(g: Graph, op: Op) -> str:
    return g.add("Unsqueeze", op["x"], op.integers("axes"))


def _squeeze(g: Graph, op: Op) -> str:
    """Remove sides of 1: those named, and none that is longer."""
    shape = op["x"].shape
    axes = [axis % len(shape) for axis in op.integers("axes", range(len(shape)))]
    gone = [axis for axis in axes if shape[axis] == 1]
    return g.add("Squeeze", op["x"], gone) if gone else g.add("Identity", op["x"])


def _transpose(g: Graph, op: Op) -> str:
    rank = len(op["x"].shape)
    return g.add("Transpose", op["x"], perm=[axis % rank for axis in op.integers("perm")])


def _concat(g: Graph, op: Op) -> str:
    """Join along an axis; interleaved, one slice of each after the other."""
    values, axis = op.inputs["values"], op.integer("axis")
    if not op.flag("interleave"):
        return g.add("Concat", *(_at_least_a_vector(g, value) for value in values), axis=axis)
    rank = len(values[0].shape)
    stacked = _stacked(g, values, axis % rank + 1)
    return g.add("Reshape", stacked, list(op.output_shape()))


def _at_least_a_vector(g: Graph, value: Value) -> Given:
    return value if value.shape else g.add("Unsqueeze", value, [0])


def _stacked(g: Graph, values: Sequence[Value], axis: int) -> str:
    return g.add("Concat", *(g.add("Unsqueeze", value, [axis]) for value in values), axis=axis)


def _stack(g: Graph, op: Op) -> str:
    values = op.inputs["values"]
    return _stacked(g, values, op.integer("axis") % (len(values[0].shape) + 1))


def _split(g: Graph, op: Op) -> Sequence[str]:
    axis, count = op.integer("axis"), len(op.outputs)
    sizes = op.get("split_sizes")
    if sizes is not None:
        return g.add_several("Split", count, op["x"], _sides(g, sizes), axis=axis)
    return g.add_several("Split", count, op["x"], axis=axis, num_outputs=count)


def _tile(g: Graph, op: Op) -> str:
    return g.add("Tile", op["x"], _sides(g, op["reps"]))


def _fill(g: Graph, op: Op) -> str:
    value = op.constant("value", 0.0).reshape(()).astype(carried(op.outputs[0].kind))
    return g.add("Expand", value, _sides(g, op["shape"]))


def _fill_like(g: Graph, op: Op) -> str:
    value = op.constant("value", 0.0).reshape(()).astype(carried(op.outputs[0].kind))
    return g.add("Expand", value, g.add("Shape", op["ref_tensor"]))


def _shape(g: Graph, op: Op) -> str:
    return g.cast(g.add("Shape", op["x"]), np.int32)


def _range(g: Graph, op: Op) -> str:
    return g.add("Range", *(g.add("Reshape", op[name], np.zeros(0, np.int64)) for name in ("start", "end", "step")))


def _one_hot(g: Graph, op: Op) -> str:
    """Compare each index with every place along a new axis; one that is no place is none's."""
    rank = len(op["indices"].shape)
    after = rank - op.integer("axis", -1) % (rank + 1)
    count = g.add("Reshape", g.cast(op["one_hot_vector_size"], np.int32), [])
    places = g.add("Range", np.array(0, np.int32), count, np.array(1, np.int32))
    places = g.add("Reshape", places, [-1, *[1] * after])
    hot = g.add("Equal", g.add("Unsqueeze", op["indices"], [-1 - after]), places)
    kind = carried(op.outputs[0].kind)
    held = np.int32 if kind is np.bool_ else kind  # ONNX Runtime has no Where of truth values
    on, off = (op.constant(name, at).reshape(()).astype(held) for name, at in (("on_value", 1), ("off_value", 0)))
    return g.cast(g.add("Where", hot, on, off), kind)


def _pad(g: Graph, op: Op) -> str:
    """Pad the last sides, as many as there are pairs."""
    mode = op.word("mode", ("constant", "reflect", "replicate"), "constant")
    pairs = op.integers("pad")
    untouched = [0] * (len(op["x"].shape) - len(pairs) // 2)
    pads = [*untouched, *pairs[::2], *untouched, *pairs[1::2]]
    if mode != "constant":
        return g.add("Pad", op["x"], pads, mode="edge" if mode == "replicate" else mode)
    value = op.constant("constant_val", 0.0).reshape(()).astype(carried(op["x"].kind))
    return g.add("Pad", op["x"], pads, value)


def _depth_to_space(mode: str, parameter: str) -> Writer:
    return lambda g, op: g.add("DepthToSpace", op["x"], blocksize=op.integer(parameter), mode=mode)


def _pixel_unshuffle(g: Graph, op: Op) -> str:
    """N × C × H × W → N × C f² × H / f × W / f, a channel's block becoming neighbouring channels."""
    n, c, h, w = op.shape_of("x")
    f = op.integer("downscale_factor")
    split = g.add("Reshape", op["x"], [n, c, h // f, f, w // f, f])
    moved = g.add("Transpose", split, perm=[0, 1, 3, 5, 2, 4])
    return g.add("Reshape", moved, [n, c * f * f, h // f, w // f])


def _space_to_batch(g: Graph, op: Op) -> str:
    """Pad, and let each position within a block become images of its own, as TensorFlow does."""
    n, c, h, w = op.shape_of("x")
    (a, b), ((top, bottom), (left, right)) = op.integers("block_shape"), op.constant("paddings").tolist()
    h, w = h + top + bottom, w + left + right
    padded = g.add("Pad", op["x"], [0, 0, top, left, 0, 0, bottom, right])
    split = g.add("Reshape", padded, [n, c, h // a, a, w // b, b])
    return g.add("Reshape", g.add("Transpose", split, perm=[3, 5, 0, 1, 2, 4]), [n * a * b, c, h // a, w // b])


def _batch_to_space(g: Graph, op: Op) -> str:
    n, c, h, w = op.shape_of("x")
    (a, b), ((top, bottom), (left, right)) = op.integers("block_shape"), op.constant("crops").tolist()
    split = g.add("Reshape", op["x"], [a, b, n // (a * b), c, h, w])
    whole = g.add("Reshape", g.add("Transpose", split, perm=[2, 3, 4, 0, 5, 1]), [n // (a * b), c, h * a, w * b])
    return g.add("Slice", whole, [top, left], [h * a - bottom, w * b - right], [2, 3])


OPS: dict[str, Writer] = {
    "batch_to_space": _batch_to_space,
    "concat": _concat,
    "depth_to_space": _depth_to_space("DCR", "block_size"),
    "expand_dims": _expand_dims,
    "fill": _fill,
    "fill_like": _fill_like,
    "flatten2d": _to_declared,
    "one_hot": _one_hot,
    "pad": _pad,
    "pixel_shuffle": _depth_to_space("CRD", "upscale_factor"),
    "pixel_unshuffle": _pixel_unshuffle,
    "range_1d": _range,
    "reshape": _reshape,
    "reshape_like": _to_declared,
    "shape": _shape,
    "space_to_batch": _space_to_batch,
    "space_to_depth": lambda g, op: g.add("SpaceToDepth", op["x"], blocksize=op.integer("block_size")),
    "split": _split,
    "squeeze": _squeeze,
    "stack": _stack,
    "tile": _tile,
    "transpose": _transpose,
}
