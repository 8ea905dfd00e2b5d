"""Reads the tensors of PyTorch's legacy `.pth` files, without PyTorch and without unpickling.

A pickle is a program that may call anything. So none is run: the opcodes that a state dict consists of are carried out
here, on plain values and two records of this module, and a file that holds any other opcode or name is refused.
Source: `_legacy_save` in PyTorch's `torch/serialization.py`, and `pickletools` for the opcodes. In order: three small
pickles (magic number, protocol 1001, the writer's system), the state dict, the storages' keys, then each storage as a
count of elements (int64) and its elements.
"""

import io
import math
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facectl_runtime.errors import ModelError

_HEADER = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e" + "80024de9032e")
"""The pickles of the magic number and of the protocol."""
_ZIP_HEADER = b"PK\x03\x04"
_MOST_OPCODES = 1_000_000
"""A state dict of 300 tensors has 12,000."""
_MOST_SIDES = 8
_MARK = object()
_BY_CODE = {opcode.code: opcode for opcode in pickletools.opcodes}

_STORAGES: dict[str, np.dtype[Any]] = {
    "torch.DoubleStorage": np.dtype("<f8"),
    "torch.FloatStorage": np.dtype("<f4"),
    "torch.HalfStorage": np.dtype("<f2"),
    "torch.LongStorage": np.dtype("<i8"),
    "torch.IntStorage": np.dtype("<i4"),
    "torch.ShortStorage": np.dtype("<i2"),
    "torch.CharStorage": np.dtype("i1"),
    "torch.ByteStorage": np.dtype("u1"),
}


class _RefusedError(Exception):
    """What a file asks for and does not get, in words that follow its path."""


@dataclass(frozen=True)
class _Global:
    """A name that the file mentions. Nothing is imported for it."""

    name: str


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: np.dtype[Any]
    size: int
    """Elements, not bytes."""


@dataclass(frozen=True)
class _Tensor:
    """A view on a storage, known to lie inside it; offset and strides count elements."""

    storage: _Storage
    offset: int
    sides: tuple[int, ...]
    strides: tuple[int, ...]


def read_state_dict(path: Path) -> dict[str, np.ndarray]:
    """Give the tensors of a legacy (not zip) `.pth` file that holds one state dict, by name, in the file's order.

    The arrays have the file's shapes and dtypes (float16 to float64, int8 to int64, uint8), are read-only and may
    share memory. A file cannot have code run, nor memory used much beyond its own size.

    Raises:
        ModelError: the file cannot be read, is no legacy `.pth`, is damaged, or asks for more than plain tensors.
    """
    try:
        return _read(path.read_bytes())
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from error
    except _RefusedError as error:
        raise ModelError(f"{path}: {error}") from error
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise ModelError(f"{path}: damaged, cut short, or no legacy-format .pth file") from error


def _read(data: bytes) -> dict[str, np.ndarray]:
    if data.startswith(_ZIP_HEADER):
        raise _RefusedError(
            "the zip format of PyTorch 1.6 and later; save it again with torch.save(..., "
            "_use_new_zipfile_serialization=False)"
        )
    if not data.startswith(_HEADER):
        raise _RefusedError("not a legacy-format .pth file, which begins with PyTorch's magic number")
    stream = io.BytesIO(data)
    stream.seek(len(_HEADER))
    system = _Machine().run(stream)
    machine = _Machine()
    tensors = machine.run(stream)
    keys = _Machine().run(stream)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise _RefusedError("not written as little-endian; only such files are read")
    if not isinstance(tensors, dict) or not all(isinstance(tensor, _Tensor) for tensor in tensors.values()):
        raise _RefusedError("holds something other than one dict of tensors; save model.state_dict()")
    elements = _elements(machine.storages, keys, memoryview(data)[stream.tell() :])
    return {name: _array(tensor, elements[tensor.storage.key]) for name, tensor in tensors.items()}


def _elements(storages: dict[str, _Storage], keys: Any, data: memoryview) -> dict[str, np.ndarray]:
    """Give each storage's elements; together they must be all that is left of the file."""
    if not isinstance(keys, list) or sorted(keys) != sorted(storages):
        raise _RefusedError("the list of storages is not the one that the tensors use")
    elements = {}
    for key in keys:
        storage = storages[key]
        if int.from_bytes(data[:8], "little") != storage.size or len(data) < 8 + storage.size * storage.dtype.itemsize:
            raise _RefusedError(f"storage {key[:80]!r} has not the {storage.size} elements it should have")
        elements[key] = np.frombuffer(data, storage.dtype, storage.size, offset=8)
        data = data[8 + elements[key].nbytes :]
    if data:
        raise _RefusedError(f"{len(data)} bytes follow the last storage")
    return elements


def _array(tensor: _Tensor, elements: np.ndarray) -> np.ndarray:
    strides = [stride * elements.itemsize for stride in tensor.strides]
    return np.lib.stride_tricks.as_strided(elements[tensor.offset :], tensor.sides, strides, writeable=False)


