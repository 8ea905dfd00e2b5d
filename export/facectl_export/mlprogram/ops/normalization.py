"""Normalizations."""

import numpy as np

from facectl_export.mlprogram.graph import Graph, Writer
from facectl_export.mlprogram.program import Op


def _channels(op: Op) -> int:
    channels = op["x"].shape[1]
    if channels is None:
        raise op.unsupported("the number of its channels is open, and only a fixed one is known")
    return channels


def _batch_norm(g: Graph, op: Op) -> str:
    """x: N × C × sides; mean, variance, gamma and beta: C."""
    gamma = op.get("gamma") or np.ones(_channels(op), np.float32)
    beta = op.get("beta") or np.zeros(_channels(op), np.float32)
    epsilon = op.number("epsilon", 1e-5)
    return g.add("BatchNormalization", op["x"], gamma, beta, op["mean"], op["variance"], epsilon=epsilon)


def _instance_norm(g: Graph, op: Op) -> str:
    gamma = op.get("gamma") or np.ones(_channels(op), np.float32)
    beta = op.get("beta") or np.zeros(_channels(op), np.float32)
    return g.add("InstanceNormalization", op["x"], gamma, beta, epsilon=op.number("epsilon", 1e-5))


def _l2_norm(g: Graph, op: Op) -> str:
    """Divide by the L2 norm over the last three sides."""
    squares = g.add("ReduceSumSquare", op["x"], [-3, -2, -1], keepdims=1)
    return g.add("Div", op["x"], g.add("Sqrt", g.add("Add", squares, op.number("epsilon", 1e-6))))


def _layer_norm(g: Graph, op: Op) -> str:
    """Normalize over `axes`; gamma and beta have the shape of those sides."""
    rank = len(op["x"].shape)
    axes = sorted(axis % rank for axis in op.integers("axes", range(rank)))
    if not axes:
        raise op.unsupported("what it does over no axes is not written down")
    centred = g.add("Sub", op["x"], g.add("ReduceMean", op["x"], axes, keepdims=1))
    variance = g.add("ReduceMean", g.add("Mul", centred, centred), axes, keepdims=1)
    y = g.add("Div", centred, g.add("Sqrt", g.add("Add", variance, op.number("epsilon", 1e-5))))
    lined_up = [op["x"].shape[axis] or -1 if axis in axes else 1 for axis in range(rank)]
    for kind, parameter in (("Mul", "gamma"), ("Add", "beta")):
        if (value := op.get(parameter)) is not None:
            y = g.add(kind, y, g.add("Reshape", value, lined_up))
    return y


def _local_response_norm(g: Graph, op: Op) -> str:
    """x: N × C × one or two sides; ONNX Runtime takes two."""
    size = op.integer("size")
    if size % 2 == 0:
        raise op.unsupported(f"size {size}: which neighbours an even number counts is not written down")
    alpha, beta = op.number("alpha", 1e-4), op.number("beta", 0.75)
    one_side = len(op["x"].shape) == 3
    x = g.add("Unsqueeze", op["x"], [-1]) if one_side else op["x"]
    y = g.add("LRN", x, size=size, alpha=alpha, beta=beta, bias=op.number("k", 1.0))
    return g.add("Squeeze", y, [-1]) if one_side else y


OPS: dict[str, Writer] = {
    "batch_norm": _batch_norm,
    "instance_norm": _instance_norm,
    "l2_norm": _l2_norm,
    "layer_norm": _layer_norm,
    "local_response_norm": _local_response_norm,
}
