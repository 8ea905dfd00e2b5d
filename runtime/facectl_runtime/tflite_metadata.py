"""The metadata of a TFLite file, read without the flatbuffers package and without building an interpreter.

FlatBuffers' format, of which this needs little: a table begins with the signed distance back to its vtable; a vtable is
its own length, the table's, and then for each field its distance from the table's start, 0 where it is absent; a
string, a vector or a table inside is a distance forward from where it stands; a vector is a count and then its items.
All little-endian. https://flatbuffers.dev/internals/ Fields: tensorflow/compiler/mlir/lite/schema/schema.fbs
"""

import hashlib
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from facectl_runtime.errors import ModelError
from facectl_runtime.spec import SPEC_KEY

_IDENTIFIER = b"TFL3"
_SUBGRAPHS, _BUFFERS, _METADATA = 2, 4, 6  # field numbers of Model
_NAME, _BUFFER = 0, 1  # field numbers of Metadata
_DATA = 0  # field number of Buffer
_MOST_ENTRIES = 1000  # files have three or four; a vector that claims millions is damage


def read_metadata(path: Path) -> dict[str, bytes]:
    """Read Model.metadata: names with the contents of the buffers they point to.

    Raises `ModelError` where the file is missing, damaged or not a TFLite model.
    """
    with _opened(path) as data:
        return {name: data[start:end] for name, (start, end) in _entries(data).items()}


def graph_digest(path: Path) -> str:
    """Give the SHA-256 over a TFLite file with zeros in the place of its spec, which has to hold it.

    Where the spec stands and how long it is belong to it. Raises `ModelError`.
    """
    with _opened(path) as data:
        start, end = _entries(data).get(SPEC_KEY, (len(data), len(data)))
        with memoryview(data) as view:
            digest = hashlib.sha256(view[:start])
            digest.update(bytes(end - start))
            digest.update(view[end:])
    return digest.hexdigest()


@contextmanager
def _opened(path: Path) -> Iterator[mmap.mmap]:
    """Map a file, and turn what goes wrong while it is read into `ModelError`."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror or error}; give the path of a model") from error
    except ValueError as error:  # mmap's empty file and text that is not UTF-8 are ones too
        raise ModelError(f"{path}: not a TFLite model, or a damaged one ({error}); copy or export it again") from error


def _entries(data: mmap.mmap) -> dict[str, tuple[int, int]]:
    """Give each entry's name and where its content starts and ends. Raises `ValueError`."""
    if data[4:8] != _IDENTIFIER:
        raise ValueError(f"it does not have {_IDENTIFIER.decode()} at its fifth byte")
    model = _follow(data, 0)
    if not _tables(data, model, _SUBGRAPHS):
        raise ValueError("it has no graph")
    buffers, entries, total = _tables(data, model, _BUFFERS), {}, 0
    metadata = _tables(data, model, _METADATA)
    if len(metadata) > _MOST_ENTRIES:
        raise ValueError(f"it claims {len(metadata)} entries of metadata")
    for at in metadata:
        name, (start, end) = _entry(data, _follow(data, at), buffers)
        total += end - start
        if name in entries or total > len(data):  # so that no small file unfolds into gigabytes
            raise ValueError("its metadata overlap")
        entries[name] = start, end
    return entries


def _entry(data: mmap.mmap, table: int, buffers: range) -> tuple[str, tuple[int, int]]:
    """Give the name of a Metadata table, and where its content starts and ends."""
    named, numbered = _field(data, table, _NAME), _field(data, table, _BUFFER)
    start, end = _bytes(data, named) if named else (0, 0)
    number = _number(data, numbered, 4) if numbered else 0
    if number >= len(buffers):
        raise ValueError(f"its metadata point to buffer {number} of {len(buffers)}")
    content = _field(data, _follow(data, buffers[number]), _DATA)
    return data[start:end].decode(), _bytes(data, content) if content else (0, 0)


def _tables(data: mmap.mmap, table: int, field: int) -> range:
    """Give where the items of a vector of tables stand."""
    at = _field(data, table, field)
    if not at:
        return range(0)
    start = _follow(data, at)
    count = _number(data, start, 4)
    if start + 4 + 4 * count > len(data):
        raise ValueError(f"a list of {count} items at byte {start} runs past the end")
    return range(start + 4, start + 4 + 4 * count, 4)


def _bytes(data: mmap.mmap, at: int) -> tuple[int, int]:
    """Give where the content of a string, or of a vector of bytes, starts and ends."""
    start = _follow(data, at)
    end = start + 4 + _number(data, start, 4)
    if end > len(data):
        raise ValueError(f"a text at byte {start} runs past the end")
    return start + 4, end


def _field(data: mmap.mmap, table: int, field: int) -> int:
    """Give where a field of a table stands, or 0 where it is absent."""
    vtable = table - int.from_bytes(_at(data, table, 4), "little", signed=True)
    place = 4 + 2 * field
    if place + 2 > _number(data, vtable, 2):
        return 0
    distance = _number(data, vtable + place, 2)
    return table + distance if distance else 0


def _follow(data: mmap.mmap, at: int) -> int:
    return at + _number(data, at, 4)


def _number(data: mmap.mmap, at: int, size: int) -> int:
    return int.from_bytes(_at(data, at, size), "little")


def _at(data: mmap.mmap, at: int, size: int) -> bytes:
    if not 0 <= at <= len(data) - size:
        raise ValueError(f"it points to byte {at} of {len(data)}")
    return data[at : at + size]
