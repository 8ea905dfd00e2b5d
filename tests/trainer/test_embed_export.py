"""An embedding, from a run to files: through the gate, with a threshold, and again."""

import json
import shutil

import pytest

from drawn_people import RECIPE, draw_people
from facectl_runtime.engines import format_of

pytest.importorskip("tf_keras")
pytest.importorskip("onnxruntime")


@pytest.fixture
def run(mine, train, tmp_path):
    """Make a run of thirty drawn people without training: the tiny network's own features are the embedding."""
    people = draw_people(tmp_path / "people", [f"Person {number}" for number in range(30)])
    assert train(people, "--pretrained", recipe=mine(RECIPE), out=tmp_path / "tiny").code == 0
    return tmp_path / "tiny"


def test_a_threshold_goes_with_its_file_and_that_is_said(run, facectl, tmp_path):
    done = facectl("export", run, "--quiet")
    assert done.code == 0, done.err
    file = run / "export" / "tiny.onnx"
    card = (run / "export" / "MODEL_CARD.md").read_text()
    assert "Nothing was trained: the weights are the pretrained ones." in card
    words = ("--data", tmp_path / "people", "--no-detect", "--far", 0.3, "--folds", 3, "--quiet")
    assert facectl("faces", "calibrate", file, *words).code == 0
    assert format_of(file).read_spec(file).threshold is not None
    done = facectl("export", run, "--quiet")
    assert done.code == 0, done.err
    assert "tiny.onnx has no threshold any more: " in done.err
    assert f"run facectl faces calibrate {file} --data PHOTOS" in done.err
    assert format_of(file).read_spec(file).threshold is None
    assert "threshold" not in facectl("export", run, "--quiet").err


def test_a_run_whose_people_were_renamed_is_not_exported(run, facectl, tmp_path):
    assert facectl("export", run, "--out", tmp_path / "out", "--quiet").code == 0
    shutil.rmtree(tmp_path / "out")
    split = json.loads((run / "split.json").read_text())
    split["parts"]["test"][0]["label"] = "Somebody else"
    (run / "split.json").write_text(json.dumps(split))
    done = facectl("export", run, "--out", tmp_path / "out", "--quiet")
    assert done.code == 4
    assert "a file in it was changed" in done.error()
    assert not (tmp_path / "out").exists()
