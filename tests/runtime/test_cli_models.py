"""Models that a command refuses, in one line and with one exit code."""

import os

import onnx
import pytest

from drawn_run import draw_run
from facectl_runtime.spec import OutputSpec, encode


def test_a_model_that_is_not_there(refuse, tmp_path):
    assert "missing.onnx: no such model" in refuse(tmp_path / "missing.onnx")
    refuse(tmp_path / ("x" * 300 + ".onnx"))


def test_what_is_no_model(refuse, tmp_path, paint):
    assert "a .png file is not a model; use .mlpackage, .onnx" in refuse(paint("photo.png"))
    assert "a folder without a spec.json" in refuse(tmp_path)


def test_a_model_without_a_spec(refuse, colours, tmp_path):
    said = refuse(colours.save(tmp_path / "bare.onnx", None), ["predict", "evaluate", "verify"])
    assert "bare.onnx: it carries no facectl.spec" in said


@pytest.mark.parametrize("make", ["empty", "text", "cut", "folder"])
def test_a_damaged_model(refuse, model, tmp_path, make):
    path = tmp_path / "bad.onnx"
    if make == "folder":
        path.mkdir()
    else:
        path.write_bytes({"empty": b"", "text": b"hello", "cut": model.read_bytes()[:-100]}[make])
    assert "bad.onnx: " in refuse(path)


def test_damage_in_the_graph_is_found_too(refuse, model, tmp_path):
    path = tmp_path / "bad.onnx"
    path.write_bytes(model.read_bytes().replace(b"MatMul", b"MatMxx"))
    assert "bad.onnx: ONNX Runtime cannot load it" in refuse(path, ["predict", "evaluate", "verify"])


def test_a_spec_of_a_later_version(refuse, colours, tmp_path):
    text = encode(colours.spec()).replace('"spec_version":1', '"spec_version":2')
    said = refuse(colours.save(tmp_path / "later.onnx", text))
    assert "version 2" in said
    assert "upgrade" in said


@pytest.mark.parametrize("text", ["", "no JSON", '{"spec_version":1,"a\\nb":0}', "[" * 10**5])
def test_a_spec_that_is_not_valid(refuse, colours, tmp_path, text):
    assert "bad.onnx: " in refuse(colours.save(tmp_path / "bad.onnx", text))


def test_a_spec_that_was_edited(refuse, colours, proven, facectl, edit, tmp_path):
    path = colours.save(tmp_path / "edited.onnx", proven)
    assert facectl("verify", path).code == 0
    edit(path)
    assert "edited.onnx: its facectl spec was changed after it was written" in refuse(path)


def test_a_spec_of_a_run_that_was_edited(refuse, facectl, edit, proven, tmp_path):
    run = draw_run(tmp_path / "run", tmp_path / "photographs", ["cat", "dog"], each=1)
    (run / "spec.json").write_text(encode(proven))
    assert facectl("inspect", run).code == 0
    edit(run / "spec.json")
    said = refuse(run, ["predict", "evaluate", "verify", "inspect", "export"])
    assert f"{run / 'spec.json'}: its facectl spec was changed after it was written" in said


def test_a_name_of_two_lines_is_still_one_line(refuse, tmp_path):
    assert "a\\nb.onnx" in refuse(tmp_path / "a\nb.onnx")


def graphs(colours):
    return {
        "labels": colours.graph(classes=2),
        "sides": colours.graph(width=8, height=12),
        "float": colours.graph(pixels=onnx.TensorProto.FLOAT),
    }


@pytest.mark.parametrize("kind", ["labels", "sides", "float"])
def test_a_graph_that_its_spec_does_not_describe(refuse, colours, golden, tmp_path, kind):
    path = colours.save(tmp_path / "other.onnx", colours.spec(golden=golden), graphs(colours)[kind])
    said = refuse(path, ["predict", "evaluate", "verify"])
    assert "other.onnx: its graph takes" in said
    assert "export the model again" in said


def test_a_model_with_labels_too_many(refuse, colours, tmp_path):
    spec = colours.spec(labels=("red", "green", "blue", "black"), output=OutputSpec("probabilities", 4))
    refuse(colours.save(tmp_path / "other.onnx", spec), ["predict", "evaluate"])


def test_an_embedder_cannot_predict(embedder, refuse):
    assert "facectl faces takes those that embed" in refuse(embedder, ["predict"])


def test_a_model_whose_name_is_not_utf8(model, paint, facectl, tmp_path):
    path = tmp_path / os.fsdecode(b"\xff.onnx")
    path.write_bytes(model.read_bytes())
    ran = facectl("predict", path, paint("a.png"), "--json")
    assert ran.code == 0
    assert ran.json()["model"] == f"{tmp_path}/\ufffd.onnx"
    assert facectl("verify", path).code == facectl("verify", path, "--json").code == 0
