"""`facectl faces list`, `remove` and `compare`, as a person meets them."""

import os
import re
import shutil

import msgspec
import numpy as np
import onnx
import pytest
from PIL import Image

from facectl_runtime.faces.detect import FOUND_BY
from facectl_runtime.spec import Threshold

THRESHOLD = Threshold(0.95, "cosine", 0.001, 5000, 0.4, 100)


# Who is there, and who no longer


def test_list_shows_everyone(enroll, facectl, gallery, people):
    for name, count in (("Bert", 1), ("Anna", 2)):
        enroll(name, *people[:count])
    ran = facectl("faces", "list", gallery)
    lines = [line.split()[:2] for line in ran.out.splitlines()]
    assert lines == [["name", "photographs"], ["Anna", "2"], ["Bert", "1"]]
    assert ran.err == "2 people; embeddings of faces/projected\n"
    found = facectl("faces", "list", gallery, "--json").json()
    assert (found["gallery"], found["embedding_id"]) == (str(gallery), "faces/projected")
    assert [set(one) for one in found["people"]] == [{"name", "photographs", "first_enrolled"}] * 2


def test_a_gallery_that_is_not_there_is_not_made(facectl, gallery):
    for command in (["list"], ["remove", "Anna"]):
        ran = facectl("faces", command[0], gallery, *command[1:])
        assert ran.code == 2
        assert ran.error() == f"{gallery}: no such gallery; enrol somebody first with: facectl faces enroll"
    assert not gallery.exists()


def test_remove(enroll, facectl, gallery, people):
    enroll("Anna", *people[:2])
    enroll("Bert", people[2])
    ran = facectl("faces", "remove", gallery, "Ana")
    assert ran.code == 2
    assert ran.error().startswith(f"{gallery}: nobody is called 'Ana'; did you mean 'Anna'?")
    ran = facectl("faces", "remove", gallery, "Anna", "Bert")
    assert (ran.code, ran.out) == (0, "Anna is removed, with 2 photographs\nBert is removed, with 1 photograph\n")
    assert facectl("faces", "list", gallery, "--json").json()["people"] == []
    assert facectl("faces", "list", gallery).err.startswith("0 people; ")


def test_one_photograph_of_a_person_is_removed_and_the_person_with_the_last(enroll, facectl, gallery, people):
    enroll("Anna", *people[:2])
    enroll("Bert", people[0])
    shown = facectl("faces", "list", gallery, "--photographs", "--json").json()["photographs"]
    assert [(one["name"], one["source"]) for one in shown] == [
        ("Anna", str(people[0])),
        ("Anna", str(people[1])),
        ("Bert", str(people[0])),
    ]
    ran = facectl("faces", "remove", gallery, "Anna", "--photograph", people[0])
    assert (ran.code, ran.out) == (0, "1 photograph of Anna removed\n")
    lines = facectl("faces", "list", gallery, "--photographs").out.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [["Anna", str(people[1])], ["Bert", str(people[0])]]
    assert facectl("faces", "remove", gallery, "Anna", "--photograph", people[1]).code == 0
    assert [one["name"] for one in facectl("faces", "list", gallery, "--json").json()["people"]] == ["Bert"]


def test_of_two_photographs_of_one_name_the_content_says_which(enroll, facectl, gallery, people, tmp_path, monkeypatch):
    for folder, photograph in zip("ab", people, strict=False):
        (tmp_path / folder).mkdir()
        shutil.copy(photograph, tmp_path / folder / "1.jpg")
        monkeypatch.chdir(tmp_path / folder)
        enroll("Anna", "1.jpg")
    ran = facectl("faces", "remove", gallery, "Anna", "--photograph", "1.jpg")
    said = "'Anna' has 2 photographs that were enrolled as '1.jpg'; facectl faces list --photographs shows the content"
    assert (ran.code, said in ran.error()) == (2, True)
    shown = [line.split()[-1] for line in facectl("faces", "list", gallery, "--photographs").out.splitlines()]
    assert [len(word) for word in shown] == [7, 12, 12]
    ran = facectl("faces", "remove", gallery, "Anna", "--photograph", shown[1].upper())
    assert (ran.code, ran.out) == (0, "1 photograph of Anna removed\n")
    (left,) = facectl("faces", "list", gallery, "--photographs", "--json").json()["photographs"]
    assert left["content"].startswith(shown[2])
    assert facectl("faces", "remove", gallery, "Anna", "--photograph", "1.jpg").code == 0


def test_one_name_in_two_forms_is_removed_once(enroll, facectl, gallery, people):
    enroll("Andr\u00e9", people[0])
    enroll("Bert", people[1])
    ran = facectl("faces", "remove", gallery, "Andre\u0301", "Andr\u00e9", "Bert")
    assert (ran.code, ran.out.count("is removed")) == (0, 2)


def test_a_photograph_that_is_not_there_removes_nothing(enroll, facectl, gallery, people):
    enroll("Anna", people[0])
    ran = facectl("faces", "remove", gallery, "Anna", "--photograph", f"{people[0]}x")
    assert (ran.code, ran.out) == (2, "")
    assert f"'Anna' has no photograph that was enrolled as '{people[0]}x'" in ran.error()
    ran = facectl("faces", "remove", gallery, "Anna", "--photograph", people[0], "--photograph", "none.jpg")
    assert (ran.code, "'Anna' has no photograph that was enrolled as 'none.jpg'" in ran.error()) == (2, True)
    ran = facectl("faces", "remove", gallery, "Anna", "Bert", "--photograph", people[0])
    assert (ran.code, "--photograph is of one person, and 2 are named" in ran.error()) == (2, True)
    assert facectl("faces", "list", gallery, "--json").json()["people"][0]["photographs"] == 1


