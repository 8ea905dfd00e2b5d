"""Evaluation on labelled folders, as a person reads it and as a program does."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from facectl_runtime import evaluate
from facectl_runtime.evaluate import metrics
from facectl_runtime.labelled import content_hash
from facectl_runtime.metrics import wilson


def test_json_holds_what_is_promised(model, classes, facectl):
    ran = facectl("evaluate", model, "--data", classes, "--json")
    assert ran.code == 0
    found = ran.json()
    assert found["accuracy"] == pytest.approx(5 / 6)
    assert found["n"] == 6
    assert found["interval"] == pytest.approx(wilson(5, 6))
    assert found["labels"] == ["red", "green", "blue"]
    assert found["confusion"] == [[2, 0, 0], [0, 2, 0], [1, 0, 1]]
    assert found["per_class"] == {
        "red": {"precision": pytest.approx(2 / 3), "recall": 1.0, "f1": pytest.approx(0.8), "n": 2},
        "green": {"precision": 1.0, "recall": 1.0, "f1": 1.0, "n": 2},
        "blue": {"precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "n": 2},
    }
    assert found["unreadable"] == {}
    assert (found["model"], found["device"], found["device_requested"]) == (str(model), "cpu", "auto")
    assert found["engine"].startswith("onnxruntime ")


def test_threads_are_those_that_decode_too(model, classes, facectl, monkeypatch):
    asked = []
    begin = evaluate.decode_ahead
    monkeypatch.setattr(evaluate, "decode_ahead", lambda *given, **more: asked.append(more) or begin(*given, **more))
    assert facectl("evaluate", model, "--data", classes, "--threads", 1).code == 0
    assert asked[0]["workers"] == 1


def test_text_says_the_same(model, classes, facectl):
    ran = facectl("evaluate", model, "--data", classes)
    assert ran.code == 0
    lines = [line.split() for line in ran.out.splitlines()]
    assert ran.out.startswith("accuracy 0.8333, 95 % interval 0.43")
    assert ["blue", "1.000", "0.500", "0.667", "2"] in lines
    assert ["blue", "2", "1", "·", "1"] in lines
    assert "6 in" in ran.err


def test_what_a_threshold_withholds_is_counted_beside_what_the_model_knows(cautious, model, classes, paint, facectl):
    paint("data/green/3.png", (100, 110, 100))  # right, and not sure of it
    paint("data/blue/3.png", (110, 100, 100))  # wrong, and not sure of it
    found = facectl("evaluate", cautious, "--data", classes, "--json").json()
    assert (found["accuracy"], found["n"]) == (pytest.approx(6 / 8), 8)
    assert found["withheld"] == {"threshold": pytest.approx(0.6), "count": 2, "right": 1, "accuracy": 5 / 6}
    said = facectl("evaluate", cautious, "--data", classes).out.splitlines()[1]
    assert said == (
        "below the threshold of 0.6000, unknown: 2 of 8; 1 of them would be right; accuracy of the others 0.8333"
    )
    shutil.rmtree(classes / "red")
    for name in ("green/1.png", "green/2.png", "blue/1.png", "blue/2.png"):
        (classes / name).unlink()
    assert facectl("evaluate", cautious, "--data", classes, "--json").json()["withheld"]["accuracy"] is None
    assert (
        facectl("evaluate", cautious, "--data", classes)
        .out.splitlines()[1]
        .endswith("2 of 2; 1 of them would be right")
    )
    assert facectl("evaluate", model, "--data", classes, "--json").json()["withheld"] is None


def test_quiet_leaves_stderr_empty(model, classes, facectl):
    assert facectl("evaluate", model, "--data", classes, "--quiet").err == ""


def test_a_class_that_is_not_there_has_no_recall(model, classes, facectl):
    shutil.rmtree(classes / "blue")
    shutil.rmtree(classes / "green")
    ran = facectl("evaluate", model, "--data", classes, "--json")
    assert ran.json()["per_class"]["green"] == {"precision": None, "recall": None, "f1": None, "n": 0}
    assert "–" in facectl("evaluate", model, "--data", classes).out


def test_what_cannot_be_read_is_left_out_and_named(model, classes, facectl):
    (classes / "red" / "3.jpg").write_text("no picture")
    (classes / "green" / "0.png").touch()
    ran = facectl("evaluate", model, "--data", classes, "--json")
    assert ran.code == 3
    found = ran.json()
    assert found["n"] == 6
    assert sorted(found["unreadable"]) == ["green/0.png", "red/3.jpg"]
    assert "empty" in found["unreadable"]["green/0.png"]
    text = facectl("evaluate", model, "--data", classes)
    assert text.code == 3
    assert "left out: 2: green/0.png: " in text.out
    assert "; red/3.jpg: " in text.out


def test_images_that_are_not_answered_by_numbers_are_left_out_and_named(colours, classes, paint, tmp_path, facectl):
    """The logarithm of no green and no blue at all; grey has some of each."""
    path = colours.save(tmp_path / "log.onnx", colours.spec(), colours.graph(last="Log"))
    paint("data/red/grey.png", (120, 110, 110))
    ran = facectl("evaluate", path, "--data", classes, "--json")
    assert (ran.code, ran.json()["n"]) == (3, 1)
    assert "the model's answer to it is no number" in ran.json()["unreadable"]["red/1.png"]
    shutil.rmtree(classes / "blue")
    (classes / "red/grey.png").unlink()
    ran = facectl("evaluate", path, "--data", classes, "-q")
    assert (ran.code, "none of 4 images can be used (the model's answer" in ran.error()) == (2, True)


def test_of_many_that_cannot_be_read_the_first_are_named(model, classes, facectl):
    for number in range(50):
        (classes / "red" / f"bad\n{number:02}.jpg").write_text("no picture")
    ran = facectl("evaluate", model, "--data", classes)
    assert ran.code == 3
    last = ran.out.splitlines()[-1]
    assert last.startswith(r"left out: 50: red/bad\n00.jpg, red/bad\n01.jpg, ")
    assert last.endswith("; and 40 more")
    assert last.count("red/bad") == 10
    assert last.count(": is not an image") == 1
    assert len(facectl("evaluate", model, "--data", classes, "--json").json()["unreadable"]) == 50


def test_images_whose_names_are_not_utf8_are_measured_and_named(model, classes, facectl):
    (classes / "red" / os.fsdecode(b"\xff.png")).write_bytes((classes / "red" / "1.png").read_bytes())
    (classes / "red" / os.fsdecode(b"\xfe.png")).touch()
    ran = facectl("evaluate", model, "--data", classes, "--json")
    assert ran.json()["n"] == 7
    assert list(ran.json()["unreadable"]) == ["red/\ufffd.png"]
    assert facectl("evaluate", model, "--data", classes).code == 3


def test_a_class_that_the_model_has_not_is_named(model, classes, paint, facectl):
    paint("data/violet/1.png", (200, 0, 200))
    ran = facectl("evaluate", model, "--data", classes)
    assert ran.code == 2
    assert "violet" in ran.error()
    assert "red, green, blue" in ran.error()
    for number in range(20):
        paint(f"data/violet{number:02}/1.png", (200, 0, 200))
    assert (
        "violet07, violet08 and 11 more; it has red, green, blue; leave"
        in facectl("evaluate", model, "--data", classes).error()
    )


def test_nothing_that_can_be_read_is_an_error(model, tmp_path, facectl):
    for name in ("red", "blue"):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "1.png").touch()
    ran = facectl("evaluate", model, "--data", tmp_path / "data", "--quiet")
    assert ran.code == 2
    assert "none of its 2 images can be used" in ran.error()


@pytest.mark.parametrize("make", ["missing", "empty", "file"])
def test_data_that_is_no_folder_of_classes_is_an_error(model, tmp_path, facectl, make):
    place = tmp_path / "data"
    if make == "empty":
        place.mkdir()
    elif make == "file":
        place.touch()
    ran = facectl("evaluate", model, "--data", place)
    assert ran.code == 2
    assert str(place) in ran.error()


def test_a_model_alone_needs_data(model, facectl):
    ran = facectl("evaluate", model)
    assert ran.code == 2
    assert "--data" in ran.error()


def test_a_folder_that_is_split_already_is_measured_on_the_part_asked_for(model, classes, tmp_path, facectl):
    for part in ("train", "val", "test"):
        shutil.copytree(classes, tmp_path / "parts" / part)
    (tmp_path / "parts" / "test" / "blue" / "2.png").unlink()
    assert facectl("evaluate", model, "--data", tmp_path / "parts", "--json").json()["n"] == 5
    assert facectl("evaluate", model, "--data", tmp_path / "parts", "--part", "val", "--json").json()["n"] == 6


def split_file(classes: Path, hashed: bool = False, **parts: list[str]) -> Path:
    listed = {part: [{"path": p, "label": p.split("/")[0]} for p in paths] for part, paths in parts.items()}
    path = classes.parent / "split.json"
    hashes = {name: content_hash(classes / name) for names in parts.values() for name in names} if hashed else {}
    path.write_text(json.dumps({"root": str(classes), "parts": listed, "hashes": hashes}))
    return path


def test_a_split_file_chooses_the_images(model, classes, facectl):
    path = split_file(classes, train=["red/1.png"], test=["blue/1.png", "blue/2.png"])
    found = facectl("evaluate", model, "--split", path, "--json").json()
    assert (found["n"], found["accuracy"]) == (2, 0.5)
    assert facectl("evaluate", model, "--split", path, "--part", "train", "--json").json()["accuracy"] == 1


def test_what_has_changed_since_the_split_is_left_out_and_named(model, classes, paint, facectl):
    path = split_file(classes, test=["blue/1.png", "red/1.png", "red/2.png"], hashed=True)
    assert facectl("evaluate", model, "--split", path, "--json").json()["n"] == 3
    paint("data/red/1.png", "blue")
    ran = facectl("evaluate", model, "--split", path, "--json")
    assert ran.code == 3
    assert ran.json()["n"] == 2
    assert ran.json()["unreadable"] == {"red/1.png": "changed since the split was made"}
    assert "left out: 1: red/1.png: changed since" in facectl("evaluate", model, "--split", path).out
    for name in ("blue/1.png", "red/2.png"):
        paint(f"data/{name}", "green")
    ran = facectl("evaluate", model, "--split", path, "--quiet")
    assert ran.code == 2
    assert "none of its 3 images can be used (changed since the split was made)" in ran.error()


def test_a_split_file_follows_its_images(model, classes, facectl):
    path = split_file(classes, test=["blue/1.png"])
    moved = classes.rename(classes.with_name("moved"))
    assert facectl("evaluate", model, "--split", path, "--data", moved, "--json").json()["n"] == 1
    assert facectl("evaluate", model, "--split", path, "--quiet").code == 2


def test_a_part_without_images_says_so(model, classes, facectl):
    path = split_file(classes, test=[], train=["red/1.png"])
    for part in ("test", "val"):
        ran = facectl("evaluate", model, "--split", path, "--part", part, "--quiet")
        assert ran.code == 2
        assert f"no {part} images" in ran.error()


def test_an_unknown_part_names_those_that_there_are(model, classes, facectl):
    ran = facectl("evaluate", model, "--data", classes, "--part", "tset")
    assert ran.code == 2
    assert "train, val, test" in ran.error()


def test_metrics_count_hits():
    measured = metrics(np.array([True, True, False, True]))
    assert (measured.accuracy, measured.n, measured.interval) == (0.75, 4, wilson(3, 4))
