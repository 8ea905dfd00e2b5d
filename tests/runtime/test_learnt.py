"""What a run, and a file that was exported into it, are known to have been trained on."""

import json
from pathlib import Path

import pytest

from facectl_runtime.copies import hashed
from facectl_runtime.labelled import Chosen, Image, content_hash
from facectl_runtime.learnt import flattery, is_known, own_split, trained_split

PARTS = {"train": ["a", "b", "c"], "val": ["d"], "test": ["e", "f"]}


@pytest.fixture
def data(tmp_path):
    for name in "abcdef":
        path = tmp_path / "data" / "red" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path / "data"


@pytest.fixture
def run(data, tmp_path):
    """Make a run that was trained for an epoch, with a file exported into it."""
    parts = {part: [{"path": f"red/{n}.png", "label": "red"} for n in names] for part, names in PARTS.items()}
    hashes = {image["path"]: content_hash(data / image["path"]) for images in parts.values() for image in images}
    (tmp_path / "run" / "export").mkdir(parents=True)
    (tmp_path / "run" / "split.json").write_text(json.dumps({"root": str(data), "parts": parts, "hashes": hashes}))
    (tmp_path / "run" / "history.csv").write_text("stage,epoch\nhead,1\n")
    (tmp_path / "run" / "export" / "red.onnx").touch()
    return tmp_path / "run"


def chosen(folder: Path) -> Chosen:
    """Choose all images of a folder, with their contents."""
    paths = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png"))
    return hashed(Chosen(folder, [Image(path, "any") for path in paths], "all", {}), lambda _: None)


def others(tmp_path, *contents):
    """Make a folder of images of these contents, under the names of the run's."""
    folder = tmp_path / "others"
    for number, content in enumerate(contents):
        path = folder / "red" / f"{'abcdef'[number]}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


def test_a_run_keeps_to_its_split_where_a_photograph_is_one_of_its_tests(run, data, tmp_path):
    path = run / "split.json"
    assert own_split(run, None) == own_split(run, data) == path
    assert own_split(run, others(tmp_path, "x", "y", "z", "u", "v")) is None
    assert own_split(run, tmp_path / "gone") is None
    assert own_split(run, others(tmp_path, "a", "y", "z", "u", "v", "f")) == path
    assert own_split(data, None) is None


def test_what_was_trained_keeps_to_it_where_any_is_of_it(run, data, tmp_path):
    file = run / "export" / "red.onnx"
    assert trained_split(run, data) == trained_split(file, data) == run / "split.json"
    assert trained_split(file, others(tmp_path, "a")) == run / "split.json"
    assert trained_split(file, others(tmp_path, "x")) is None
    (run / "history.csv").write_text("stage,epoch\n")
    assert trained_split(file, data) is None
    assert not is_known(file)


def test_images_that_were_met_are_counted_by_content_wherever_they_lie(run, data, tmp_path):
    file = run / "export" / "red.onnx"
    met = "4 of 6 images are of its own train and val parts, and flatter it"
    assert flattery(run, chosen(data)) == flattery(file, chosen(data)) == met
    assert flattery(file, chosen(others(tmp_path, "x", "c", "d", "f"))).startswith("2 of 4 images")
    only = flattery(file, chosen(tmp_path / "others"), ("train",))
    assert only == "1 of 4 images are of its own train part, and flatter it"
    assert flattery(file, chosen(others(tmp_path, "e", "x", "y", "f"))) is None
    assert flattery(tmp_path / "elsewhere.onnx", chosen(data)) is None


@pytest.mark.parametrize("broken", ["split.json", "history.csv"])
def test_a_file_does_not_need_what_lies_beside_it(run, data, broken):
    (run / broken).unlink()
    if broken == "split.json":
        (run / broken).write_text("{")
    else:
        (run / broken).mkdir()
    file = run / "export" / "red.onnx"
    assert flattery(file, chosen(data)) is None
    assert trained_split(file, data) is None
