"""`facectl faces calibrate`: a threshold is found, kept in the model's spec, and honoured by what answers."""

import os
import shutil
import signal

import msgspec
import numpy as np
import pytest
from PIL import Image

from facectl_runtime import evaluate
from facectl_runtime.engines import format_of
from facectl_runtime.faces.detect import FOUND_BY
from facectl_runtime.labelled import Image as Image_
from facectl_runtime.labelled import Split, content_hash
from facectl_runtime.threshold import sign
from facectl_runtime.threshold.calibrated import Calibrated
from helpers import call

EASY = ("--far", 0.1, "--folds", 3)


def spec_of(model):
    return format_of(model).read_spec(model)


@pytest.fixture
def embedder(tmp_path, make_embedder):
    (tmp_path / "m").mkdir()
    return make_embedder(tmp_path / "m" / "faces.onnx", threshold=None)


@pytest.fixture
def calibrate(facectl):
    return lambda *words: facectl("faces", "calibrate", *words)


@pytest.fixture
def classifier(tmp_path, colours, golden):
    (tmp_path / "c").mkdir()
    return colours.save(tmp_path / "c" / "colours.onnx", colours.spec(golden=golden))


def flat(path, *levels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 10), tuple(int(level) for level in levels)).save(path)


@pytest.fixture
def known(tmp_path):
    """Paint six images of each of the classifier's colours."""
    for channel, colour in enumerate(("red", "green", "blue")):
        for number in range(6):
            levels = [40, 40, 40]
            levels[channel] = 240 - 10 * number
            flat(tmp_path / "known" / colour / f"{number}.png", *levels)
    return tmp_path / "known"


@pytest.fixture
def unknown(tmp_path):
    """Paint ten nearly grey images in each of four folders."""
    random = np.random.default_rng(0)
    for group in range(4):
        for number in range(10):
            flat(tmp_path / "unknown" / f"g{group}" / f"{number}.png", *random.integers(100, 150, 3))
    return tmp_path / "unknown"


@pytest.fixture
def never_answered(monkeypatch):
    """Let it be a failure if any picture is answered."""

    def fail(*_, **__):
        pytest.fail("a picture was answered")

    monkeypatch.setattr(evaluate, "answers", fail)


# Faces


def test_it_is_found_said_and_kept(calibrate, embedder, several):
    ran = calibrate(embedder, "--data", several, *EASY)
    assert ran.code == 0
    kept = spec_of(embedder).threshold
    said = f"{embedder}: threshold {kept.value:.4f} of cosine; asked for FAR 0.1; measured in 3 folds: FAR "
    assert ran.out.startswith(said)
    assert ran.out.count("\n") == 1
    hint = f"next: facectl faces enroll GALLERY NAME IMAGE... --model {embedder}"
    assert ran.err.endswith(f"kept in the spec of {embedder}; {hint}\n")
    assert (kept.score, kept.false_accept_count, kept.false_reject_count) == ("cosine", 264, 12)
    assert kept.found_by == FOUND_BY


def test_json_and_dry_run(calibrate, embedder, several):
    before = embedder.read_bytes()
    ran = calibrate(embedder, "--data", several, *EASY, "--dry-run", "--json", "--quiet")
    (found,) = ran.json()["results"]
    assert (ran.code, ran.json()["left_out"]) == (0, {})
    assert found["frr"] > 0.3
    assert ran.err.count("\n") == 1
    assert "of one person's photographs will be unknown" in ran.err
    assert set(found) == {"model", *Calibrated.__struct_fields__}
    assert (found["model"], found["far_asked"], found["folds"], found["groups"]) == (str(embedder), 0.1, 3, 12)
    assert embedder.read_bytes() == before
    assert list(embedder.parent.iterdir()) == [embedder]
    assert calibrate(embedder, "--data", several, *EASY, "--json").json()["results"] == [found]
    assert spec_of(embedder).threshold.value == found["value"]


def test_what_answers_honours_it(calibrate, facectl, embedder, several, tmp_path):
    calibrate(embedder, "--data", several, *EASY, "-q")
    photographs = sorted(several.iterdir())[0]
    facectl("faces", "enroll", tmp_path / "a.gallery", "Anna", photographs, "--model", embedder)
    value = spec_of(embedder).threshold.value
    ran = facectl("faces", "identify", tmp_path / "a.gallery", several, "--model", embedder, "--json")
    faces = [face for row in ran.json()["results"] for face in row.get("faces", [])]
    assert {face["label"] for face in faces} == {"Anna", "unknown"}
    for face in faces:
        assert (face["label"] == "Anna") == (face["similarity"] >= round(value, 6)), face


