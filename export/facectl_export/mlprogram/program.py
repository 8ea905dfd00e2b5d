"""A program as it was saved: its ops in order, every constant at hand, compressed weights made dense."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from facectl_export.mlprogram import constexpr
from facectl_export.mlprogram.blobs import BITS, NUMPY, Blobs, elements
from facectl_export.mlprogram.errors import UnsupportedError, blamed, damaged
from facectl_export.mlprogram.schema import COLOURS, TYPES, messages
from facectl_runtime.coreml_metadata import leads_away, model_file, read_metadata, regular_file

_MOST = 2**28  # a gigabyte of floats: no classifier has a value so large, and a damaged file may say so
_MODEL_PATH = "@model_path/"  # how the name of a weight file begins


@dataclass(frozen=True)
class Value:
    """What an op takes or gives."""

    name: str
    kind: str
    """The type of its elements, such as `fp16`."""
    shape: tuple[int | None, ...]
    """None for a side that is not known before it runs."""
    constant: npt.NDArray[Any] | None = None

    @property
    def static(self) -> tuple[int, ...] | None:
        """Give the shape where all of it is known."""
        known = tuple(side for side in self.shape if side is not None)
        return known if len(known) == len(self.shape) else None


@dataclass(frozen=True)
class Op:
    """One operation."""

    type: str
    name: str
    inputs: Mapping[str, Sequence[Value]]
    """By parameter; several for a parameter that is a tuple."""
    outputs: Sequence[Value]

    def __getitem__(self, parameter: str) -> Value:
        """Give the value of a parameter that is always there. Raises `UnsupportedError`."""
        found = self.get(parameter)
        if found is None:
            raise self.unsupported(f"it has no {parameter}")
        return found

    def get(self, parameter: str) -> Value | None:
        """Give the value of a parameter, or None where it is left out."""
        values = self.inputs.get(parameter)
        return values[0] if values else None

    def constant(self, parameter: str, default: Any = None) -> npt.NDArray[Any]:
        """Give the value of a parameter that has to be known beforehand. Raises `UnsupportedError`."""
        value = self.get(parameter)
        if value is None:
            if default is None:
                raise self.unsupported(f"it has no {parameter}")
            return np.asarray(default)
        if value.constant is None:
            raise self.unsupported(f"its {parameter} is computed while it runs, and only a constant one is known")
        return value.constant

    def number(self, parameter: str, default: float | None = None) -> float:
        """Give a constant number."""
        return float(self.constant(parameter, default).reshape(-1)[0])

    def integer(self, parameter: str, default: int | None = None) -> int:
        """Give a constant integer."""
        return int(self.constant(parameter, default).reshape(-1)[0])

    def integers(self, parameter: str, default: Sequence[int] | None = None) -> list[int]:
        """Give a constant vector of integers."""
        return [int(one) for one in self.constant(parameter, default).reshape(-1)]

    def output_shape(self) -> tuple[int, ...]:
        """Give the shape of the first output, which has to be known beforehand. Raises `UnsupportedError`."""
        shape = self.outputs[0].static
        if shape is None:
            raise self.unsupported("the size of its output is open, and only a fixed one is known")
        return shape

    def flag(self, parameter: str, default: bool = False) -> bool:
        """Give a constant truth value."""
        return bool(self.constant(parameter, default).reshape(-1)[0])

    def word(self, parameter: str, allowed: Sequence[str], default: str | None = None) -> str:
        """Give a constant word, one of those `allowed`, in whatever case. Raises `UnsupportedError`."""
        word = str(self.constant(parameter, default).reshape(-1)[0])
        if word.lower() not in (one.lower() for one in allowed):
            raise self.unsupported(f"{parameter} {word!r} is not known; {', '.join(allowed)} are")
        return word.lower()

    def shape_of(self, parameter: str) -> tuple[int, ...]:
        """Give the shape of a value that has to be known beforehand. Raises `UnsupportedError`."""
        shape = self[parameter].static
        if shape is None:
            raise self.unsupported(f"the size of its {parameter} is open, and only a fixed one is known")
        return shape

    def unsupported(self, what: str) -> UnsupportedError:
        """Say what is not known, with the place."""
        return UnsupportedError(
            f"op {self.type} {self.name!r}: {what}; Core ML itself may run it, on a Mac or an iPhone"
        )


@dataclass(frozen=True)
class Picture:
    """An input that an app gives an image to."""

    colours: str
    """`RGB`, `BGR`, `GRAYSCALE`, `GRAYSCALE_FLOAT16`; empty for others."""
    width: int
    height: int


@dataclass(frozen=True)
class Program:
    """All that runs."""

    inputs: Sequence[Value]
    ops: Sequence[Op]
    outputs: Sequence[Value]
    pictures: Mapping[str, Picture]
    """By name, the inputs that are images."""


def read_program(package: Path) -> Program:
    """Read a package, as a phone would. Raises `ModelError` for one that is damaged, and for what is no ML Program."""
    read_metadata(package)  # which knows other kinds of models
    file = model_file(package)
    model = _message(file)
    description = model.description
    name = description.defaultFunctionName or "main"
    if name not in model.mlProgram.functions:
        raise damaged(package, "program", f"it has no function {name!r}")
    function = model.mlProgram.functions[name]
    features = list(description.input)
    for other in description.functions:
        if other.name == name:
            features = list(other.input)
    return _Reader(package, file).program(function, features)


def _message(file: Path) -> Any:
    from google.protobuf.message import DecodeError

    model = messages()["Model"]()
    try:
        model.ParseFromString(file.read_bytes())
    except OSError as error:
        raise damaged(file, "model", error.strerror or str(error)) from error
    except DecodeError as error:
        raise damaged(file, "model", "it is no message of Model.proto") from error
    return model


class _Reader:
    """Reads one function, and keeps what its values are."""

    def __init__(self, package: Path, file: Path) -> None:
        self._package, self._folder = package, PurePosixPath(file.parent.relative_to(package).as_posix())
        self._values: dict[str, Value] = {}
        self._blobs: Callable[[str], Blobs] = cache(self._open)

    def program(self, function: Any, features: Iterable[Any]) -> Program:
        if function.opset not in function.block_specializations:
            raise damaged(self._package, "program", f"it has no block for its opset {function.opset!r}")
        block = function.block_specializations[function.opset]
        inputs = [self._named(given) for given in function.inputs]
        self._values |= {value.name: value for value in inputs}
        ops = [op for message in block.operations if (op := self._read(message)) is not None]
        outputs = [self._known(name, "the outputs") for name in block.outputs]
        pictures = {one.name: _picture(one.type.imageType) for one in features if one.type.HasField("imageType")}
        return Program(inputs, ops, outputs, pictures)

    def _read(self, message: Any) -> Op | None:
        """Read an op; one that is known now, as constants are, becomes a value and no op."""
        with blamed(self._package, f"{message.type} {message.outputs[0].name if message.outputs else ''!r}"):
            return self._op(message)

    def _op(self, message: Any) -> Op | None:
        name = _text(message.attributes.get("name")) or (message.outputs[0].name if message.outputs else "")
        inputs = {key: self._argument(given, name) for key, given in message.inputs.items()}
        inputs |= {key: [self._value(given, key)] for key, given in message.attributes.items() if key != "name"}
        outputs = [self._named(given) for given in message.outputs]
        op = Op(message.type, name, inputs, outputs)
        if message.blocks:
            raise op.unsupported("it has control flow, and only straight programs are known")
        if message.type == "const":
            self._keep(outputs, [op.constant("val")])
        elif message.type in constexpr.DENSE:
            self._keep(outputs, constexpr.DENSE[op.type](op))
        else:
            self._values |= {value.name: value for value in outputs}
            return op
        return None

    def _keep(self, outputs: Sequence[Value], arrays: Sequence[npt.NDArray[Any]]) -> None:
        for value, array in zip(outputs, arrays, strict=True):
            shaped = array.reshape(value.static or ()) if value.kind != "string" else array
            self._values[value.name] = Value(value.name, value.kind, shaped.shape, shaped)

    def _argument(self, argument: Any, op: str) -> list[Value]:
        return [
            self._known(binding.name, f"op {op!r}") if binding.name else self._value(binding.value, op)
            for binding in argument.arguments
        ]

    def _known(self, name: str, where: str) -> Value:
        if name not in self._values:
            raise damaged(self._package, "program", f"{where}: {name!r}, which nothing gives")
        return self._values[name]

    def _value(self, value: Any, name: str) -> Value:
        """Read a constant."""
        kind, shape = _type(value.type)
        if value.immediateValue.list.values:  # of classes
            items = [self._value(item, name).constant for item in value.immediateValue.list.values]
            array: npt.NDArray[Any] = np.array([item for item in items if item is not None]).reshape(-1)
            return Value(name, kind, array.shape, array)
        if None in shape:
            raise damaged(self._package, "program", f"a constant of {name!r} has an open shape")
        sides = tuple(side or 0 for side in shape)
        array = self._array(value, kind, math.prod(sides), name)
        if array.size != math.prod(sides):
            raise damaged(self._package, "program", f"{name!r} has {array.size} values for the shape {list(sides)}")
        return Value(name, kind, sides, array.reshape(sides))

    def _array(self, value: Any, kind: str, count: int, name: str) -> npt.NDArray[Any]:
        """Give the values of a constant, one after the other."""
        if value.HasField("blobFileValue"):
            return self._blobs(value.blobFileValue.fileName).read(value.blobFileValue.offset, kind, count)
        tensor = value.immediateValue.tensor
        if tensor.HasField("strings"):
            return np.array(list(tensor.strings.values), dtype=np.str_)
        if kind not in NUMPY and kind not in BITS:
            raise UnsupportedError(f"{self._package}: {name!r} is a constant of type {kind or 'unknown'}")
        if tensor.HasField("bytes"):
            return elements(np.frombuffer(tensor.bytes.values, np.uint8), kind, count)
        for field in ("floats", "ints", "bools", "longInts", "doubles"):
            if tensor.HasField(field):
                found = np.array(getattr(tensor, field).values)
                kept = found.astype(NUMPY.get(kind, np.int8))
                if found.dtype.kind == "i" and not np.array_equal(kept, found):
                    raise ValueError(f"{name!r} has values beyond {kind}")
                return kept
        return np.zeros(0, NUMPY.get(kind, np.int8))

    def _open(self, name: str) -> Blobs:
        place = PurePosixPath(name.removeprefix(_MODEL_PATH))
        if not name.startswith(_MODEL_PATH) or leads_away(place):
            raise damaged(self._package, "program", f"its weights are said to be outside of it, at {name[:200]!r}")
        return Blobs(regular_file(self._package, self._folder / place))

    def _named(self, message: Any) -> Value:
        kind, shape = _type(message.type)
        return Value(message.name, kind, shape)


def _type(message: Any) -> tuple[str, tuple[int | None, ...]]:
    """Give the type of the elements, and the shape."""
    if message.HasField("listType"):
        return _type(message.listType.type)[0], ()
    tensor = message.tensorType
    sides = [side.constant.size if side.HasField("constant") else None for side in tensor.dimensions]
    if math.prod(side or 1 for side in sides) > _MOST:
        raise UnsupportedError(
            f"a value of {' × '.join(map(str, sides))} is more than the {_MOST} numbers that are read"
        )
    return TYPES.get(tensor.dataType, ""), tuple(sides)


def _text(value: Any) -> str:
    strings = value.immediateValue.tensor.strings.values if value is not None else ()
    return str(strings[0]) if strings else ""


def _picture(message: Any) -> Picture:
    return Picture(COLOURS.get(message.colorSpace, ""), message.width, message.height)
