"""Activations."""

import math

from facectl_export.mlprogram.graph import Graph, Writer
from facectl_export.mlprogram.program import Op


def _per_channel(op: Op) -> list[int]:
    """Give the shape that lines a vector of one value a channel up with x."""
    return [-1, *[1] * (len(op["x"].shape) - 2)]


def _clamped_relu(g: Graph, op: Op) -> str:
    """min(beta, x) from 0 up, min(beta, alpha × x) below."""
    leaky = g.add("LeakyRelu", op["x"], alpha=op.number("alpha"))
    return g.add("Min", leaky, op.number("beta"))


def _gelu(g: Graph, op: Op) -> str:
    x = op["x"]
    mode = op.word("mode", ("EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION"), "EXACT")
    if mode == "sigmoid_approximation":
        return g.add("Mul", x, g.add("Sigmoid", g.add("Mul", x, 1.702)))
    if mode == "exact":
        inner = g.add("Erf", g.add("Mul", x, math.sqrt(0.5)))
    else:
        cube = g.add("Mul", g.add("Mul", x, x), x)
        inner = g.add("Tanh", g.add("Mul", g.add("Add", x, g.add("Mul", cube, 0.044715)), math.sqrt(2 / math.pi)))
    return g.add("Mul", g.add("Mul", x, 0.5), g.add("Add", inner, 1.0))


def _linear_activation(g: Graph, op: Op) -> str:
    return g.add("Add", g.add("Mul", op["x"], op.number("alpha")), op.number("beta"))


def _prelu(g: Graph, op: Op) -> str:
    return g.add("PRelu", op["x"], g.add("Reshape", op["alpha"], _per_channel(op)))


def _relu6(g: Graph, op: Op) -> str:
    return g.add("Clip", op["x"], 0.0, 6.0)


def _scaled_tanh(g: Graph, op: Op) -> str:
    return g.add("Mul", g.add("Tanh", g.add("Mul", op["x"], op.number("beta"))), op.number("alpha"))


def _sigmoid_hard(g: Graph, op: Op) -> str:
    return g.add("HardSigmoid", op["x"], alpha=op.number("alpha"), beta=op.number("beta"))


def _silu(g: Graph, op: Op) -> str:
    return g.add("Mul", op["x"], g.add("Sigmoid", op["x"]))


def _softmax(g: Graph, op: Op) -> str:
    return g.add("Softmax", op["x"], axis=op.integer("axis", -1))


def _softplus_parametric(g: Graph, op: Op) -> str:
    """Give alpha × log(1 + exp(beta × x)), with one alpha and one beta a channel."""
    alpha, beta = (g.add("Reshape", op[name], _per_channel(op)) for name in ("alpha", "beta"))
    return g.add("Mul", g.add("Softplus", g.add("Mul", op["x"], beta)), alpha)


def _thresholded_relu(g: Graph, op: Op) -> str:
    """Give x where it is alpha or more, and 0 elsewhere; ONNX's own leaves out what equals alpha."""
    return g.add("Where", g.add("GreaterOrEqual", op["x"], op.number("alpha")), op["x"], 0.0)


OPS: dict[str, Writer] = {
    "clamped_relu": _clamped_relu,
    "elu": lambda g, op: g.add("Elu", op["x"], alpha=op.number("alpha", 1.0)),
    "gelu": _gelu,
    "leaky_relu": lambda g, op: g.add("LeakyRelu", op["x"], alpha=op.number("alpha")),
    "linear_activation": _linear_activation,
    "prelu": _prelu,
    "relu": lambda g, op: g.add("Relu", op["x"]),
    "relu6": _relu6,
    "scaled_tanh": _scaled_tanh,
    "sigmoid": lambda g, op: g.add("Sigmoid", op["x"]),
    "sigmoid_hard": _sigmoid_hard,
    "silu": _silu,
    "softmax": _softmax,
    "softplus": lambda g, op: g.add("Softplus", op["x"]),
    "softplus_parametric": _softplus_parametric,
    "softsign": lambda g, op: g.add("Softsign", op["x"]),
    "thresholded_relu": _thresholded_relu,
}
