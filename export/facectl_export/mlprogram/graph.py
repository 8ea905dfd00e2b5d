"""The ONNX graph that a program becomes, while it grows."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from facectl_export.mlprogram.program import Op, Value

if TYPE_CHECKING:
    from onnx import ModelProto

Array = npt.NDArray[Any]
Given = Value | str | Array | float | Sequence[int]
"""What a node takes: a value of the program, the name of another node's output, or a constant; Python's integers are
64 bits wide, as ONNX has shapes and indices, its floats 32."""
Writer = Callable[["Graph", Op], str | Sequence[str]]
"""Adds the nodes of one op, and gives the names of its outputs."""

OPSET, IR = 18, 8
_CARRIED: dict[str, Any] = {
    **dict.fromkeys(("fp16", "fp32", "fp64"), np.float32),
    "bool": np.bool_,
    "int8": np.int8,
    "uint8": np.uint8,
    "string": np.str_,
}


def carried(kind: str) -> Any:
    """Give the numpy type that values of a program's type have in the graph.

    Floats are 32 bits wide: halves are rounded, where that is asked for, and not computed in.
    """
    return _CARRIED.get(kind, np.int32)


class Graph:
    """Nodes in order, and constants."""

    def __init__(self, declared_types: bool = False) -> None:
        """With `declared_types`, each value that the program says is a 16-bit float is rounded to one."""
        self._declared = declared_types
        self._nodes: list[Any] = []
        self._constants: dict[str, Array] = {}
        self._names: dict[str, str] = {}
        self._count = 0
        self._op = ""

    def write(self, op: Op, writer: Writer) -> None:
        """Add an op of the program."""
        self._op = op.name
        made = writer(self, op)
        for value, name in zip(op.outputs, [made] if isinstance(made, str) else made, strict=True):
            self.bind(value, name)

    def bind(self, value: Value, name: str) -> None:
        """Let a value of the program be what the graph calls `name`."""
        if self._declared and value.kind == "fp16":
            name = self.cast(self.add("Cast", name, to=_onnx_type(np.float16)), np.float32)
        self._names[value.name] = name

    def add(self, kind: str, *given: Given | None, **attributes: Any) -> str:
        """Add a node of one output, and give the name of that."""
        return self.add_several(kind, 1, *given, **attributes)[0]

    def add_several(self, kind: str, outputs: int, *given: Given | None, **attributes: Any) -> list[str]:
        """Add a node of several outputs, and give their names. None leaves an optional input out."""
        import onnx

        inputs = ["" if one is None else self.name(one) for one in given]
        self._count += 1
        name = f"{self._op}/{kind}_{self._count}"
        names = [name if place == 0 else f"{name}:{place}" for place in range(outputs)]
        self._nodes.append(onnx.helper.make_node(kind, inputs, names, name, **attributes))
        return names

    def output(self, name: str, given: Given) -> str:
        """Let an output of the graph be called `name`."""
        import onnx

        self._nodes.append(onnx.helper.make_node("Identity", [self.name(given)], [name], f"output/{name}"))
        return name

    def cast(self, given: Given, kind: Any) -> str:
        """Add a cast to a numpy type."""
        return self.add("Cast", given, to=_onnx_type(kind))

    def name(self, given: Given) -> str:
        """Give the name that the graph has for what a node takes."""
        if isinstance(given, str):
            return given
        if isinstance(given, Value):
            return self._names.get(given.name) or self._constant_of(given)
        self._count += 1
        name = f"{self._op}/constant_{self._count}"
        self._constants[name] = _array(given)
        return name

    def _constant_of(self, value: Value) -> str:
        if value.constant is None:
            raise ValueError(f"{value.name!r} is no value that a graph holds")
        held = value.constant.astype(carried(value.kind))
        if held.dtype.kind in "iu" and not np.array_equal(held, value.constant):
            raise ValueError(f"{value.name!r} has values beyond 32 bits")
        name = self._names[value.name] = f"{value.name}/constant"
        self._constants[name] = held
        return name

    def model(
        self, inputs: Sequence[tuple[str, Any, Sequence[Any]]], outputs: Sequence[tuple[str, Any, Sequence[Any]]]
    ) -> "ModelProto":
        """Give the model; inputs and outputs each have a name, a numpy type and a shape."""
        import onnx

        def infos(ends: Sequence[tuple[str, Any, Sequence[Any]]]) -> list[Any]:
            return [onnx.helper.make_tensor_value_info(name, _onnx_type(kind), shape) for name, kind, shape in ends]

        constants = [
            onnx.numpy_helper.from_array(array.astype(object) if array.dtype.kind == "U" else array, name)
            for name, array in self._constants.items()
        ]
        graph = onnx.helper.make_graph(self._nodes, "program", infos(inputs), infos(outputs), constants)
        return onnx.helper.make_model(
            graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=IR, producer_name="facectl"
        )


def _array(given: Array | float | Sequence[int]) -> Array:
    if isinstance(given, np.ndarray):
        return given
    return np.asarray(given, np.float32 if isinstance(given, float) else np.int64)


def _onnx_type(kind: Any) -> int:
    import onnx

    return int(onnx.helper.np_dtype_to_tensor_dtype(np.dtype(kind))) if kind != np.str_ else onnx.TensorProto.STRING
