"""Weight files of ML Programs: what coremltools writes, and what is damaged."""

import struct

import numpy as np
import pytest

pytest.importorskip("coremltools")
from coremltools.converters.mil.mil import types
from coremltools.libmilstoragepython import _BlobStorageWriter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from facectl_export.mlprogram.blobs import Blobs
from facectl_runtime.errors import ModelError

WHOLE = {"fp16": "fp16", "fp32": "float", "int8": "int8", "uint8": "uint8", "int16": "int16", "uint16": "uint16"}
WHOLE |= {"int32": "int32", "uint32": "uint32"}
BELOW_A_BYTE = ["int4", "uint1", "uint2", "uint3", "uint4", "uint6"]
KINDS = [*WHOLE, *BELOW_A_BYTE]
ENTRY = 64
"""The first entry lies after a header of as many bytes, and has as many itself."""


def drawn(kind, count, seed=0):
    """Draw numbers over all that a type holds."""
    rng = np.random.default_rng(seed)
    if kind in BELOW_A_BYTE:
        bits = int(kind[-1])
        low, high = (-(1 << bits - 1), 1 << bits - 1) if kind[0] == "i" else (0, 1 << bits)
        return rng.integers(low, high, count).astype(types.type_mapping.string_to_nptype(kind))
    dtype = np.dtype({"fp16": "float16", "fp32": "float32"}.get(kind, kind))
    if dtype.kind == "f":
        return rng.normal(0, 9, count).astype(dtype)
    return rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, count, dtype, endpoint=True)


def written(path, arrays):
    """Write arrays by type as coremltools does, and give where they lie."""
    path.unlink(missing_ok=True)
    writer = _BlobStorageWriter(str(path))
    return {
        kind: getattr(writer, f"write_{WHOLE.get(kind, kind)}_data")(array.view(np.uint16) if kind == "fp16" else array)
        for kind, array in arrays.items()
    }


@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(counts=st.lists(st.integers(1, 70), min_size=len(KINDS), max_size=len(KINDS)), seed=st.integers(0, 99))
def test_every_type(tmp_path, counts, seed):
    arrays = {kind: drawn(kind, count, seed) for kind, count in zip(KINDS, counts, strict=True)}
    places = written(tmp_path / "weight.bin", arrays)
    blobs = Blobs(tmp_path / "weight.bin")
    for kind, array in arrays.items():
        found = blobs.read(places[kind], kind, len(array))
        np.testing.assert_array_equal(found, array.astype(found.dtype))
        np.testing.assert_array_equal(found.astype(np.float64), array.astype(np.float64))


def changed(data, place, layout, value):
    return data[:place] + struct.pack(layout, value) + data[place + struct.calcsize(layout) :]


# By what is damaged: how the file changes, what is asked for of it, and what is said.
DAMAGE = {
    "empty": (lambda _: b"", {}, "empty"),
    "cut in its header": (lambda data: data[:7], {}, "header"),
    "another version": (lambda data: changed(data, 4, "<I", 3), {}, "version is 3"),
    "cut in an entry": (lambda data: data[: ENTRY + 31], {}, "file ends at 95"),
    "cut in its values": (lambda data: data[:-1], {}, "its values end at"),
    "no entry": (lambda data: changed(data, ENTRY, "<I", 0), {}, "no entry begins"),
    "an unknown type": (lambda data: changed(data, ENTRY + 4, "<I", 99), {}, "holds type 99"),
    "a size beyond the file": (lambda data: changed(data, ENTRY + 8, "<Q", 2**64 - 1), {}, "its values end at"),
    "a place beyond the file": (lambda data: changed(data, ENTRY + 16, "<Q", 2**64 - 1), {}, "its values end at"),
    "another size": (lambda data: changed(data, ENTRY + 8, "<Q", 8), {}, "8 bytes, and 5 values"),
    "an offset beyond the end": (lambda data: data, {"offset": 2**64 - 1}, "file ends at"),
    "an offset between entries": (lambda data: data, {"offset": ENTRY + 4}, "no entry begins"),
    "another type": (lambda data: data, {"kind": "int16"}, "holds fp16, and the program says int16"),
    "a type that is never stored": (lambda data: data, {"kind": "bool"}, "the program says bool"),
    "text": (lambda data: data, {"kind": "string"}, "the program says string"),
    "more values": (lambda data: data, {"count": 6}, "10 bytes, and 6 values"),
    "fewer values": (lambda data: data, {"count": 4}, "10 bytes, and 4 values"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage(tmp_path, what):
    change, asked, said = DAMAGE[what]
    path = tmp_path / "weight.bin"
    places = written(path, {"fp16": drawn("fp16", 5)})
    assert places == {"fp16": ENTRY}
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ModelError, match=said) as raised:
        Blobs(path).read(**{"offset": ENTRY, "kind": "fp16", "count": 5} | asked)
    assert str(raised.value).startswith(f"{path}: damaged weights (")
    assert "\n" not in str(raised.value)


def test_no_file(tmp_path):
    for path in (tmp_path / "weight.bin", tmp_path):
        with pytest.raises(ModelError, match="damaged weights"):
            Blobs(path)


@settings(
    max_examples=100, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    flips=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), max_size=4),
    kept=st.floats(0, 1) | st.just(1.0),
    offset=st.integers(0, 300) | st.none(),
)
def test_whatever_is_damaged_is_read_or_said(tmp_path, flips, kept, offset):
    path, arrays = tmp_path / "weight.bin", {kind: drawn(kind, 7) for kind in ("fp16", "uint3", "int4", "uint32")}
    places = written(path, arrays)
    data = bytearray(path.read_bytes())
    data = data[: round(kept * len(data))]
    for place, flip in flips:
        if data:
            data[min(int(place * len(data)), len(data) - 1)] ^= flip
    path.write_bytes(data)
    for kind, place in places.items():
        try:
            outcome = Blobs(path).read(place if offset is None else offset, kind, 7)
        except ModelError as error:
            outcome = str(error)
        assert "\n" not in outcome if isinstance(outcome, str) else outcome.shape == (7,)