class _Machine:
    """One pickle, carried out. Its stack holds str, int, bool, None, tuple, list, dict and this module's records."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, _Storage] = {}

    def run(self, stream: io.BytesIO) -> Any:
        """Give the pickle's value, and leave the stream behind its last byte."""
        for _ in range(_MOST_OPCODES):
            opcode = _BY_CODE[stream.read(1).decode("latin-1")]
            if opcode.name == "STOP":
                (value,) = self.stack
                return value
            if opcode.name not in _OPCODES:
                raise _RefusedError(f"the pickle opcode {opcode.name} is refused; plain tensors need none such")
            _OPCODES[opcode.name](self, opcode.arg.reader(stream) if opcode.arg else None)
        raise _RefusedError(f"more than {_MOST_OPCODES} pickle opcodes")

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self, count: int) -> tuple[Any, ...]:
        return tuple(reversed([self.stack.pop() for _ in range(count)]))

    def pop_to_mark(self) -> tuple[Any, ...]:
        values = []
        while (value := self.stack.pop()) is not _MARK:
            values.append(value)
        return tuple(reversed(values))

    def store(self, values: tuple[Any, ...]) -> None:
        """Put key, value, key, value ... into the dict on top of the stack."""
        target, keys = self.stack[-1], values[::2]
        # Keys are str alone: the hash of a deeply nested tuple would overflow the C stack.
        if type(target) is not dict or not all(type(key) is str for key in keys):
            raise _RefusedError("sets an item of something other than a dict with str keys")
        target.update(zip(keys, values[1::2], strict=True))

    def extend(self, values: tuple[Any, ...]) -> None:
        if type(self.stack[-1]) is not list or not all(type(value) is str for value in values):
            raise _RefusedError("appends to something other than a list of str")
        self.stack[-1].extend(values)

    def find(self, name: str) -> None:
        """Push a global, of those that stand for code of this module."""
        name = name.replace(" ", ".", 1)
        if name not in _CALLS and name not in _STORAGES:
            raise _RefusedError(f"asks for {name[:80]!r}, which no plain tensor needs; do not load this file elsewhere")
        self.push(_Global(name))

    def call(self) -> None:
        function, arguments = self.pop(2)
        if not isinstance(function, _Global) or function.name not in _CALLS or type(arguments) is not tuple:
            raise _RefusedError("calls something other than a tensor's or a dict's constructor")
        self.push(_CALLS[function.name](*arguments))

    def set_state(self) -> None:
        """Drop what PyTorch hangs on a state dict besides its items, the modules' version numbers."""
        (state,) = self.pop(1)
        if type(self.stack[-1]) is not dict or type(state) is not dict or state.keys() != {"_metadata"}:
            raise _RefusedError("sets attributes other than a state dict's _metadata")

    def load_storage(self) -> None:
        (identity,) = self.pop(1)
        storage = _storage(*identity)
        if self.storages.setdefault(storage.key, storage) != storage:
            raise _RefusedError(f"storage {storage.key[:80]!r} is described in two ways")
        self.push(storage)


_OPCODES: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": lambda _machine, _version: None,
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "BININT": _Machine.push,
    "BININT1": _Machine.push,
    "BININT2": _Machine.push,
    "LONG1": _Machine.push,
    "BINUNICODE": _Machine.push,
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "TUPLE1": lambda machine, _: machine.push(machine.pop(1)),
    "TUPLE2": lambda machine, _: machine.push(machine.pop(2)),
    "TUPLE3": lambda machine, _: machine.push(machine.pop(3)),
    "MARK": lambda machine, _: machine.push(_MARK),
    "TUPLE": lambda machine, _: machine.push(machine.pop_to_mark()),
    "BINPUT": lambda machine, key: machine.memo.update({key: machine.stack[-1]}),
    "LONG_BINPUT": lambda machine, key: machine.memo.update({key: machine.stack[-1]}),
    "BINGET": lambda machine, key: machine.push(machine.memo[key]),
    "LONG_BINGET": lambda machine, key: machine.push(machine.memo[key]),
    "SETITEM": lambda machine, _: machine.store(machine.pop(2)),
    "SETITEMS": lambda machine, _: machine.store(machine.pop_to_mark()),
    "APPEND": lambda machine, _: machine.extend(machine.pop(1)),
    "APPENDS": lambda machine, _: machine.extend(machine.pop_to_mark()),
    "GLOBAL": _Machine.find,
    "REDUCE": lambda machine, _: machine.call(),
    "BUILD": lambda machine, _: machine.set_state(),
    "BINPERSID": lambda machine, _: machine.load_storage(),
}


def _storage(kind: Any, scalar: Any, key: Any, _location: Any, size: Any, view: Any = None) -> _Storage:
    dtype = _STORAGES.get(scalar.name) if isinstance(scalar, _Global) else None
    if kind != "storage" or dtype is None or type(key) is not str or type(size) is not int or view is not None:
        raise _RefusedError("a storage is not described by a type, a key and a size")
    return _Storage(key, dtype, size)


def _tensor(storage: Any, offset: Any, sides: Any, strides: Any, *_unused: Any) -> _Tensor:
    """Make a tensor record. Empty tensors are refused along with what lies outside the storage."""
    if not isinstance(storage, _Storage) or type(sides) is not tuple or type(strides) is not tuple:
        raise _RefusedError("a tensor is not described by a storage, its sides and its strides")
    if not all(type(number) is int and 0 <= number <= storage.size for number in (offset, *sides, *strides)):
        raise _RefusedError("a tensor's offset, sides and strides must be integers of 0 to its storage's size")
    last = offset + sum((side - 1) * stride for side, stride in zip(sides, strides, strict=True))
    if len(sides) > _MOST_SIDES or not 0 < math.prod(sides) <= storage.size or last >= storage.size:
        raise _RefusedError(f"a tensor reaches outside its storage of {storage.size} elements")
    return _Tensor(storage, offset, sides, strides)


def _ordered_dict(*arguments: Any) -> dict[str, Any]:
    """Make an empty dict; PyTorch sets its items one by one. Keys in an argument would be hashed, see `store`."""
    if arguments:
        raise _RefusedError("gives arguments to OrderedDict, which no state dict needs")
    return {}


_CALLS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered_dict,
    "torch._utils._rebuild_tensor_v2": _tensor,
}
