"""From a program to an ONNX model: inputs as an app gives them, every op, outputs by name."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from facectl_export.mlprogram.errors import UnsupportedError, blamed
from facectl_export.mlprogram.graph import Graph, carried
from facectl_export.mlprogram.ops import OPS
from facectl_export.mlprogram.program import Op, Picture, Program, Value, read_program
from facectl_runtime.errors import MissingExtraError, ModelError
from facectl_runtime.spec import ModelSpec

if TYPE_CHECKING:
    from onnx import ModelProto

CLASSIFY = "classify"
_CHANNELS = {"RGB": 3, "BGR": 3, "GRAYSCALE": 1}
End = tuple[str, Any, Sequence[Any]]
"""An input or an output: its name, its numpy type, its shape."""


@dataclass(frozen=True)
class Converted:
    """A program as a graph."""

    package: Path
    model: "ModelProto"
    ops: int
    """Of the program, without constants."""
    labels: tuple[str, ...]
    """Of a classifier, in the order of its probabilities."""

    def content(self) -> bytes:
        """Give the model as a file's content. Raises `UnsupportedError` where it is more than one message can hold."""
        from google.protobuf.message import EncodeError

        try:
            content: bytes = self.model.SerializeToString()
        except (EncodeError, ValueError) as error:
            raise UnsupportedError(f"{self.package}: its weights take over 2 GiB in 32 bits, and less fits") from error
        return content


def to_onnx(package: Path, declared_types: bool = False, answers_alone: bool = False) -> Converted:
    """Read a package, and give its program as a graph.

    An image becomes uint8 1 × height × width × channels, colours in the order RGB; other inputs and outputs keep name
    and shape, in 32 bits. A classifier gives the likeliest label as text and its probabilities (1 × classes), or with
    `answers_alone` those alone. With `declared_types` every value that the program declares to be a 16-bit float is
    rounded to one; else all is computed in 32 bits. Raises `ModelError` for a damaged package, and `UnsupportedError`
    for an op or an attribute that is not known, `MissingExtraError` without onnx.
    """
    if find_spec("onnx") is None:
        raise MissingExtraError("an .mlpackage needs onnx off the Mac; install it with: pip install 'facectl[coreml]'")
    try:
        return _converted(package, read_program(package), declared_types, answers_alone)
    except UnsupportedError as error:
        raise error if str(error).startswith(str(package)) else UnsupportedError(f"{package}: {error}") from error


def check_labels(program: Converted, spec: ModelSpec) -> None:
    """Raise `ModelError` where a program names other classes than its package's spec, or has them in another order."""
    if program.labels != spec.labels:
        raise ModelError(f"{program.package}: its program names other classes than its spec; export the model again")


def _converted(package: Path, program: Program, declared_types: bool, answers_alone: bool) -> Converted:
    _refuse_unknown(program.ops)
    graph = Graph(declared_types)
    inputs = [_input(graph, value, program.pictures.get(value.name)) for value in program.inputs]
    ends: dict[str, End] = {}
    labels: tuple[str, ...] = ()
    for op in program.ops:
        with blamed(package, f"{op.type} {op.name!r}"):
            if op.type == CLASSIFY:
                labels = tuple(str(label) for label in op.constant("classes").reshape(-1))
                ends = _classified(graph, op, labels)
            else:
                graph.write(op, OPS[op.type])
    with blamed(package, "its outputs"):
        values = {value.name: value for value in program.outputs}  # each once
        outputs = [ends.get(value.name) or _output(graph, value) for value in values.values()]
        if answers_alone:
            outputs = [end for end in outputs if end[1] is np.float32]
        if not outputs:
            raise ValueError("there are none")
        return Converted(package, graph.model(inputs, outputs), len(program.ops), labels)


def _refuse_unknown(ops: Sequence[Op]) -> None:
    """Raise `UnsupportedError` that names each type of op that is not known, and where it first comes."""
    unknown: dict[str, str] = {}
    for place, op in enumerate(ops):
        if op.type not in OPS and op.type != CLASSIFY:
            unknown.setdefault(op.type, f"{op.type} {op.name!r} (op {place + 1} of {len(ops)})")
    if unknown:
        raise UnsupportedError(
            f"it has ops that only Core ML itself runs: {', '.join(unknown.values())}; run it on a Mac or an iPhone"
        )


def _input(graph: Graph, value: Value, picture: Picture | None) -> End:
    """Bind an input of the program, and give what the graph takes for it."""
    if picture is None:
        graph.bind(value, value.name)
        return value.name, carried(value.kind), _open_sides(value)
    if picture.colours not in _CHANNELS:
        colours, known = picture.colours or "unknown colours", ", ".join(_CHANNELS)
        raise UnsupportedError(f"input {value.name!r} is an image of {colours}; {known} are known")
    name = graph.add("Transpose", graph.cast(value.name, np.float32), perm=[0, 3, 1, 2])
    if picture.colours == "BGR":
        name = graph.add("Gather", name, [2, 1, 0], axis=1)
    graph.bind(value, name)
    return value.name, np.uint8, [1, picture.height, picture.width, _CHANNELS[picture.colours]]


def _output(graph: Graph, value: Value) -> End:
    name = value.name if graph.name(value) != value.name else f"{value.name}_output"  # an input that is an output too
    return graph.output(name, value), carried(value.kind), _open_sides(value)


def _classified(graph: Graph, op: Op, labels: Sequence[str]) -> dict[str, End]:
    """Give the outputs of a classifier by name: what an app sees as a dictionary is a row here."""
    known = op["probabilities"].static
    if known is not None and math.prod(known) != len(labels):
        raise ValueError(f"{len(labels)} classes for {math.prod(known)} probabilities")
    row = graph.add("Reshape", op["probabilities"], [1, len(labels)])
    likeliest = graph.add("Gather", np.array(labels, dtype=np.str_), graph.add("ArgMax", row, axis=1, keepdims=0))
    label, scores = (output.name for output in op.outputs)
    return {
        label: (graph.output(label, likeliest), np.str_, [1]),
        scores: (graph.output(scores, row), np.float32, [1, len(labels)]),
    }


def _open_sides(value: Value) -> list[Any]:
    """Give a shape whose open sides have names."""
    return [f"{value.name}_{place}" if side is None else side for place, side in enumerate(value.shape)]
