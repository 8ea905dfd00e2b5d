"""What a TFLite file carries: spec, labels, the standard metadata; and nothing printed where it is made."""

import os
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import msgspec
import numpy as np
import pytest

from facectl_export.formats import tflite
from facectl_runtime.engines import format_of
from facectl_runtime.errors import MissingExtraError
from facectl_runtime.tflite_metadata import graph_digest, read_metadata
from tflite_networks import LABELS, NETWORKS
from tiny_network import full_disk

STANDARD = "TFLITE_METADATA"


# What a file carries


def fields(data, table):
    """Give where each field of a flatbuffer table stands."""
    vtable = table - struct.unpack_from("<i", data, table)[0]
    (size,) = struct.unpack_from("<H", data, vtable)
    places = struct.unpack_from(f"<{size // 2 - 2}H", data, vtable + 4)
    return {number: table + place for number, place in enumerate(places) if place}


def follow(data, at):
    return at + struct.unpack_from("<I", data, at)[0]


def text(data, at):
    start = follow(data, at)
    return data[start + 4 : start + 4 + struct.unpack_from("<I", data, start)[0]].decode()


def first(data, at):
    """Give the first table of a list."""
    return fields(data, follow(data, follow(data, at) + 4))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_spec_is_read_back_with_the_digest_of_the_file(made, tmp_path, name):
    path = tmp_path / "m.tflite"
    path.write_bytes(made[name].path.read_bytes())
    tflite.write_spec(path, made[name].spec)
    found = format_of(path).read_spec(path)
    assert found.graph_sha256 == graph_digest(path)
    assert msgspec.structs.replace(found, graph_sha256=None) == made[name].spec
    assert [item.name for item in tmp_path.iterdir()] == ["m.tflite"]


def test_writing_a_spec_twice_is_as_once_and_another_takes_its_place(made, ranges, tmp_path):
    path, spec = tmp_path / "m.tflite", made["branching"].spec
    tflite.write_int8(made["branching"].path, ranges["branching"], path)
    tflite.write_spec(path, spec)
    once = path.read_bytes()
    tflite.write_spec(path, msgspec.structs.replace(spec, name="another", labels=("x", "y", "z")), "for a while")
    assert format_of(path).read_spec(path).name == "another"
    assert b"b\xc3\xa9e" not in path.read_bytes()
    tflite.write_spec(path, spec)
    assert path.read_bytes() == once


def test_a_classifier_has_its_labels_in_an_archive(made, tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(made["flat"].path.read_bytes())
    tflite.write_spec(path, made["flat"].spec)
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["labels.txt"]
        assert archive.read("labels.txt").decode().splitlines() == LABELS
        assert archive.getinfo("labels.txt").compress_type == zipfile.ZIP_STORED
    tflite.write_spec(path, made["embedding"].spec)
    assert not zipfile.is_zipfile(path)


def test_the_standard_metadata_say_what_goes_in_and_comes_out(made, tmp_path):
    path, spec = tmp_path / "m.tflite", made["flat"].spec
    licensed = msgspec.structs.replace(spec.provenance, weights_licence="MIT")
    path.write_bytes(made["flat"].path.read_bytes())
    tflite.write_spec(path, msgspec.structs.replace(spec, provenance=licensed), "Names of three animals")
    data = read_metadata(path)[STANDARD]
    assert data[4:8] == b"M001"
    model = fields(data, follow(data, 0))
    assert (text(data, model[0]), text(data, model[1])) == ("tiny", "Names of three animals")
    assert text(data, model[4]).startswith("facectl ")
    assert text(data, model[5]) == "pretrained weights: MIT"
    graph = first(data, model[3])
    image = fields(data, follow(data, fields(data, follow(data, first(data, graph[2])[3]))[1]))
    assert data[image[0]] == 1  # RGB
    unit = fields(data, follow(data, first(data, first(data, graph[2])[4])[1]))
    mean, deviation = (struct.unpack_from("<If", data, follow(data, unit[n])) for n in (0, 1))
    assert (mean, deviation) == ((1, 0.0), (1, 1.0))
    labels = first(data, first(data, graph[3])[6])
    assert (text(data, labels[0]), data[labels[2]]) == ("labels.txt", 2)  # TENSOR_AXIS_LABELS


def test_weights_lie_where_sixteen_divides_the_address(made, ranges, tmp_path):
    """As the schema asks, and inside the flatbuffer, where every reader looks."""
    from ai_edge_litert import schema_py_generated as schema

    path = tmp_path / "m.tflite"
    tflite.write_int8(made["flat"].path, ranges["flat"], path)
    tflite.write_spec(path, made["flat"].spec)
    data = path.read_bytes()
    model = schema.Model.GetRootAs(data, 0)
    buffers = [model.Buffers(number) for number in range(model.BuffersLength())]
    filled = [buffer for buffer in buffers if buffer.DataLength()]
    assert len(filled) > 6
    assert {buffer._tab.Vector(buffer._tab.Offset(4)) % 16 for buffer in filled} == {0}
    assert {buffer.Offset() for buffer in buffers} == {0}


def test_a_full_disk_leaves_the_file_as_it_was(made, tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(made["flat"].path.read_bytes())
    before = path.read_bytes()
    with full_disk(), pytest.raises(OSError, match="too large"):
        tflite.write_spec(path, made["flat"].spec)
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["m.tflite"]


# Around it


def test_nothing_is_printed(made, pixels, tmp_path):
    """In a process of its own, where the libraries say what they say at their first import."""
    np.save(tmp_path / "pixels.npy", pixels)
    made["branching"].network.save(tmp_path / "m.keras")
    program = """
import sys
from pathlib import Path
import numpy as np
from facectl_trainer.framework import tensorflow
from calibrated import calibrated
from tiny_network import full_disk
tensorflow()
import tf_keras
from drawn_run import _spec
from facectl_export.formats import tflite
folder = Path(sys.argv[1])
spec, pixels = _spec("tiny", ["a", "b", "c"], 0), np.load(folder / "pixels.npy")
fp32, int8 = folder / "fp32.tflite", folder / "int8.tflite"
tflite.require_packages()
tflite.write_fp32(tf_keras.models.load_model(folder / "m.keras"), spec, fp32)
for method in ("minmax", "percentile", "entropy"):
    tflite.write_int8(fp32, calibrated(tflite, fp32, [pixels], method), int8)
tflite.write_fp16(fp32, folder / "fp16.tflite")
tflite.write_int8_weights(fp32, folder / "weights.tflite")
tflite.write_spec(int8, spec)
tflite.integer_share(int8)
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_missing_package_is_named(monkeypatch):
    tflite.require_packages()
    monkeypatch.setitem(sys.modules, "ai_edge_quantizer", None)
    with pytest.raises(MissingExtraError, match=r"ai_edge_quantizer; .*facectl\[export\]"):
        tflite.require_packages()
