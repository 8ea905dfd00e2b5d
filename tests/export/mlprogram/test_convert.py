"""`facectl convert`: a Core ML package becomes an ONNX file that answers alike, or nothing."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from facectl_runtime.devices import Device
from facectl_runtime.engines import format_of
from facectl_runtime.spec import SPEC_KEY, decode, encode
from helpers import call

ct = pytest.importorskip("coremltools")
pytest.importorskip("tf_keras")
import onnx  # noqa: E402
import onnxruntime  # noqa: E402
from coremltools.converters.mil import Builder as mb  # noqa: E402

from mil import save  # noqa: E402


def infer(path, pixels):
    reader = format_of(path)
    return reader.open(path, reader.read_spec(path), Device("cpu")).infer(pixels)


def test_an_exported_package_becomes_an_exported_file(package, pixels, photographs, tmp_path):
    out = tmp_path / "colours.onnx"
    ran = call("convert", package, out)
    assert ran.code == 0, ran.err
    assert "takes image: uint8 1 × 32 × 32 × 3" in ran.out
    assert f"next: facectl predict {out} IMAGE" in ran.out
    before, after = (format_of(path).read_spec(path) for path in (package, out))
    assert replace(after, graph_sha256=None) == replace(before, graph_sha256=None, gate=None, metrics=None)
    assert infer(out, pixels) == pytest.approx(infer(package, pixels), abs=1e-7)
    assert onnx.load(out).doc_string == "Converted from colours.mlpackage."
    assert call("verify", out).code == 0
    found = json.loads(call("evaluate", out, "--data", photographs, "--json").out)
    assert found["accuracy"] == 1.0
    assert list(tmp_path.iterdir()) == [out]


def test_declared_types_stay_in_the_file(package, pixels, tmp_path):
    call("convert", package, tmp_path / "a.onnx")
    call("convert", package, tmp_path / "b.onnx", "--declared-types")
    plain, rounded = (infer(tmp_path / name, pixels) for name in ("a.onnx", "b.onnx"))
    assert 0 < np.abs(plain - rounded).max() < 0.01
    reader = format_of(package, "declared-types")
    stood_in = reader.open(package, reader.read_spec(package), Device("cpu"))
    assert rounded == pytest.approx(stood_in.infer(pixels), abs=1e-7)


def test_a_file_that_misses_the_golden_answers_is_not_written(package, tmp_path):
    moved = Path(shutil.copytree(package, tmp_path / "moved.mlpackage"))
    file = moved / "Data" / "com.apple.CoreML" / "model.mlmodel"
    message = ct.proto.Model_pb2.Model.FromString(file.read_bytes())
    metadata = message.description.metadata.userDefined
    spec = decode(metadata[SPEC_KEY], "it")
    first, *others = spec.golden.images
    wrong = replace(first, expected=tuple(reversed(first.expected)))
    metadata[SPEC_KEY] = encode(replace(spec, golden=replace(spec.golden, images=(wrong, *others))))
    file.write_bytes(message.SerializeToString(deterministic=True))
    ran = call("convert", moved, tmp_path / "a.onnx")
    assert ran.code == 5
    assert "a.onnx was not written: it misses the answers to the golden images by 0." in ran.error()
    assert list(tmp_path.iterdir()) == [moved]


def test_a_package_that_was_edited_is_refused(package, tmp_path):
    edited = Path(shutil.copytree(package, tmp_path / "edited.mlpackage"))
    (edited / "Data" / "com.apple.CoreML" / "more.bin").write_bytes(b"1")
    ran = call("convert", edited, tmp_path / "a.onnx")
    assert ran.code == 4
    assert "it is not as it was exported" in ran.error()


def test_nothing_is_replaced_unasked(package, tmp_path):
    out = tmp_path / "a.onnx"
    out.write_text("mine")
    ran = call("convert", package, out)
    assert ran.code == 2
    assert "already there; give another name, or --force" in ran.error()
    assert out.read_text() == "mine"
    assert call("convert", package, out, "--force").code == 0
    assert call("verify", out).code == 0


def test_a_place_that_cannot_be_written_to_is_named(package, tmp_path):
    copy = Path(shutil.copytree(package, tmp_path / "net.mlpackage"))
    (tmp_path / "folder.onnx").mkdir()
    for out, said in (
        (copy / "inside.onnx", "it lies in the package that is converted"),
        (tmp_path / "folder.onnx", "a folder stands there"),
        (tmp_path / f"{'long' * 70}.onnx", "cannot be written (File name too long); nothing there was changed"),
    ):
        ran = call("convert", copy, out, "--force")
        assert ran.code in (1, 2)
        assert said in ran.error()
    assert call("verify", copy).code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.onnx", "net.mlpackage"]


def test_only_a_package_becomes_onnx_and_nothing_else(package, tmp_path):
    ran = call("convert", package, tmp_path / "a.tflite")
    assert ran.code == 2
    assert "what is written is ONNX" in ran.error()
    call("convert", package, tmp_path / "a.onnx")
    ran = call("convert", tmp_path / "a.onnx", tmp_path / "b.onnx")
    assert ran.code == 2
    assert "only a Core ML package is converted" in ran.error()


def test_a_program_of_others_keeps_its_inputs_and_outputs(tmp_path):
    def build(x, y):
        joined = mb.add(x=x, y=y, name="sum")
        return joined, mb.cast(x=mb.reduce_argmax(x=joined, axis=1), dtype="int32", name="place")

    given = {"x": np.float32([[1, 5, 2]]), "y": np.float32([[0, 1, 9]])}
    package = save(build, given, tmp_path / "net.mlpackage")
    ran = call("convert", package, tmp_path / "net.onnx", "--json")
    assert ran.code == 0, ran.err
    done = json.loads(ran.out)
    assert done["inputs"] == [{"name": name, "type": "float", "shape": [1, 3]} for name in ("x", "y")]
    assert [(end["name"], end["type"]) for end in done["outputs"]] == [("sum", "float"), ("place", "int32")]
    assert (done["replayed"], done["labels"]) == (None, [])
    total, place = onnxruntime.InferenceSession(tmp_path / "net.onnx").run(None, given)
    assert total.tolist() == [[1, 6, 11]]
    assert place.tolist() == [2]


def test_a_classifier_of_others_names_its_class(package, pixels, tmp_path):
    bare = Path(shutil.copytree(package, tmp_path / "bare.mlpackage"))
    file = bare / "Data" / "com.apple.CoreML" / "model.mlmodel"
    message = ct.proto.Model_pb2.Model.FromString(file.read_bytes())
    del message.description.metadata.userDefined[SPEC_KEY]
    file.write_bytes(message.SerializeToString(deterministic=True))
    ran = call("convert", bare, tmp_path / "bare.onnx")
    assert ran.code == 0, ran.err
    assert "labels: blue, green, red" in ran.out
    session = onnxruntime.InferenceSession(tmp_path / "bare.onnx")
    assert json.loads(session.get_modelmeta().custom_metadata_map["labels"]) == ["blue", "green", "red"]
    for image, wanted in zip(pixels, infer(package, pixels), strict=True):
        label, row = session.run(None, {"image": image[None]})
        assert row[0] == pytest.approx(wanted, abs=1e-6)
        assert label[0] == ("blue", "green", "red")[wanted.argmax()]
