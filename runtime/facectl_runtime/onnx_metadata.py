"""The `metadata_props` of an ONNX file, read without the onnx package and without building a session.

Protocol buffers' wire format, of which this needs two rules: a field is a varint key (number × 8 + wire type) and then
its value; wire type 2 is a varint length and that many bytes. https://protobuf.dev/programming-guides/encoding/
"""

import hashlib
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from facectl_runtime.errors import ModelError

_GRAPH, _METADATA_PROPS = 7, 14  # field numbers of ModelProto
_KEY, _VALUE = 1, 2  # field numbers of StringStringEntryProto
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def read_metadata(path: Path) -> dict[str, str]:
    """Read `metadata_props`. Raises `ModelError` where the file is missing, damaged or not an ONNX model."""
    has_graph, entries = False, {}
    with _opened(path) as data:
        for number, start, end in _fields(data, 0, len(data)):
            has_graph |= number == _GRAPH
            if number == _METADATA_PROPS:
                key, value = _entry(data, start, end)
                entries[key] = value
        if not has_graph:
            raise ValueError("it has no graph")
    return entries


def graph_digest(path: Path) -> str:
    """Give the SHA-256 over all of an ONNX file but its metadata. Raises `ModelError`."""
    digest = hashlib.sha256()
    with _opened(path) as data:
        for number, start, end in _fields(data, 0, len(data)):
            if number != _METADATA_PROPS:
                digest.update(f"{number}:{end - start}:".encode())
                with memoryview(data) as view:
                    digest.update(view[start:end])
    return digest.hexdigest()


@contextmanager
def _opened(path: Path) -> Iterator[mmap.mmap]:
    """Map a file, and turn what goes wrong while it is read into `ModelError`."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror or error}; give the path of a model") from error
    except (ValueError, IndexError, UnicodeDecodeError) as error:  # mmap's empty file is a ValueError too
        raise ModelError(f"{path}: not an ONNX model, or a damaged one ({error}); copy or export it again") from error


def _entry(data: mmap.mmap, start: int, end: int) -> tuple[str, str]:
    parts = {number: data[first:last].decode() for number, first, last in _fields(data, start, end)}
    return parts.get(_KEY, ""), parts.get(_VALUE, "")


def _fields(data: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Give (field number, start, end) of every field of the message that lies in data[at:end]."""
    while at < end:
        key, at = _varint(data, at, end)
        wire = key & 7
        if key >> 3 == 0:
            raise ValueError(f"field number 0 at byte {at}")
        if wire == _BYTES:
            length, at = _varint(data, at, end)
        elif wire == _VARINT:
            length = _varint(data, at, end)[1] - at
        elif wire in (_FIXED64, _FIXED32):
            length = 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {wire} at byte {at}")
        if at + length > end:
            raise ValueError(f"a field at byte {at} runs past the end")
        yield key >> 3, at, at + length
        at += length


def _varint(data: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    """Give (value, position after it)."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            raise ValueError("it ends in the middle of a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError(f"a number of over ten bytes at byte {at}")
