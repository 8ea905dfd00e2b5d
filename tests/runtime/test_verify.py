"""Replay of golden vectors: what passes, and what a change to the file does."""

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace
from onnx import helper, numpy_helper

from facectl_runtime.devices import Device
from facectl_runtime.engines import format_of
from facectl_runtime.errors import DeviceError, MissingExtraError, ModelError
from facectl_runtime.onnx_metadata import graph_digest
from facectl_runtime.spec import Golden, GoldenImage
from facectl_runtime.verify import replay

CPU = Device("cpu")


def tampered(colours, weight):
    graph = colours.graph()
    (weights,) = [tensor for tensor in graph.graph.initializer if tensor.name == "weights"]
    changed = numpy_helper.to_array(weights).copy()
    changed[0, 0] = weight
    weights.CopyFrom(numpy_helper.from_array(changed, "weights"))
    return graph


def with_answer(golden, answer, number=-1):
    images = list(golden.images)
    images[number] = GoldenImage(images[number].png, answer)
    return Golden(tuple(images), golden.tolerance)


def test_a_model_as_it_was_exported_passes(model, facectl):
    found = replay(model, CPU)
    assert found.passed
    assert found.images == 4
    assert found.largest <= 1e-5
    assert (found.tolerance, found.device) == (0.001, "cpu")
    assert found.engine.startswith("onnxruntime ")
    ran = facectl("verify", model)
    assert ran.code == 0
    assert ran.out.startswith(f"ok  {model}  4 images")


@pytest.mark.parametrize("weight", [0.018, 0.0, -0.02])
def test_changed_weights_fail(colours, golden, facectl, tmp_path, weight):
    path = colours.save(tmp_path / "m.onnx", colours.spec(golden=golden), tampered(colours, weight))
    ran = facectl("verify", path)
    assert ran.code == 5
    assert ran.out.startswith("FAILED")
    assert ran.err == ""


def test_a_graph_that_was_changed_answers_nothing(colours, golden, classes, paint, facectl, tmp_path):
    spec = colours.spec(golden=golden)
    digest = graph_digest(colours.save(tmp_path / "whole.onnx", spec))
    signed = msgspec.structs.replace(spec, graph_sha256=digest)
    whole = colours.save(tmp_path / "whole.onnx", signed)
    changed = colours.save(tmp_path / "changed.onnx", signed, tampered(colours, 0.02 + 1e-6))
    for words in (("predict", paint("red.png")), ("evaluate", "--data", classes)):
        command, *more = words
        assert facectl(command, whole, *more).code == 0
        ran = facectl(command, changed, *more)
        assert ran.code == 4
        assert "changed.onnx: it is not as it was exported: damaged, or edited since" in ran.error()
    ran = facectl("inspect", changed)
    assert ran.code == 4
    assert "not the file that its spec was written into: damaged, or edited since" in ran.err
    assert facectl("inspect", whole).err == ""
    assert facectl("verify", changed).code == 5


def test_weights_changed_by_less_than_the_tolerance_pass(colours, golden, facectl, tmp_path):
    path = colours.save(tmp_path / "m.onnx", colours.spec(golden=golden), tampered(colours, 0.02 + 1e-6))
    assert facectl("verify", path).code == 0


def test_a_changed_answer_in_any_image_fails(colours, golden, facectl, tmp_path):
    for number, image in enumerate(golden.images):
        first, *others = image.expected
        changed = with_answer(golden, (first + 0.002, *others), number)
        path = colours.save(tmp_path / f"{number}.onnx", colours.spec(golden=changed))
        (found,) = msgspec.json.decode(facectl("verify", path, "--json").out)
        assert not found["passed"]
        assert found["largest"] == pytest.approx(0.002, abs=1e-5)
        assert facectl("verify", path).code == 5


def test_an_answer_that_is_no_number_fails(colours, golden, facectl, tmp_path):
    """A logarithm in the softmax's place: of 0 it is infinite, of less it is not a number."""
    path = colours.save(tmp_path / "m.onnx", colours.spec(golden=golden), tampered_log(colours))
    found = replay(path, CPU)
    assert found.largest == float("inf")
    assert not found.passed
    assert facectl("verify", path).code == 5
    ran = facectl("verify", path, "--json")
    assert ran.code == 5
    assert ran.json()[0]["passed"] is False


def tampered_log(colours):
    graph = colours.graph(last="Log")
    (weights,) = [tensor for tensor in graph.graph.initializer if tensor.name == "weights"]
    weights.CopyFrom(numpy_helper.from_array(-np.ones((3, 3), np.float32), "weights"))
    return graph


def test_one_failure_among_several_fails_and_names_it(model, colours, golden, facectl, tmp_path):
    changed = with_answer(golden, (0.0, 0.0, 1.0))
    bad = colours.save(tmp_path / "bad.onnx", colours.spec(golden=changed))
    ran = facectl("verify", model, bad, model)
    assert ran.code == 5
    assert [line.split()[:2] for line in ran.out.splitlines()] == [
        ["ok", str(model)],
        ["FAILED", str(bad)],
        ["ok", str(model)],
    ]