def test_a_photograph_without_a_face_is_left_out_and_said(calibrate, embedder, several, tmp_path, grey):
    data = shutil.copytree(several, tmp_path / "data")
    person = sorted(data.iterdir())[0].name
    shutil.copy(grey, data / person / "grey.png")
    ran = calibrate(embedder, "--data", data, *EASY, "--json")
    assert ran.code == 3
    assert list(ran.json()["left_out"]) == [f"{data}/{person}/grey.png"]
    assert f"left out: 1: {data}/{person}/grey.png: no face was found in it"[:100] in ran.err
    assert spec_of(embedder).threshold is not None
    assert calibrate(embedder, "--data", data, *EASY, "--no-detect").code == 0


def test_where_those_left_are_too_few_it_is_said_how_many_have_no_face(calibrate, embedder, several, tmp_path):
    data = shutil.copytree(several, tmp_path / "data")
    for number, person in enumerate(data.iterdir()):
        flat(sorted(person.iterdir())[0], 100 + number, 100, 100)
    ran = calibrate(embedder, "--data", data, *EASY, "--quiet")
    assert ran.code == 2
    assert "none of the 12 people has two photographs" in ran.error()
    assert "12 were left out (" in ran.error()
    assert ran.error().count("no face was found in it") == 1
    assert spec_of(embedder).threshold is None


def test_copies_are_no_evidence_and_a_picture_of_two_people_is_nobody_s(calibrate, embedder, several, tmp_path):
    data = shutil.copytree(several, tmp_path / "data")
    (once,) = calibrate(embedder, "--data", data, *EASY, "--json", "--dry-run").json()["results"]
    first, second, *_ = sorted(data.iterdir())
    for person in data.iterdir():
        photograph = sorted(person.iterdir())[0]
        shutil.copy(photograph, person / "z.jpg")
    ran = calibrate(embedder, "--data", data, *EASY, "--json", "--dry-run")
    assert (ran.code, len(ran.json()["left_out"])) == (3, 12)
    assert ran.json()["results"] == [once]
    shutil.copy(first / "z.jpg", second / "zz.jpg")
    left_out = calibrate(embedder, "--data", data, *EASY, "--json", "--dry-run").json()["left_out"]
    assert list(left_out.values()).count("the same picture stands under two labels") == 3
    assert left_out[str(second / "zz.jpg")] == "the same picture stands under two labels"


def test_a_file_that_left_its_run_is_said_to_be_unknown(calibrate, embedder, several):
    said = f"facectl: {embedder}: it does not lie in its run, which would say what it was trained on"
    assert said in calibrate(embedder, "--data", several, *EASY, "--dry-run").err


def test_the_val_part_is_taken_where_there_are_parts(calibrate, embedder, several, tmp_path):
    for part in ("train", "val", "test"):
        shutil.copytree(several, tmp_path / "parts" / part)
    for person in sorted((tmp_path / "parts" / "test").iterdir())[2:]:
        shutil.rmtree(person)
    words = [embedder, "--data", tmp_path / "parts", *EASY, "--json", "--dry-run"]
    assert calibrate(*words).json()["results"][0]["groups"] == 12
    ran = calibrate(*words, "--part", "test")
    assert (ran.code, "2 people cannot be parted into 3 folds" in ran.error()) == (2, True)


# What is refused before any photograph is looked at


@pytest.mark.usefixtures("never_answered")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--far", 0.1, "--folds", 20], "12 people cannot be parted into 20 folds; ask for 12 folds, or add people"),
        (
            ["--folds", 3],
            "a false-accept rate of 0.001 needs at least 3,000 pairs of different people, and",
        ),
        (["--far", 0], "--far 0 is no rate; give one above 0 and below 1, such as 0.001"),
        (["--far", "nan"], "--far nan is no rate"),
        (["--far", "much"], "'much' is not a valid float"),
        (["--far", 1], "--far 1 is no rate"),
        (["--folds", 1], "'--folds': 1 is not in the range"),
        ([*EASY, "--unknown", "."], "--unknown is of a classifier; of faces, the other people in --data"),
        ([*EASY, "--score", "margin"], "--score is of a classifier; of faces, it is the cosine; leave it out"),
        ([*EASY, "--part", "val"], "is not split; give --split, or leave --part out"),
    ],
)
def test_what_cannot_be_measured_is_refused_at_once(calibrate, embedder, several, words, said):
    before = embedder.read_bytes()
    ran = calibrate(embedder, "--data", several, *words)
    assert ran.code == 2
    assert said in ran.error()
    assert embedder.read_bytes() == before


