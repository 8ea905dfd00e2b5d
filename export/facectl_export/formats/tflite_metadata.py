"""A TFLite file's metadata: facectl's spec, and the standard kind that MediaPipe and Android read.

Schema: https://github.com/tensorflow/tflite-support/blob/master/tensorflow_lite_support/metadata/metadata_schema.fbs
"""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from facectl_runtime.spec import SPEC_KEY, ModelSpec
from facectl_runtime.tflite_metadata import unsigned, with_entries, with_files, write_signed

STANDARD_KEY = "TFLITE_METADATA"
LABELS = "labels.txt"
_IDENTIFIER, _PARSER = b"M001", "1.0.0"  # of the schema, and the least that reads what is written here
_IMAGE_PROPERTIES, _NORMALIZATION, _RGB, _TENSOR_AXIS_LABELS = 2, 1, 1, 2  # numbers in unions and enumerations


def write_spec(path: Path, spec: ModelSpec, description: str = "") -> None:
    """Put `spec` into a TFLite file's metadata, in the place of one that is there, with the digest of the file.

    The standard metadata go with it; a classifier's labels are a file in the zip archive behind the model, as MediaPipe
    wants it. The file is written beside and renamed: it is there as it was, or whole.
    """
    entries = {SPEC_KEY: unsigned(spec), STANDARD_KEY: standard_metadata(spec, description)}
    files = {LABELS: ("\n".join(spec.labels) + "\n").encode()} if spec.labels else {}
    write_signed(path, with_files(with_entries(path.read_bytes(), entries), files), spec)


def standard_metadata(spec: ModelSpec, description: str = "") -> bytes:
    """Write a ModelMetadata flatbuffer."""
    import flatbuffers

    to = flatbuffers.Builder(1024)
    licence = spec.provenance.weights_licence
    fields = [
        (0, _text(to, spec.name)),
        (1, _text(to, description or _about(spec))),
        (2, _text(to, spec.provenance.created)),
        (3, _list(to, [_table(to, [(2, _list(to, [_input(to, spec)])), (3, _list(to, [_output(to, spec)]))])])),
        (4, _text(to, f"facectl {version('facectl')}")),
        *([(5, _text(to, f"pretrained weights: {licence}"))] if licence else []),
        (7, _text(to, _PARSER)),
    ]
    to.Finish(_table(to, fields), file_identifier=_IDENTIFIER)
    return bytes(to.Output())


def _about(spec: ModelSpec) -> str:
    what = f"{len(spec.labels)} classes" if spec.labels else f"an embedding of {spec.output.size} numbers"
    return f"From an RGB image of {spec.input.width} × {spec.input.height} to {what}; {spec.precision}."


def _input(to: Any, spec: ModelSpec) -> int:
    """Write the TensorMetadata of pixels: numbers from 0 to 255, which the graph scales by itself."""
    size = _table(to, numbers=[(0, spec.input.width), (1, spec.input.height)])
    image = _table(to, [(1, size)], kinds=[(0, _RGB)])
    content = _table(to, [(1, image)], kinds=[(0, _IMAGE_PROPERTIES)])
    as_they_are = _table(to, [(0, _floats(to, 0)), (1, _floats(to, 1))])  # mean and standard deviation
    unit = _table(to, [(1, as_they_are)], kinds=[(0, _NORMALIZATION)])
    stats = _table(to, [(0, _floats(to, 255)), (1, _floats(to, 0))])  # most and least
    about = f"RGB, 0 to 255; resize: {spec.input.resize.__struct_config__.tag}"
    named = [(0, _text(to, "image")), (1, _text(to, about))]
    return _table(to, [*named, (3, content), (4, _list(to, [unit])), (5, stats)])


def _output(to: Any, spec: ModelSpec) -> int:
    """Write the TensorMetadata of the answer."""
    named = [(0, _text(to, spec.output.kind))]
    if not spec.labels:
        return _table(to, [*named, (1, _text(to, "L2 norm 1"))])
    labels = _table(to, [(0, _text(to, LABELS)), (1, _text(to, "a class a line"))], kinds=[(2, _TENSOR_AXIS_LABELS)])
    stats = _table(to, [(0, _floats(to, 1)), (1, _floats(to, 0))])
    return _table(to, [*named, (1, _text(to, "of each class")), (5, stats), (6, _list(to, [labels]))])


Slots = Sequence[tuple[int, int]]  # field number and value, or where it was written


def _table(to: Any, offsets: Slots = (), numbers: Slots = (), kinds: Slots = ()) -> int:
    to.StartObject(1 + max(field for field, _ in (*offsets, *numbers, *kinds)))
    for field, offset in offsets:
        to.PrependUOffsetTRelativeSlot(field, offset, 0)
    for field, number in numbers:
        to.PrependUint32Slot(field, number, 0)
    for field, kind in kinds:
        to.PrependInt8Slot(field, kind, 0)
    return int(to.EndObject())


def _list(to: Any, tables: Sequence[int]) -> int:
    to.StartVector(4, len(tables), 4)
    for table in reversed(tables):
        to.PrependUOffsetTRelative(table)
    return int(to.EndVector())


def _floats(to: Any, value: float) -> int:
    return int(to.CreateNumpyVector(np.array([value], np.float32)))


def _text(to: Any, text: str) -> int:
    return int(to.CreateString(text))