def test_json_tells_all(model, facectl):
    (found,) = facectl("verify", "--json", "--device", "cpu", model).json()
    assert found == found | {
        "model": str(model),
        "images": 4,
        "tolerance": 0.001,
        "device": "cpu",
        "device_requested": "cpu",
        "passed": True,
    }


def test_a_model_without_golden_vectors_says_so(cautious, facectl):
    ran = facectl("verify", cautious)
    assert ran.code == 4
    assert "no golden vectors" in ran.error()


@pytest.mark.parametrize("picture", [b"", b"no picture", b"\x89PNG\r\n\x1a\n cut"])
def test_a_golden_image_that_is_damaged_is_the_models_fault(colours, facectl, tmp_path, picture):
    golden = Golden((GoldenImage(picture, (0.1, 0.2, 0.7)),), 0.01)
    path = colours.save(tmp_path / "m.onnx", colours.spec(golden=golden))
    with pytest.raises(ModelError, match=r"m\.onnx: a golden image"):
        replay(path, CPU)
    assert facectl("verify", path).code == 4


def test_embeddings_are_replayed_too(embedder, colours, facectl, tmp_path):
    from facectl_runtime.engines.onnx import read_spec

    red = Golden((GoldenImage(colours.png("red"), (1.0, 0.0, 0.0)),), 0.001)
    spec = msgspec.structs.replace(read_spec(embedder), golden=red)
    path = colours.save(tmp_path / "m.onnx", spec, colours.graph(last="LpNormalization"))
    assert facectl("verify", path).code == 0


def test_a_graph_that_fails_on_its_input_is_not_a_usable_model(colours, golden, facectl, tmp_path, paint):
    graph = colours.graph()
    graph.graph.initializer.append(numpy_helper.from_array(np.array([5], np.int64), "sixth"))
    graph.graph.node[-1].input[0] = "sum"
    graph.graph.node.insert(3, helper.make_node("Gather", ["logits", "sixth"], ["none"], axis=1))
    graph.graph.node.insert(4, helper.make_node("Add", ["logits", "none"], ["sum"]))
    path = colours.save(tmp_path / "m.onnx", colours.spec(golden=golden), graph)
    for command in (("verify", path), ("predict", path, paint("red.png"))):
        ran = facectl(*command)
        assert ran.code == 4
        assert "m.onnx: ONNX Runtime fails on it" in ran.error()


def test_a_file_that_nothing_here_runs_does_not_keep_the_others_from_being_verified(model, facectl, monkeypatch):
    def engine(path, *more):
        if path == other:
            raise MissingExtraError("a .tflite file needs LiteRT; install it with: pip install 'facectl[tflite]'")
        return whole.engine(path, *more)

    other, whole = model.with_name("other.onnx"), format_of(model)
    other.write_bytes(model.read_bytes())
    partly = replace(whole, engine=engine)
    monkeypatch.setattr("facectl_runtime.verify.format_of", lambda *_: partly)
    ran = facectl("verify", other, model)
    assert ran.code == 2
    assert ran.out.startswith(f"ok  {model}")
    assert "needs LiteRT" in ran.err
    assert "no damage was found in it" in ran.err


@pytest.mark.parametrize("failure", [MissingExtraError("no LiteRT"), DeviceError("no such device")])
@pytest.mark.parametrize("last", [False, True])
def test_a_failed_file_among_some_that_cannot_be_run_fails(
    model, colours, golden, facectl, tmp_path, monkeypatch, failure, last
):
    def engine(path, *more):
        if path == other:
            raise failure
        return whole.engine(path, *more)

    bad = colours.save(tmp_path / "bad.onnx", colours.spec(golden=with_answer(golden, (0.0, 0.0, 1.0))))
    other, whole = tmp_path / "other.onnx", format_of(model)
    other.write_bytes(model.read_bytes())
    monkeypatch.setattr("facectl_runtime.verify.format_of", lambda *_: replace(whole, engine=engine))
    ran = facectl("verify", *([bad, other] if last else [other, bad]))
    assert ran.code == 5
    assert ran.out.startswith(f"FAILED  {bad}")
    assert str(failure) in ran.err


def test_a_folder_of_many_models_names_some_and_counts_the_others(facectl, tmp_path):
    for number in range(11):
        (tmp_path / f"{number:02}.onnx").touch()
    assert facectl("verify", tmp_path).error().endswith("06.onnx, 07.onnx, 3 more")


def test_a_folder_of_models_names_them(model, facectl):
    ran = facectl("verify", model.parent)
    assert ran.code == 4
    assert f"give one of those in it: {model.name}" in ran.error()
