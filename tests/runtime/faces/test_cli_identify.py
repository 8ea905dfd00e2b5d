"""`facectl faces identify`: who is in pictures, videos and streams, in every form of answer."""

import csv
import io
import json

import numpy as np
import pytest
from PIL import Image

from clips import write_clip
from facectl_runtime.faces import detect
from facectl_runtime.spec import Threshold
from streams import mjpeg

BLUE, AMBER = (0x38, 0xA8, 0xF0), (0xFF, 0xC2, 0x47)
COMMON = ["model", "engine", "device", "device_requested", "gallery", "threshold"]


@pytest.fixture(scope="module")
def gallery(people, facectl, face_model, tmp_path_factory):
    """Enrol the first four people, the first one as Anna; one of the four with two photographs."""
    path = tmp_path_factory.mktemp("gallery") / "family.gallery"
    for name, *photographs in (
        ("Anna", people[0]),
        ("Bert", people[1], people[5]),
        ("Cleo", people[2]),
        ("李", people[3]),
    ):
        assert facectl("faces", "enroll", path, name, *photographs, "--model", face_model).code == 0
    return path


@pytest.fixture
def identify(facectl, gallery, face_model):
    return lambda *words, gallery=gallery, model=face_model: facectl(
        "faces", "identify", gallery, *words, "--model", model
    )


def faces(ran):
    """Give the faces of each row."""
    return [row.get("faces") for row in ran.json()["results"]]


def labels(ran):
    return [[face["label"] for face in found] for found in faces(ran)]


def pasted(path, size, *places):
    """Write a picture with photographs at places, (photograph, left, upper, side) each."""
    picture = Image.new("RGB", size)
    for photograph, left, upper, side in places:
        picture.paste(Image.open(photograph).resize((side, side)), (left, upper))
    picture.save(path)
    return path


# Who


def test_the_person_in_the_picture(identify, people):
    ran = identify(people[0])
    assert ran.code == 0
    assert ran.out.split()[:3] == ["1.000", "Anna", str(people[0])]
    assert ran.err.startswith("1 image, ")


def test_another_photograph_of_a_person_counts_as_much(identify, people):
    assert labels(identify(people[5], people[1], "--json")) == [["Bert"], ["Bert"]]


def test_a_stranger_is_unknown(identify, people):
    ran = identify(people[6], "--json")
    ((face,),) = faces(ran)
    assert (ran.code, face["label"]) == (0, "unknown")
    assert face["similarity"] == face["top"][0]["similarity"] < 0.95
    assert face["top"][0]["label"] in ("Anna", "Bert", "Cleo", "李")
    assert "  unknown  " in identify(people[6]).out


def test_a_threshold_by_which_many_strangers_would_be_named_is_said(identify, people, make_embedder, tmp_path):
    def model(rate):
        return make_embedder(tmp_path / f"{rate}.onnx", threshold=Threshold(0.95, "cosine", rate, 5000, 0.4, 100))

    loose = model(0.05)  # five embeddings are enrolled
    said = (
        f"facectl: {loose}: its threshold takes one of 20 pairs of different people for one person, and a stranger is "
        "compared with 5 embeddings: up to about 25% of strangers will be named; calibrate it with --far 0.02 or less\n"
    )
    assert identify(people[6], model=loose).err.startswith(said)
    lucky = Threshold(0.95, "cosine", 0.0, 5000, 0.4, 100, asked=0.05)  # no false accept was met
    lucky = make_embedder(tmp_path / "lucky.onnx", threshold=lucky)
    assert "up to about 25% of strangers" in identify(people[6], model=lucky).err
    for words, tried in ((["-q"], loose), (["--threshold", 0.95], loose), ([], model(0.01)), ([], model(0.0))):
        assert "strangers" not in identify(people[6], *words, model=tried).err


def test_the_threshold_is_the_models_own_unless_one_is_given(identify, people, tmp_path):
    Image.open(people[0]).resize((180, 180)).save(tmp_path / "a.png")
    ((face,),) = faces(identify(tmp_path / "a.png", "--json"))
    assert (face["label"], 0.95 <= face["similarity"] < 0.9999) == ("Anna", True)
    assert labels(identify(tmp_path / "a.png", "--threshold", 0.9999, "--json")) == [["unknown"]]
    assert labels(identify(people[6], "--threshold", -1, "--json")) != [["unknown"]]
    value = f"{face['similarity'] - 1e-5:.6f}"
    assert labels(identify(tmp_path / "a.png", "--threshold", value, "--json")) == [["Anna"]]


