"""Weights beside a program: version 2 of MIL's blob storage, a file of numbered entries, each with its type and place.

Little-endian throughout. The file begins with a count (uint32) and a version (uint32); an entry, which a program refers
to by its offset, is a sentinel (uint32), a type (uint32), the size in bytes (uint64), the place (uint64) and, of types
below a byte, the bits that pad the last one (uint64).
https://github.com/apple/coremltools/blob/main/mlmodel/src/MILBlob/Blob/StorageFormat.hpp
"""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from facectl_export.mlprogram.errors import damaged

_HEADER, _ENTRY = struct.Struct("<II"), struct.Struct("<IIQQQ")
_SENTINEL, _VERSION = 0xDEADBEEF, 2
_TYPES = {
    1: "fp16",
    2: "fp32",
    3: "uint8",
    4: "int8",
    6: "int16",
    7: "uint16",
    14: "int32",
    15: "uint32",
    8: "int4",
    9: "uint1",
    10: "uint2",
    11: "uint4",
    12: "uint3",
    13: "uint6",
}
NUMPY: dict[str, Any] = {
    "fp16": np.dtype("<f2"),
    "fp32": np.dtype("<f4"),
    "fp64": np.dtype("<f8"),
    "bool": np.dtype("?"),
    "int8": np.dtype("i1"),
    "int16": np.dtype("<i2"),
    "int32": np.dtype("<i4"),
    "int64": np.dtype("<i8"),
    "uint8": np.dtype("u1"),
    "uint16": np.dtype("<u2"),
    "uint32": np.dtype("<u4"),
    "uint64": np.dtype("<u8"),
}
"""Types of whole bytes."""
BITS = {"int4": 4, "uint1": 1, "uint2": 2, "uint3": 3, "uint4": 4, "uint6": 6}
"""Types of less, of which several share a byte."""


class Blobs:
    """One weight file, mapped into memory."""

    def __init__(self, path: Path) -> None:
        """Map a file. Raises `ModelError` where it is missing, or no weight file."""
        self._path = path
        try:
            self._data: npt.NDArray[np.uint8] = np.memmap(path, np.uint8, "r")
        except (OSError, ValueError) as error:  # an empty file is a ValueError
            raise damaged(path, "weights", str(getattr(error, "strerror", None) or error)) from error
        if len(self._data) < _HEADER.size:
            raise damaged(path, "weights", f"{len(self._data)} bytes are no header")
        _, version = _HEADER.unpack(bytes(self._data[: _HEADER.size]))
        if version != _VERSION:
            raise damaged(path, "weights", f"its version is {version}, and {_VERSION} is read")

    def read(self, offset: int, kind: str, count: int) -> npt.NDArray[Any]:
        """Give `count` elements of type `kind` whose entry lies at `offset`.

        Raises `ModelError` where there is no such entry, or it does not lie in the file.
        """
        if offset + _ENTRY.size > len(self._data):
            raise self._wrong(offset, f"the file ends at {len(self._data)}")
        sentinel, number, size, place, _ = _ENTRY.unpack(bytes(self._data[offset : offset + _ENTRY.size]))
        if sentinel != _SENTINEL:
            raise self._wrong(offset, "no entry begins there")
        if (found := _TYPES.get(number, f"type {number}")) != kind:
            raise self._wrong(offset, f"it holds {found}, and the program says {kind}")
        if place + size > len(self._data):
            raise self._wrong(offset, f"its values end at {place + size}, and the file at {len(self._data)}")
        try:
            return elements(self._data[place : place + size], kind, count)
        except ValueError as error:
            raise self._wrong(offset, str(error)) from error

    def _wrong(self, offset: int, what: str) -> Exception:
        return damaged(self._path, "weights", f"an entry at byte {offset}: {what}")


def elements(data: npt.NDArray[np.uint8], kind: str, count: int) -> npt.NDArray[Any]:
    """Give `count` values out of bytes; those of less than a byte are packed from the lowest bit upwards.

    Raises `ValueError` where that many values take more bytes or fewer.
    """
    if kind not in BITS and kind not in NUMPY:
        raise ValueError(f"values of type {kind or 'unknown'} are not known")
    needed = (count * BITS[kind] + 7) // 8 if kind in BITS else count * NUMPY[kind].itemsize
    if len(data) != needed:
        raise ValueError(f"{len(data)} bytes, and {count} values of {kind} take {needed}")
    if kind not in BITS:
        whole: npt.NDArray[Any] = data.view(NUMPY[kind])
        return whole
    width = BITS[kind]
    bits = np.unpackbits(data, bitorder="little", count=count * width).reshape(count, width)
    values: npt.NDArray[Any] = (bits << np.arange(width, dtype=np.uint8)).sum(axis=1, dtype=np.uint8)
    if kind.startswith("u"):
        return values
    return np.where(values >= 1 << (width - 1), values.astype(np.int8) - (1 << width), values).astype(np.int8)
