"""Protocol buffers' wire format, read where it lies on disk and added to, without the protobuf package.

Two rules of it are all that is needed: a field is a varint key (number × 8 + wire type) and then its value; wire type 2
is a varint length and that many bytes. https://protobuf.dev/programming-guides/encoding/
"""

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from facectl_runtime.errors import ModelError

_KEY, _VALUE = 1, 2  # of an entry of a map, and of ONNX's StringStringEntryProto
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@contextmanager
def opened(path: Path, kind: str) -> Iterator[mmap.mmap]:
    """Map a file, and turn what goes wrong while it is read into `ModelError`: it is not `kind`, or damaged."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror or error}; give the path of a model that can be read") from error
    except ModelError:
        raise  # a ValueError too
    except (ValueError, IndexError, UnicodeDecodeError) as error:  # mmap's empty file is a ValueError too
        raise ModelError(f"{path}: not {kind}, or a damaged one ({error}); copy or export it again") from error


def fields(data: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Give (field number, start, end) of every field of the message that lies in data[at:end].

    Raises `ValueError` where that is no message.
    """
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


def text_entry(data: mmap.mmap, start: int, end: int) -> tuple[str, str]:
    """Give the key and the value of an entry of texts that lies in data[start:end].

    Raises `ValueError` where that is no such entry.
    """
    parts = {number: data[first:last].decode() for number, first, last in fields(data, start, end)}
    return parts.get(_KEY, ""), parts.get(_VALUE, "")


def added_entry(number: int, key: str, value: str) -> bytes:
    """Give the bytes that add an entry of texts, as field `number`, where they stand behind a message."""
    inside = b"".join(_bytes_field(place, text.encode()) for place, text in ((_KEY, key), (_VALUE, value)))
    return _bytes_field(number, inside)


def _bytes_field(number: int, content: bytes) -> bytes:
    return _as_varint(number * 8 + _BYTES) + _as_varint(len(content)) + content


def _as_varint(value: int) -> bytes:
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


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