def test_without_a_threshold_it_refuses(facectl, people, crop_model, tmp_path):
    file = tmp_path / "a.gallery"
    facectl("faces", "enroll", file, "Anna", people[0], "--model", crop_model)
    words = ["faces", "identify", file, people[0], "--model", crop_model]
    ran = facectl(*words)
    assert ran.code == 2
    assert ran.error() == (
        f"{crop_model}: it has no threshold yet, so that every stranger would be somebody; run facectl faces calibrate "
        f"{crop_model} --data PHOTOS, with a folder a person, or give --threshold, a cosine"
    )
    assert facectl(*words, "--threshold", 0.9).out.split()[1] == "Anna"


def test_more_than_there_are_gives_everyone(identify, people):
    ran = identify(people[0], "--topk", 99, "--json")
    ((face,),) = faces(ran)
    assert sorted(one["label"] for one in face["top"]) == ["Anna", "Bert", "Cleo", "李"]
    values = [one["similarity"] for one in face["top"]]
    assert values == sorted(values, reverse=True)
    (line,) = identify(people[0], "--topk", 2).out.splitlines()
    assert line.split()[:2] == ["1.000", "Anna"]
    assert line.split()[3] == face["top"][1]["label"]


def test_means_are_another_comparison(identify, people):
    ((of_all,),) = faces(identify(people[5], "--json"))
    ((of_mean,),) = faces(identify(people[5], "--templates", "mean", "--threshold", -1, "--json"))
    assert of_mean["similarity"] < 0.99 < of_all["similarity"]
    assert labels(identify(people[0], "--templates", "mean", "--json")) == [["Anna"]]
    ran = identify(people[0], "--templates", "median")
    assert (ran.code, ran.error()) == (2, "--templates 'median' is not known; use all or mean")


# What is on the picture


def test_thirty_faces_each_have_a_row(identify, crowd):
    ran = identify(crowd)
    lines = ran.out.splitlines()
    assert len(lines) >= 30
    assert all(f"  {crowd}  " in line for line in lines)
    found = faces(identify(crowd, "--json"))[0]
    for name, column in (("Anna", 0), ("Cleo", 2), ("李", 3)):
        (one,) = [face for face in found if face["label"] == name]
        left, upper, right, lower = one["box"]
        assert 250 * column < left < right < 250 * (column + 1)
        assert 0 < upper < lower < 250
    assert sum(face["label"] == "Bert" for face in found) == 2


def test_a_photograph_that_a_phone_turned(identify, people, tmp_path):
    exif = Image.Exif()
    exif[0x112] = 6
    Image.open(people[0]).rotate(90, expand=True).save(tmp_path / "turned.png", exif=exif)
    upright, turned = faces(identify(people[0], "--json"))[0], faces(identify(tmp_path / "turned.png", "--json"))[0]
    assert turned[0]["label"] == "Anna"
    assert np.abs(np.subtract(turned[0]["box"], upright[0]["box"])).max() <= 1


def test_a_face_at_the_border_keeps_its_box_inside(identify, people, tmp_path):
    Image.open(people[0]).crop((110, 0, 250, 250)).save(tmp_path / "half.png")
    ((face,),) = faces(identify(tmp_path / "half.png", "--json"))
    left, upper, right, lower = face["box"]
    assert 0 <= left < right <= 140
    assert 0 <= upper < lower <= 250


def test_one_pixel_has_no_face(identify, tmp_path, people):
    Image.new("RGB", (1, 1)).save(tmp_path / "one.png")
    ran = identify(tmp_path / "one.png", people[0])
    assert (ran.code, ran.out.splitlines()[0]) == (0, f"no face  {tmp_path / 'one.png'}")
    assert faces(identify(tmp_path / "one.png", "--json")) == [[]]


def test_what_cannot_be_read_has_its_row(identify, people, tmp_path):
    (tmp_path / "bad.jpg").write_text("no picture")
    ran = identify(tmp_path / "bad.jpg", people[0], "--json")
    bad, good = ran.json()["results"]
    assert ran.code == 3
    assert "is not an image" in bad["error"]
    assert ("faces" in bad, good["faces"][0]["label"]) == (False, "Anna")


def test_ready_crops_are_one_face_each(identify, facectl, face_model, people, grey, tmp_path, monkeypatch):
    monkeypatch.setattr(detect, "locate", None)
    file = tmp_path / "crops.gallery"
    facectl("faces", "enroll", file, "Anna", people[0], "--model", face_model, "--no-detect")
    ran = identify(people[0], grey, "--no-detect", "--json", gallery=file)
    (anna,), (other,) = faces(ran)
    assert (anna["label"], anna["box"], anna["score"]) == ("Anna", [0, 0, 250, 250], 1)
    assert (other["label"], other["box"]) == ("unknown", [0, 0, 200, 200])


