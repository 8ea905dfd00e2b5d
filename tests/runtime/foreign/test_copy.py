"""A copy of a model of others that carries what was said of it is one of ours."""

import hashlib
import os
import zipfile

import numpy as np
import onnx
import pytest

from facectl_runtime.engines import format_of
from facectl_runtime.onnx_metadata import read_metadata
from foreign_graph import HEIGHT, LABELS, WIDTH, graph


@pytest.fixture
def copied(foreign, labels, facectl, tmp_path):
    path, copy = foreign(), tmp_path / "copy" / "ours.onnx"
    ran = facectl("inspect", path, "--labels", labels(), "--mean", "0.4", "--std", "0.1", "--write-spec", copy)
    assert (ran.code, ran.err) == (0, "")
    assert "a model of others" in ran.out
    return path, copy


def test_every_command_takes_a_copy_without_options(copied, classes, paint, facectl):
    """A picture of one colour, 255 of one channel: by hand, softmax of 4 × (1 - 0.4) / 0.1 and twice 4 × -4."""
    _, copy = copied
    ran = facectl("predict", copy, paint("a.png", (128, 115, 102), (WIDTH, HEIGHT)), "--json", "--topk", 3)
    assert ran.code == 0
    powers = np.exp(4 * (np.array([128, 115, 102]) / 255 - 0.4) / 0.1)
    expected = dict(zip(LABELS, powers / powers.sum(), strict=True))
    found = {top["label"]: top["probability"] for top in ran.json()["results"][0]["top"]}
    assert found == pytest.approx(expected, abs=2e-6)
    assert 0.1 < found["blue"] + found["green"] < 0.9
    assert facectl("evaluate", copy, "--data", classes, "--json").json()["accuracy"] == pytest.approx(5 / 6)
    replayed = facectl("verify", copy, "--json")
    assert replayed.code == 0
    assert (replayed.json()[0]["images"], replayed.json()[0]["intact"]) == (4, True)
    assert facectl("inspect", copy, "--json").json()["labels"] == LABELS


def test_a_copy_is_the_file_with_an_entry_behind_it(copied):
    path, copy = copied
    assert copy.read_bytes().startswith(path.read_bytes())
    assert read_metadata(copy).keys() == {"author", "facectl.spec"}
    kept, graphs = [onnx.load(each) for each in (path, copy)], []
    for each in kept:
        del each.metadata_props[:]
        graphs.append(each.SerializeToString())
    assert graphs[0] == graphs[1]
    spec = format_of(copy).read_spec(copy)
    assert spec.provenance.weights_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert [item.name for item in copy.parent.iterdir()] == ["ours.onnx"]


def test_a_damaged_copy_is_noticed(copied, facectl, paint):
    _, copy = copied
    whole = copy.read_bytes()
    weights = np.float32([4, 0, 0, 0, 4]).tobytes()
    assert whole.count(weights) == 1
    copy.write_bytes(whole.replace(weights, np.float32([5, 0, 0, 0, 4]).tobytes()))
    assert facectl("verify", copy).code == 5
    assert "damaged, or edited" in facectl("predict", copy, paint("a.png")).error()


def test_a_copy_of_a_tflite_file(labels, facectl, tmp_path, paint):
    pytest.importorskip("ai_edge_litert.schema_py_generated")
    from tiny_tflite import float_network, quantized_network, save

    for name, network, words in (
        ("float", float_network(), ["--mean", "0.5", "--std", "0.05"]),
        ("quantized", quantized_network(step=1 / 8, zero=64), []),
    ):
        path, copy = save(tmp_path / f"{name}.tflite", None, network), tmp_path / f"{name}.copy.tflite"
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("labels.txt", "of others")
        ran = facectl("inspect", path, "--labels", labels(), *words, "--write-spec", copy, "--json")
        assert ran.code == 0, ran.err
        assert ran.json()["graph_sha256"] == format_of(copy).digest(copy)
        assert facectl("verify", copy).code == 0
        row = facectl("predict", copy, paint("b.png", "blue"), "--json").json()["results"][0]
        assert (row["label"], row["probability"]) == ("blue", pytest.approx(1, abs=0.01))
        with zipfile.ZipFile(copy) as archive:
            assert archive.read("labels.txt") == b"of others"


def test_force_without_a_copy_is_refused(foreign, labels, facectl):
    for words in ([], ["--labels", labels()]):
        ran = facectl("inspect", foreign(), *words, "--force")
        assert ran.code == 2
        assert "--force does nothing without --write-spec" in ran.error()


def test_a_place_that_cannot_be_written_is_refused_before_anything_is(foreign, labels, facectl, tmp_path):
    path, there, folder = foreign(), tmp_path / "there.onnx", tmp_path / "folder.onnx"
    there.write_text("mine")
    folder.mkdir()
    before = path.read_bytes()
    for out, words, said in (
        (there, [], "already there; give another name, or --force"),
        (folder, ["--force"], "a folder stands there"),
        (tmp_path / "m.tflite", [], "give a name that ends in .onnx"),
        (path, ["--force"], "it is the file that is copied"),
        (there / "m.onnx", [], "cannot be written"),
    ):
        ran = facectl("inspect", path, "--labels", labels(), "--write-spec", out, *words)
        assert ran.code == 2
        assert said in ran.error()
    assert (there.read_text(), path.read_bytes()) == ("mine", before)
    assert facectl("inspect", path, "--labels", labels(), "--write-spec", there, "--force").code == 0
    assert facectl("verify", there).code == 0


def test_answers_to_a_drawn_picture_that_are_no_numbers_are_not_written(foreign, labels, facectl, tmp_path):
    """An arc cosine of pixels / 135: a number of noise, and none of a picture that is more blue."""
    said = [foreign(ends=("Acos",)), "--labels", labels(), "--scale", 540]
    assert facectl("inspect", *said).code == 0
    ran = facectl("inspect", *said, "--write-spec", tmp_path / "copy.onnx")
    assert ran.code == 4
    assert "expects a value that is not finite" in ran.error()
    assert not os.path.lexists(tmp_path / "copy.onnx")


def test_weights_beside_the_file_are_not_left_behind(labels, facectl, tmp_path):
    path = tmp_path / "parted.onnx"
    onnx.save(graph(), path, save_as_external_data=True, location="weights.bin", size_threshold=60)
    assert facectl("inspect", path, "--labels", labels()).code == 0  # it runs where it is
    ran = facectl("inspect", path, "--labels", labels(), "--write-spec", tmp_path / "copy.onnx")
    assert ran.code == 4
    assert "weights lie in files beside it; save it as one file" in ran.error()
    assert not os.path.lexists(tmp_path / "copy.onnx")
