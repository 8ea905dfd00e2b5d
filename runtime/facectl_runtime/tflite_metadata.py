"""The metadata of a TFLite file, read without the flatbuffers package and without building an interpreter.

To write them, a file is packed anew by that package and by the schema that LiteRT's brings.

FlatBuffers' format, of which this needs little: a table begins with the signed distance back to its vtable; a vtable is
its own length, the table's, and then for each field its distance from the table's start, 0 where it is absent; a
string, a vector or a table inside is a distance forward from where it stands; a vector is a count and then its items.
All little-endian. https://flatbuffers.dev/internals/ Fields: tensorflow/compiler/mlir/lite/schema/schema.fbs
"""

import hashlib
import mmap
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace

from facectl_runtime.errors import ModelError
from facectl_runtime.spec import SPEC_KEY, ModelSpec, encode

_IDENTIFIER = b"TFL3"
_SUBGRAPHS, _BUFFERS, _METADATA = 2, 4, 6  # field numbers of Model
_NAME, _BUFFER = 0, 1  # field numbers of Metadata
_DATA = 0  # field number of Buffer
_TENSORS = 0  # field number of SubGraph
_TYPE, _TENSOR_BUFFER = 1, 2  # field numbers of Tensor
_TYPES = {0: "float32", 1: "float16", 3: "uint8", 9: "int8"}  # of TensorType, those that weights have
_UNSET = "0" * 64  # a digest's place
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


def weights(path: Path) -> dict[str, int]:
    """Give how many bytes of weights a TFLite file holds of each type. Raises `ModelError`."""
    found: Counter[str] = Counter()
    with _opened(path) as data:
        model = _follow(data, 0)
        buffers = _tables(data, model, _BUFFERS)
        for graph in _tables(data, model, _SUBGRAPHS):
            for at in _tables(data, _follow(data, graph), _TENSORS):
                typed, numbered = (_field(data, _follow(data, at), field) for field in (_TYPE, _TENSOR_BUFFER))
                content = _content(data, buffers, _number(data, numbered, 4) if numbered else 0)
                kind = _TYPES.get(_number(data, typed, 1) if typed else 0, "other")
                found[kind] += content[1] - content[0]
    return dict(+found)  # without types of 0 bytes


def write_spec(path: Path, copy: Path, spec: ModelSpec) -> None:
    """Write a copy of a TFLite file with `spec` and the copy's digest; files packed behind it stay there."""
    import zipfile

    files = {}
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
    write_signed(copy, with_files(with_entries(path.read_bytes(), {SPEC_KEY: unsigned(spec)}), files), spec)


def unsigned(spec: ModelSpec) -> bytes:
    """Give a spec's JSON with zeros for the digest of the graph, as long as it will be."""
    return encode(replace(spec, graph_sha256=_UNSET)).encode()


def write_signed(path: Path, data: bytes, spec: ModelSpec) -> None:
    """Write a file's content that holds `unsigned(spec)`, and the digest of the file into that.

    It is written beside and renamed: the file is there as it was, or whole.
    """
    from facectl_runtime.files import scratch_beside

    with scratch_beside(path) as scratch:
        new = scratch / path.name
        new.write_bytes(data)
        signed = encode(replace(spec, graph_sha256=graph_digest(new))).encode()
        with new.open("r+b") as file:
            file.seek(data.index(unsigned(spec)))
            file.write(signed)
        new.replace(path)


def with_entries(data: bytes, entries: Mapping[str, bytes]) -> bytes:
    """Give a TFLite file's content with entries of metadata, each in the place of one of its name.

    What is packed behind the model is left out.
    """
    from ai_edge_litert.tools import flatbuffer_utils as schema

    model = schema.read_model_from_bytearray(data)
    for name, content in entries.items():
        _put(model, name, content)
    return packed(model)


def with_files(data: bytes, files: Mapping[str, bytes]) -> bytes:
    """Append a zip archive where there are files, stored and without a date, so that the same give the same bytes."""
    import zipfile

    file = BytesIO(data)
    if files:
        with zipfile.ZipFile(file, "a", zipfile.ZIP_STORED) as archive:
            for name, content in files.items():
                archive.writestr(zipfile.ZipInfo(name), content)
    return file.getvalue()


def packed(model: Any) -> bytes:
    """Give the bytes of a model (an object of TFLite's schema)."""
    import flatbuffers

    class Aligned(flatbuffers.Builder):  # type: ignore[misc]  # the package has no types
        """Puts bytes where 16 divides the address, as the schema asks for weights and the object API forgets."""

        def StartVector(self, elemSize: int, numElems: int, alignment: int) -> int:  # noqa: N802, N803
            return int(super().StartVector(elemSize, numElems, 16 if elemSize == 1 else alignment))

    for buffer in model.buffers:  # those that stood behind the flatbuffer, where older readers do not look
        if buffer.data is not None:
            buffer.data = np.frombuffer(buffer.data, np.uint8)
    to = Aligned(1024)
    to.Finish(model.Pack(to), file_identifier=_IDENTIFIER)
    return bytes(to.Output())


def _put(model: Any, name: str, data: bytes) -> None:
    """Give a model (an object of TFLite's schema) an entry of metadata, in the buffer of one that is there."""
    from ai_edge_litert import schema_py_generated as schema

    model.metadata = model.metadata or []
    for entry in model.metadata:
        if entry.name == name.encode() and entry.buffer:  # buffer 0 is every empty one
            model.buffers[entry.buffer].data = data
            return
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data, entry.name, entry.buffer = data, name, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata.append(entry)


@contextmanager
def _opened(path: Path) -> Iterator[mmap.mmap]:
    """Map a file, and turn what goes wrong while it is read into `ModelError`."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror or error}; give the path of a model that can be read") from error
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
    return data[start:end].decode(), _content(data, buffers, _number(data, numbered, 4) if numbered else 0)


def _content(data: mmap.mmap, buffers: range, number: int) -> tuple[int, int]:
    """Give where the content of a buffer starts and ends."""
    if number >= len(buffers):
        raise ValueError(f"it points to buffer {number} of {len(buffers)}")
    content = _field(data, _follow(data, buffers[number]), _DATA)
    return _bytes(data, content) if content else (0, 0)


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