def test_a_model_that_aligns_nothing_is_given_the_square_around_the_face(facectl, people, crowd, crop_model, tmp_path):
    file = tmp_path / "a.gallery"
    facectl("faces", "enroll", file, "Anna", people[7], "--model", crop_model)
    ran = facectl("faces", "identify", file, crowd, "--model", crop_model, "--threshold", 0.9, "--json")
    (one,) = [face for face in faces(ran)[0] if face["label"] == "Anna"]
    assert 250 < one["box"][0] < one["box"][2] < 500


# Forms


def test_faces_that_were_enrolled_otherwise_are_told(identify, people):
    assert "it has faces" not in identify(people[0]).err
    ran = identify(people[0], "--no-detect")
    assert "it has faces found by yunet 1, and these are taken as they are" in ran.err


def test_json_and_jsonl(identify, people, face_model):
    ran = identify(people[0], "--json")
    document = ran.json()
    assert {key: document[key] for key in ("model", "device", "device_requested")} == {
        "model": str(face_model), "device": "cpu", "device_requested": "auto"
    }  # fmt: skip
    assert document["gallery"].endswith("family.gallery")
    assert document["threshold"] == 0.95
    (row,) = document["results"]
    assert set(row) == {"source", "faces"}
    (face,) = row["faces"]
    assert set(face) == {"box", "score", "label", "similarity", "top"}
    assert face["top"] == [{"label": "Anna", "similarity": face["similarity"]}]
    assert 0.7 <= face["score"] <= 1
    (line,) = map(json.loads, identify(people[0], "--jsonl").out.splitlines())
    assert line == {**row, **{key: document[key] for key in COMMON}}


def test_csv_has_a_line_a_face_and_one_for_a_picture_without(identify, people, grey, tmp_path):
    pair = pasted(tmp_path / "pair.png", (500, 250), (people[0], 0, 0, 250), (people[2], 250, 0, 250))
    ran = identify(pair, grey, "missing.png", "--topk", 2, "--csv")
    assert ran.code == 3
    table = list(csv.DictReader(io.StringIO(ran.out)))
    assert list(table[0]) == [
        "source", "frame", "time", "at", "left", "upper", "right", "lower", "score", "label", "similarity", "label_2",
        "similarity_2", "age", "error", *COMMON,
    ]  # fmt: skip
    assert [row["source"] for row in table] == [str(pair), str(pair), str(grey), "missing.png"]
    assert {row["label"] for row in table[:2]} == {"Anna", "Cleo"}
    for row in table[:2]:
        assert float(row["similarity"]) >= float(row["similarity_2"])
        assert 0 < int(row["upper"]) < int(row["lower"]) < 250
    assert all(not table[2][key] for key in ("left", "score", "label", "similarity", "label_2", "error"))
    assert table[3]["error"].startswith("cannot be read")


# Galleries


def test_a_gallery_without_anybody(identify, facectl, people, face_model, tmp_path):
    file = tmp_path / "empty.gallery"
    facectl("faces", "enroll", file, "Anna", people[0], "--model", face_model)
    facectl("faces", "remove", file, "Anna")
    ran = identify(people[0], gallery=file)
    assert ran.code == 2
    assert ran.error() == f"{file}: nobody is enrolled; run facectl faces enroll {file} NAME IMAGE... first"


def test_what_is_not_there(identify, people, tmp_path):
    ran = identify(people[0], gallery=tmp_path / "missing.gallery")
    assert (ran.code, "no such gallery" in ran.error()) == (2, True)
    ran = identify(people[0], model=tmp_path / "missing.onnx")
    assert (ran.code, "no such model" in ran.error()) == (4, True)
    assert list(tmp_path.iterdir()) == []


def test_a_gallery_may_be_read_only(identify, gallery, people):
    before = gallery.read_bytes(), gallery.stat().st_mtime_ns
    gallery.chmod(0o400)
    assert labels(identify(people[0], "--json")) == [["Anna"]]
    assert (gallery.read_bytes(), gallery.stat().st_mtime_ns) == before
    assert [path.name for path in gallery.parent.iterdir()] == [gallery.name]


# Videos and streams


def film(people, sizes=(250, 250)):
    """Give twelve frames: Anna, nobody, then Cleo."""
    shown = [np.asarray(Image.open(people[number]).resize(sizes)) for number in (0, 2)]
    return [shown[0]] * 4 + [np.zeros_like(shown[0])] * 4 + [shown[1]] * 4