def test_a_photograph_whose_name_is_not_utf8_can_be_removed(enroll, facectl, gallery, people, tmp_path):
    odd = tmp_path / os.fsdecode(b"na\xefve.jpg")
    shutil.copy(people[0], odd)
    enroll("Anna", odd)
    ran = facectl("faces", "remove", gallery, "Anna", "--photograph", odd)
    assert (ran.code, ran.out) == (0, "1 photograph of Anna removed\n")


# Two photographs


@pytest.fixture
def compare(facectl, face_model):
    return lambda *words, model=face_model: facectl("faces", "compare", *words, "--model", model)


def test_a_name_that_is_not_there_removes_nobody(enroll, facectl, gallery, people):
    enroll("Anna", people[0])
    ran = facectl("faces", "remove", gallery, "Anna", "Ana")
    assert (ran.code, ran.out) == (2, "")
    assert "nobody is called 'Ana'; did you mean 'Anna'?" in ran.error()
    assert "Anna" in facectl("faces", "list", gallery).out


def test_one_person_and_two(compare, people, tmp_path):
    Image.open(people[0]).resize((400, 400)).save(tmp_path / "larger.png")
    same, other = compare(people[0], tmp_path / "larger.png"), compare(people[0], people[1])
    assert (same.code, same.err) == (0, "")
    assert re.fullmatch(r"(1\.000|0\.9\d\d), one person \(threshold 0\.950\)\n", same.out)
    assert re.fullmatch(r"-?0\.\d{3}, two people \(threshold 0\.950\)\n", other.out)
    assert "one person (threshold -1.000)" in compare(people[0], people[1], "--threshold", -1).out


def test_a_threshold_of_faces_that_were_cut_out_otherwise_is_said(compare, people, make_embedder, tmp_path):
    threshold = msgspec.structs.replace(THRESHOLD, found_by=FOUND_BY)
    model = make_embedder(tmp_path / "found.onnx", threshold=threshold)
    assert compare(people[0], people[1], model=model).err == ""
    cut = compare(people[0], people[1], "--no-detect", model=model)
    assert cut.code == 0
    assert f"chosen on faces found by {FOUND_BY}, and these are taken as they are (--no-detect)" in cut.err
    assert compare(people[0], people[1], "--no-detect", "--threshold", 0.9, model=model).err == ""


def test_compare_and_identify_decide_alike_at_the_very_threshold(compare, enroll, facectl, gallery, people, face_model):
    enroll("Anna", people[0])
    cosine = compare(people[0], people[1], "--json").json()["similarity"]
    for least in np.nextafter(np.float32(cosine), np.float32([-1, 1]), dtype=np.float32):
        words = ("--threshold", float(least), "--json", "--model", face_model)
        said = facectl("faces", "identify", gallery, people[1], *words).json()["results"][0]["faces"][0]
        same = facectl("faces", "compare", people[0], people[1], *words).json()["same_person"]
        assert same == (said["label"] == "Anna")


def test_without_a_threshold_there_is_a_cosine_alone(compare, people, crop_model):
    ran = compare(people[0], people[0], model=crop_model)
    assert (ran.code, ran.out) == (0, "1.000\n")
    assert f"it has no threshold; facectl faces calibrate {crop_model} --data PHOTOS finds one" in ran.err
    found = compare(people[0], people[0], "--json", model=crop_model).json()
    assert (found["similarity"], found["threshold"], found["same_person"]) == (pytest.approx(1), None, None)


def test_compare_in_json(compare, people, crowd, face_model):
    ran = compare(people[0], crowd, "--json")
    found = ran.json()
    assert set(found) == {
        "similarity", "threshold", "same_person", "model", "engine", "device", "device_requested"
    }  # fmt: skip
    assert (found["threshold"], found["same_person"], found["model"]) == (0.95, False, str(face_model))
    assert ran.err.startswith(f"facectl: {crowd}: it shows ")


@pytest.mark.parametrize("value", ["nan", "2", "-1.5", "high"])
def test_a_threshold_that_is_no_cosine_is_refused(compare, grey, value):
    ran = compare(grey, grey, "--threshold", value)
    assert (ran.code, "--threshold" in ran.error()) == (2, True)


def test_what_cannot_be_compared_is_named(compare, people, grey):
    for path, said in ((grey, "no face was found in it"), ("missing.jpg", "cannot be read: No such file")):
        ran = compare(people[0], path)
        assert ran.code == 3
        assert ran.error().startswith(f"{path}: {said}")


def test_an_answer_that_is_no_number_is_an_error_of_its_photograph(
    compare, enroll, people, colours, tmp_path, face_model
):
    graph = onnx.load(face_model)
    graph.graph.node[-1].op_type = "Identity"  # no L2 norm
    del graph.graph.node[-1].attribute[:]
    broken = tmp_path / "broken.onnx"
    colours.save(broken, None, graph)
    ran = enroll("Anna", people[0], model=broken)
    assert (ran.code, "the model's answer to it is no number" in ran.out) == (3, True)
    assert "the model's answer to it is no number" in compare(people[0], people[1], model=broken).error()
