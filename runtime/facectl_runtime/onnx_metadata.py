"""The `metadata_props` of an ONNX file, read without the onnx package and without building a session."""

import hashlib
from pathlib import Path

from facectl_runtime.protobuf import fields, opened, text_entry

_GRAPH, _METADATA_PROPS = 7, 14  # field numbers of ModelProto
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