def test_a_video_is_answered_drawn_and_its_changes_told(identify, people, tmp_path):
    path = write_clip(tmp_path / "v.mp4", film(people), fps=10)
    ran = identify(path, "--json", "--on-change", "--draw", tmp_path / "out.mp4")
    assert ran.code == 0
    assert [(row["frame"], [face["label"] for face in row["faces"]]) for row in ran.json()["results"]] == [
        (0, ["Anna"]), (4, []), (8, ["Cleo"])
    ]  # fmt: skip
    assert ran.err.endswith(f"drawn: {tmp_path / 'out.mp4'}\n")
    assert len(identify(tmp_path / "out.mp4", "--csv", "-q").out.splitlines()) == 13
    table = identify(path).out.splitlines()
    assert table[4] == f"no face  {path}  0:00.400"
    assert "  0:00.000  " in table[0]


def test_a_stream(identify, people, tmp_path):
    with mjpeg(film(people), fps=10) as stream:
        ran = identify(stream.address, "--retries", 0, "--json", "--on-change", "--draw", tmp_path / "out.mp4")
    *rows, last = ran.json()["results"]
    assert ran.code == 3
    assert last["error"].startswith("is lost")
    assert [face["label"] for face in rows[0]["faces"]] == ["Anna"]
    assert all(row["age"] > 0 and row["at"].endswith("Z") for row in rows)
    assert ran.json()["streams"][0]["answered"] >= 3
    assert len(labels(identify(tmp_path / "out.mp4", "--json", "-q"))) >= 3


# Drawn and kept


def drawn_as(path, box):
    """Give the colour on the left edge of a box, the middle of it."""
    left, upper, _, lower = box
    return tuple(int(value) for value in np.asarray(Image.open(path).convert("RGB"))[(upper + lower) // 2, left + 1])


def test_boxes_are_drawn_where_the_faces_are(identify, people, tmp_path):
    picture = pasted(tmp_path / "pair.png", (500, 250), (people[0], 0, 0, 250), (people[6], 250, 0, 250))
    out = tmp_path / "out.png"
    ran = identify(picture, "--draw", out, "--json")
    found = {face["label"]: face["box"] for face in faces(ran)[0]}
    assert drawn_as(out, found["Anna"]) == BLUE
    assert drawn_as(out, found["unknown"]) == AMBER
    before, after = (np.asarray(Image.open(path).convert("RGB"), int) for path in (picture, out))
    left, upper, right, lower = found["Anna"]
    inside = np.s_[upper + 10 : lower - 10, left + 10 : right - 10]
    assert (before[inside] == after[inside]).all()  # a face is not written over
    assert (before[lower + 10 :] == after[lower + 10 :]).all()


def test_names_of_a_crowd_leave_its_faces_to_be_seen(identify, crowd, tmp_path):
    ran = identify(crowd, "--draw", tmp_path / "out.png", "--json")
    before, after = (np.asarray(Image.open(path).convert("RGB"), int) for path in (crowd, tmp_path / "out.png"))
    hidden = []
    for face in faces(ran)[0]:
        left, upper, right, lower = face["box"]
        inside = np.s_[upper + 8 : lower - 8, left + 8 : right - 8]
        hidden.append((before[inside] != after[inside]).any(axis=-1).mean())
    assert np.mean(hidden) < 0.05


def test_on_a_picture_without_a_face_that_is_written(identify, grey, tmp_path):
    identify(grey, "--draw", tmp_path / "out.png")
    changed = (np.asarray(Image.open(tmp_path / "out.png")) != np.asarray(Image.open(grey))).any(axis=-1)
    assert changed[-10:].any()
    assert not changed[:150].any()


def test_pictures_are_kept_under_everyone_who_is_in_them(identify, people, grey, tmp_path):
    pair = pasted(tmp_path / "pair.png", (500, 250), (people[0], 0, 0, 250), (people[6], 250, 0, 250))
    keep = tmp_path / "keep"
    assert identify(pair, grey, people[3], "--save", keep).code == 0
    assert sorted(str(path.relative_to(keep)) for path in keep.rglob("*.facectl.*")) == [
        "Anna/pair.facectl.png", "unknown/pair.facectl.png", f"李/{people[3].stem}.facectl.jpg"
    ]  # fmt: skip
    some = tmp_path / "some"
    assert identify(pair, people[3], "--save", some, "--save-label", "unknown").code == 0
    assert [path.name for path in some.iterdir()] == ["unknown"]
    ran = identify(pair, "--save", some, "--save-label", "Ana")
    assert (ran.code, "did you mean 'Anna'?" in ran.error()) == (2, True)


def test_a_shared_model_of_other_precision_reads_the_gallery(identify, people, make_embedder, tmp_path):
    other = make_embedder(tmp_path / "int8.onnx", precision="int8")
    assert labels(identify(people[0], "--json", model=other)) == [["Anna"]]
    stranger = make_embedder(tmp_path / "other.onnx", embedding_id="other/x")
    ran = identify(people[0], model=stranger)
    assert (ran.code, "belongs to the model 'faces/projected'" in ran.error()) == (2, True)
