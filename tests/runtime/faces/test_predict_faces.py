"""`facectl predict --faces`: a classifier answers each face of a picture."""

import csv
import io

import numpy as np
import pytest
from PIL import Image

from facectl_runtime.faces import detect

BLUE, AMBER = (0x38, 0xA8, 0xF0), (0xFF, 0xC2, 0x47)


@pytest.fixture(scope="module")
def tinted(people, tmp_path_factory):
    """Make a picture of two people, the left one in red light, the right one in green."""
    picture = Image.new("RGB", (500, 250))
    for number, tint in enumerate(((1, 0.2, 0.2), (0.2, 1, 0.2))):
        photograph = np.asarray(Image.open(people[number]).convert("L"))[..., None] * np.array(tint)
        picture.paste(Image.fromarray(photograph.astype(np.uint8)), (250 * number, 0))
    path = tmp_path_factory.mktemp("tinted") / "tinted.png"
    picture.save(path)
    return path


@pytest.fixture
def predict(facectl, model):
    return lambda *words, model=model: facectl("predict", model, *words, "--faces")


def faces(ran):
    return [row["faces"] for row in ran.json()["results"]]


def test_each_face_has_its_answer(predict, tinted):
    ran = predict(tinted, "--json")
    assert ran.code == 0
    (found,) = faces(ran)
    assert [face["label"] for face in sorted(found, key=lambda face: face["box"])] == ["red", "green"]
    assert set(found[0]) == {"box", "score", "label", "probability", "top"}
    assert found[0]["top"] == [{"label": found[0]["label"], "probability": found[0]["probability"]}]
    assert found[0]["score"] >= found[1]["score"]
    assert set(ran.json()["results"][0]) == {"source", "faces"}


def test_the_table_has_a_line_a_face(predict, tinted, grey):
    ran = predict(tinted, grey, "--topk", 2)
    *lines, last = ran.out.splitlines()
    assert {line.split()[1] for line in lines} == {"red", "green"}
    assert all(line.split()[0].endswith("%") and f"  {tinted}  " in line for line in lines)
    assert last == f"no face  {grey}"
    assert ran.err.startswith("2 images, ")


def test_csv(predict, tinted, grey):
    table = list(csv.DictReader(io.StringIO(predict(tinted, grey, "--csv", "--topk", 2).out)))
    assert list(table[0])[:13] == [
        "source", "frame", "time", "at", "left", "upper", "right", "lower", "score", "label", "probability", "label_2",
        "probability_2",
    ]  # fmt: skip
    assert [row["label"] for row in sorted(table[:2], key=lambda row: int(row["left"]))] == ["red", "green"]
    assert (table[2]["source"], table[2]["label"], table[2]["error"]) == (str(grey), "", "")
    assert len(table) == 3


def test_without_the_option_nothing_has_changed(facectl, model, tinted):
    ran = facectl("predict", model, tinted, "--csv")
    assert ran.out.splitlines()[0].startswith("source,frame,time,at,label,probability,age,error,")


def test_below_the_threshold_a_face_is_unknown(predict, cautious, tinted, people):
    (known,) = faces(predict(tinted, "--json", model=cautious))
    (unknown,) = faces(predict(people[3], "--json", model=cautious))
    assert "unknown" not in {face["label"] for face in known}
    assert [face["label"] for face in unknown] == ["unknown"]


def test_a_threshold_of_whole_pictures_is_said(predict, facectl, cautious, tinted):
    said = f"facectl: {cautious}: its threshold was measured on whole pictures, and faces are cut out otherwise"
    assert said in predict(tinted, model=cautious).err
    for ran in (predict(tinted, "-q", model=cautious), predict(tinted), facectl("predict", cautious, tinted)):
        assert "whole pictures" not in ran.err


def test_boxes_are_drawn(predict, tinted, people, cautious, tmp_path):
    ran = predict(tinted, "--draw", tmp_path / "out.png", "--json")
    drawn = np.asarray(Image.open(tmp_path / "out.png").convert("RGB"))
    for face in faces(ran)[0]:
        left, upper, right, lower = face["box"]
        for column in (left, right - 1):
            assert tuple(drawn[(upper + lower) // 2, column].tolist()) == BLUE
    ran = predict(people[3], "--draw", tmp_path / "other.png", "--json", model=cautious)
    left, upper, _, lower = faces(ran)[0][0]["box"]
    assert tuple(np.asarray(Image.open(tmp_path / "other.png"))[(upper + lower) // 2, left].tolist()) == AMBER
    assert ran.err.endswith(f"drawn: {tmp_path / 'other.png'}\n")


def test_pictures_are_kept_by_what_their_faces_are(predict, tinted, grey, tmp_path):
    keep = tmp_path / "keep"
    assert predict(tinted, grey, "--save", keep).code == 0
    assert sorted(path.name for path in keep.iterdir()) == ["green", "red"]
    assert len(list(keep.rglob("*.facectl.png"))) == 2


def test_what_cannot_be_read_has_its_row(predict, tinted, tmp_path):
    (tmp_path / "bad.jpg").touch()
    ran = predict(tmp_path / "bad.jpg", tinted, "--json")
    assert ran.code == 3
    first, second = ran.json()["results"]
    assert ("error" in first, len(second["faces"])) == (True, 2)


def test_without_the_detectors_weights_it_is_one_line(predict, facectl, model, grey, monkeypatch, tmp_path):
    monkeypatch.setenv("FACECTL_WEIGHTS_DIR", str(tmp_path))
    detect._shared.cache_clear()
    ran = predict(grey)
    assert (ran.code, "run facectl weights pull yunet" in ran.error()) == (2, True)
    assert facectl("predict", model, grey).code == 0


def test_an_embedding_is_sent_elsewhere(predict, facectl, face_model, grey):
    for ran in (predict(grey, model=face_model), facectl("predict", face_model, grey)):
        assert ran.code == 4
        assert "its task is embed" in ran.error()
        assert "facectl faces" in ran.error()