@pytest.mark.usefixtures("never_answered")
def test_of_several_models_each_is_looked_at_first(calibrate, embedder, several, tmp_path):
    ran = calibrate(embedder, tmp_path / "missing.onnx", "--data", several, *EASY)
    assert (ran.code, "missing.onnx: no such model" in ran.error()) == (4, True)
    ran = calibrate(embedder)
    assert (ran.code, "give --data" in ran.error()) == (2, True)


# Classifiers


@pytest.mark.parametrize("score", ["max_probability", "margin", "negative_entropy"])
def test_a_classifier_with_images_of_other_things(calibrate, facectl, classifier, known, unknown, score):
    ran = calibrate(classifier, "--data", known, "--unknown", unknown, *EASY, "--score", score, "--json")
    assert ran.code == 0
    (found,) = ran.json()["results"]
    assert (found["score"], found["far_count"], found["frr_count"], found["groups"]) == (score, 40, 18, 4)
    assert found["scores"] == {score: {"auroc": 1.0, "fpr_at_95_tpr": 0.0}}
    rows = facectl("predict", classifier, known, unknown, "--json").json()["results"]
    answered = [row["label"] for row in rows]
    assert "unknown" not in answered[:18]
    assert answered[18:].count("unknown") >= 36  # one in ten is let in at most
    assert answered[18:].count("unknown") < 40  # and the rate is used
    assert facectl("verify", classifier).code == 0
    assert score in facectl("inspect", classifier).out


def test_the_score_that_tells_best_is_chosen(calibrate, classifier, known, unknown):
    (found,) = calibrate(classifier, "--data", known, "--unknown", unknown, *EASY, "--json").json()["results"]
    assert set(found["scores"]) == {"max_probability", "margin", "negative_entropy"}
    assert found["score"] == "max_probability"  # all are perfect, and it is the plainest
    line = calibrate(classifier, "--data", known, "--unknown", unknown, *EASY, "-q").out
    assert "on 40 unknown images, FRR 0 [" in line
    assert line.endswith("on 18 known images answered right\n")
    few = "the interval of the false-accept rate is of 4 groups of unknown images, and too narrow; take 10 or more"
    assert few in calibrate(classifier, "--data", known, "--unknown", unknown, *EASY, "-q").err


def test_what_is_known_and_unknown_is_left_out_of_both(calibrate, classifier, known, unknown):
    shutil.copy(known / "red" / "0.png", unknown / "g0" / "red.png")
    ran = calibrate(classifier, "--data", known, "--unknown", unknown, *EASY, "--json")
    assert ran.code == 3
    assert set(ran.json()["left_out"]) == {str(known / "red" / "0.png"), str(unknown / "g0" / "red.png")}
    (found,) = ran.json()["results"]
    assert (found["frr_count"], found["far_count"]) == (17, 40)
    ran = calibrate(classifier, "--data", known, "--unknown", known, "--far", 0.3, "-q")
    assert (ran.code, "none of its 18 images counts; 18 were left out (" in ran.error()) == (2, True)


def test_other_things_that_it_was_trained_on_are_refused(calibrate, colours, golden, known, unknown, tmp_path):
    (tmp_path / "run" / "export").mkdir(parents=True)
    model = colours.save(tmp_path / "run" / "export" / "colours.onnx", colours.spec(golden=golden))
    met = [Image_(str(path.relative_to(unknown)), path.parent.name) for path in unknown.rglob("*.png")]
    hashes = {image.path: content_hash(unknown / image.path) for image in met}
    split = Split(str(unknown), {"train": met, "val": [], "test": []}, hashes)
    (tmp_path / "run" / "split.json").write_bytes(msgspec.json.encode(split))
    (tmp_path / "run" / "history.csv").write_text("epoch\n1\n")
    ran = calibrate(model, "--data", known, "--unknown", unknown, *EASY, "-q")
    said = f"all images of {unknown}: 40 of 40 images are of its own train part, and flatter it"
    assert (ran.code, said in ran.error()) == (2, True)


def test_images_of_classes_that_it_has_not_are_counted_beside_other_things(calibrate, classifier, known, unknown):
    flat(known / "purple" / "0.png", 120, 0, 120)
    ran = calibrate(classifier, "--data", known, "--unknown", unknown, *EASY, "--dry-run")
    assert f"all images of {known} but 1 image of classes that it has not\n" in ran.err


def test_a_classifier_with_classes_that_it_has_not(calibrate, classifier, known, unknown):
    for group in unknown.iterdir():
        group.rename(known / f"other {group.name}")
    (found,) = calibrate(classifier, "--data", known, *EASY, "--json").json()["results"]
    assert (found["far_count"], found["frr_count"], found["groups"]) == (40, 18, 4)


