"""Arithmetic value by value, with numpy's broadcasting."""

import numpy as np

from facectl_export.mlprogram.graph import Graph, Writer, carried
from facectl_export.mlprogram.program import Op

_FRACTION = "what Core ML makes of a fraction among integers is not written down"


def _binary(kind: str) -> Writer:
    return lambda g, op: g.add(kind, op["x"], op["y"])


def _unary(kind: str) -> Writer:
    return lambda g, op: g.add(kind, op["x"])


def _is_integer(op: Op) -> bool:
    return op["x"].kind not in ("fp16", "fp32", "fp64")


def _cast(g: Graph, op: Op) -> str:
    """Cast to the type declared; one of 16 bits is a cast there and back, as the graph carries 32."""
    kind = op.outputs[0].kind
    if kind in ("int16", "uint16"):
        return g.cast(g.cast(op["x"], np.dtype(kind)), np.int32)
    return g.cast(op["x"], carried(kind))


def _clip(g: Graph, op: Op) -> str:
    return g.add("Clip", op["x"], op.number("alpha"), op.number("beta"))


def _exp2(g: Graph, op: Op) -> str:
    if _is_integer(op):
        raise op.unsupported(_FRACTION)
    return g.add("Pow", 2.0, op["x"])


def _floored(g: Graph, op: Op) -> str:
    """Divide and round down; ONNX rounds integers towards zero, unless their remainder is taken away first."""
    if _is_integer(op):
        return g.add("Div", g.add("Sub", op["x"], g.add("Mod", op["x"], op["y"])), op["y"])
    return g.add("Floor", g.add("Div", op["x"], op["y"]))


def _inverse(g: Graph, op: Op) -> str:
    return g.add("Reciprocal", g.add("Add", op["x"], op.number("epsilon", 1e-4)))


def _log(g: Graph, op: Op) -> str:
    return g.add("Log", g.add("Add", op["x"], op.number("epsilon", 1e-45)))


def _logical_not(g: Graph, op: Op) -> str:
    return g.add("Not", op["x"])


def _modulo(g: Graph, op: Op) -> str:
    """Give the remainder, with the sign of y; ONNX's of floats has the sign of x."""
    x, y = op["x"], op["y"]
    if _is_integer(op):
        return g.add("Mod", x, y)
    rest = g.add("Mod", x, y, fmod=1)
    return g.add("Where", g.add("Less", g.add("Mul", g.add("Sign", rest), y), 0.0), g.add("Add", rest, y), rest)


def _not_equal(g: Graph, op: Op) -> str:
    return g.add("Not", g.add("Equal", op["x"], op["y"]))


def _power(g: Graph, op: Op) -> str:
    exponents = op["y"].constant
    if _is_integer(op) and (exponents is None or (exponents < 0).any()):
        raise op.unsupported(_FRACTION)
    return g.add("Pow", op["x"], op["y"])


def _real_div(g: Graph, op: Op) -> str:
    if _is_integer(op):
        raise op.unsupported(_FRACTION)
    return g.add("Div", op["x"], op["y"])


def _rsqrt(g: Graph, op: Op) -> str:
    return g.add("Reciprocal", g.add("Sqrt", g.add("Add", op["x"], op.number("epsilon", 1e-12))))


def _select(g: Graph, op: Op) -> str:
    """Give a where the condition holds, b elsewhere; truth values go as integers, as ONNX Runtime selects none."""
    condition, kind = g.cast(op["cond"], np.bool_), carried(op["a"].kind)
    if kind is not np.bool_:
        return g.add("Where", condition, op["a"], op["b"])
    return g.cast(g.add("Where", condition, *(g.cast(op[name], np.int32) for name in ("a", "b"))), kind)


def _square(g: Graph, op: Op) -> str:
    return g.add("Mul", op["x"], op["x"])


def _threshold(g: Graph, op: Op) -> str:
    """Give alpha where x is less."""
    return g.add("Max", op["x"], op["alpha"])


OPS: dict[str, Writer] = {
    **{
        name: _binary(kind)
        for name, kind in {
            "add": "Add",
            "equal": "Equal",
            "greater": "Greater",
            "greater_equal": "GreaterOrEqual",
            "less": "Less",
            "less_equal": "LessOrEqual",
            "logical_and": "And",
            "logical_or": "Or",
            "logical_xor": "Xor",
            "maximum": "Max",
            "minimum": "Min",
            "mul": "Mul",
            "sub": "Sub",
        }.items()
    },
    **{
        name: _unary(name.capitalize())
        for name in ("abs", "acos", "asin", "atan", "atanh", "ceil", "cos", "cosh", "erf", "exp", "floor", "round")
    },
    **{name: _unary(name.capitalize()) for name in ("sign", "sin", "sinh", "sqrt", "tan", "tanh")},
    "cast": _cast,
    "clip": _clip,
    "exp2": _exp2,
    "floor_div": _floored,
    "identity": _unary("Identity"),
    "inverse": _inverse,
    "log": _log,
    "logical_not": _logical_not,
    "mod": _modulo,
    "not_equal": _not_equal,
    "pow": _power,
    "real_div": _real_div,
    "rsqrt": _rsqrt,
    "select": _select,
    "square": _square,
    "threshold": _threshold,
}
