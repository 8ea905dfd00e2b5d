"""The `metadata_props` of an ONNX file, read and added to without the onnx package and without building a session."""

import hashlib
from collections import Counter
from pathlib import Path

from msgspec.structs import replace

from facectl_runtime.errors import ModelError
from facectl_runtime.protobuf import added_entry, fields, opened, text_entry
from facectl_runtime.spec import SPEC_KEY, ModelSpec, encode

_GRAPH, _METADATA_PROPS = 7, 14  # field numbers of ModelProto
_INITIALIZER = 5  # of GraphProto
_DATA_TYPE, _EXTERNAL_DATA = 2, 13  # of TensorProto
_TYPES = {1: "float32", 2: "uint8", 3: "int8", 10: "float16"}  # of TensorProto.DataType, those that weights have
_KIND = "an ONNX model"


def read_metadata(path: Path) -> dict[str, str]:
    """Read `metadata_props`. Raises `ModelError` where the file is missing, damaged or not an ONNX model."""
    has_graph, entries = False, {}
    with opened(path, _KIND) as data:
        for number, start, end in fields(data, 0, len(data)):
            has_graph |= number == _GRAPH
            if number == _METADATA_PROPS:
                key, value = text_entry(data, start, end)
                entries[key] = value
        if not has_graph:
            raise ValueError("it has no graph")
    return entries


def graph_digest(path: Path) -> str:
    """Give the SHA-256 over all of an ONNX file but its metadata. Raises `ModelError`."""
    digest = hashlib.sha256()
    with opened(path, _KIND) as data:
        for number, start, end in fields(data, 0, len(data)):
            if number != _METADATA_PROPS:
                digest.update(f"{number}:{end - start}:".encode())
                with memoryview(data) as view:
                    digest.update(view[start:end])
    return digest.hexdigest()


def weights(path: Path) -> dict[str, int]:
    """Give how many bytes of weights an ONNX file holds of each type, `elsewhere` for those in files beside it.

    Raises `ModelError`.
    """
    found: Counter[str] = Counter()
    with opened(path, _KIND) as data:
        graphs = [(start, end) for number, start, end in fields(data, 0, len(data)) if number == _GRAPH]
        for number, start, end in (field for graph in graphs for field in fields(data, *graph)):
            if number == _INITIALIZER:
                first = {number: data[at] for number, at, last in fields(data, start, end) if at < last}
                kind = _TYPES.get(first.get(_DATA_TYPE, 0), "other")
                found["elsewhere" if _EXTERNAL_DATA in first else kind] += end - start
    return dict(found)


def write_spec(path: Path, copy: Path, spec: ModelSpec) -> None:
    """Write a copy of an ONNX file with `spec`, in the place of one that is there, and the digest of its graph.

    Raises `ModelError`.
    """
    if "elsewhere" in weights(path):
        raise ModelError(f"{path}: some of its weights lie in files beside it; save it as one file first")
    signed = replace(spec, graph_sha256=graph_digest(path))
    with opened(path, _KIND) as data, copy.open("wb") as file:
        begun = 0
        for number, start, end in fields(data, 0, len(data)):
            if number != _METADATA_PROPS or text_entry(data, start, end)[0] != SPEC_KEY:
                file.write(data[begun:end])
            begun = end
        # A repeated field may stand anywhere in a message, as behind all others.
        file.write(added_entry(_METADATA_PROPS, SPEC_KEY, encode(signed)))