def test_groups_of_unknown_images_may_be_links(calibrate, classifier, known, unknown, tmp_path):
    (tmp_path / "links").mkdir()
    for group in unknown.iterdir():
        (tmp_path / "links" / group.name).symlink_to(group)
    words = ["--data", known, *EASY, "--json", "--unknown"]
    one, other = (calibrate(classifier, *words, where).json()["results"][0] for where in (unknown, tmp_path / "links"))
    assert (one["far_count"], one["groups"], one["value"]) == (other["far_count"], other["groups"], other["value"])


def test_there_are_no_more_folds_than_groups_unless_they_are_asked_for(calibrate, classifier, known, unknown):
    words = [classifier, "--data", known, "--unknown", unknown, "--far", 0.2, "--json"]
    assert calibrate(*words).json()["results"][0]["folds"] == 4


@pytest.mark.usefixtures("never_answered")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--far", 0.1, "--folds", 10], "4 groups of unknown images cannot be parted into 10 folds"),
        (["--folds", 3], "a false-accept rate of 0.01 needs at least 300 unknown images, and there are 40"),
        (
            [*EASY, "--score", "margn"],
            "--score 'margn' is not known; did you mean 'margin'?; use auto, max_probability",
        ),
        ([*EASY, "--no-detect"], "--no-detect is of faces, and "),
    ],
)
def test_what_cannot_be_measured_of_a_classifier_is_refused_at_once(calibrate, classifier, known, unknown, words, said):
    ran = calibrate(classifier, "--data", known, "--unknown", unknown, *words)
    assert ran.code == 2
    assert said in ran.error()


@pytest.mark.usefixtures("never_answered")
def test_images_that_do_not_fit_the_classifier(calibrate, classifier, known, unknown, tmp_path):
    ran = calibrate(classifier, "--data", known, *EASY)
    assert "all are of the model's classes; give images of other things with --unknown DIR" in ran.error()
    ran = calibrate(classifier, "--data", unknown, *EASY)
    assert "none of its images are of the model's classes" in ran.error()
    assert "it has red, green, blue" in ran.error()
    (tmp_path / "empty").mkdir()
    for folder, said in (("missing", "no such folder"), ("empty", "no images in it")):
        ran = calibrate(classifier, "--data", known, "--unknown", tmp_path / folder, *EASY)
        assert ran.code == 2
        assert f"--unknown {tmp_path / folder}: {said}; give " in ran.error()


# What is kept


@pytest.mark.usefixtures("never_answered")
def test_a_format_that_takes_no_spec_is_refused_at_once(calibrate, classifier, known, unknown, monkeypatch):
    monkeypatch.setattr(sign, "format_of", lambda _: msgspec.structs.replace(format_of(classifier), sign=None))
    ran = calibrate(classifier, "--data", known, "--unknown", unknown, *EASY)
    assert (ran.code, "a threshold cannot be put into such a model" in ran.error()) == (4, True)


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_what_was_measured_is_said_where_it_cannot_be_kept(classifier, known, unknown, monkeypatch, calibrate):
    def full(*_):
        raise OSError(28, "No space left on device", str(classifier))

    before = classifier.read_bytes()
    monkeypatch.setattr(sign, "alone_in", full)
    for words in ((), ("--json",)):
        ran = calibrate(classifier, "--data", known, "--unknown", unknown, *EASY, *words)
        assert ran.code == 1
        assert ran.err.endswith(f"facectl: {classifier}: No space left on device\n")
        assert "max_probability" in ran.out
        assert not words or len(ran.json()["results"]) == 1
    assert classifier.read_bytes() == before


KILLED = """
import os, signal
from pathlib import Path
from facectl_runtime import onnx_metadata
replace, encode = Path.replace, onnx_metadata.encode
def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize(
    ("moment", "signed"), [("onnx_metadata.encode = kill", False), ("Path.replace = kill", False),
                           ("Path.replace = lambda a, b: (replace(a, b), kill())", True)],
    ids=["while it is written", "before it is renamed", "after that"],
)  # fmt: skip
def test_a_process_that_is_killed_leaves_the_file_as_it_was_or_whole(start, classifier, known, unknown, moment, signed):
    before = classifier.read_bytes()
    words = [classifier, "--data", known, "--unknown", unknown, *EASY]
    process = start("faces", "calibrate", *words, prepare=f"{KILLED}{moment}\n")
    _, err = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, err
    assert (classifier.read_bytes() != before) == signed
    assert (spec_of(classifier).threshold is not None) == signed
    assert call("verify", classifier).code == 0
    assert call("faces", "calibrate", *words, "-q").code == 0  # and nothing is in the way
    assert spec_of(classifier).threshold is not None


def test_a_word_of_each_in_help():
    said = call("faces", "calibrate", "--help").out
    assert all(word in said for word in ("--far", "--unknown", "--score", "--folds", "--dry-run", "--no-detect"))
