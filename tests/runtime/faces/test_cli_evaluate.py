"""`facectl evaluate` of a model that embeds: on people, on pairs and on triplets."""

import shutil

import msgspec
import numpy as np
import onnx
import pytest
from PIL import Image

from facectl_runtime.faces.evaluate import EmbeddingEvaluation
from facectl_runtime.labelled import Image as Labelled
from facectl_runtime.labelled import Split, content_hash
from facectl_runtime.verification import Verification

ABOUT = {"model", "engine", "device", "device_requested"}


@pytest.fixture
def evaluate(facectl, face_model):
    return lambda *words, model=face_model: facectl("evaluate", model, *words)


@pytest.fixture(scope="session")
def twice(people, tmp_path_factory):
    """Make a folder with six people, each with one photograph written twice: what can be told apart wholly."""
    folder = tmp_path_factory.mktemp("twice") / "people"
    for number, path in enumerate(people[:6]):
        (folder / f"p{number}").mkdir(parents=True)
        shutil.copy(path, folder / f"p{number}" / f"p{number}_0001.jpg")
        Image.open(path).save(folder / f"p{number}" / f"p{number}_0002.jpg", quality=95)
    return folder


@pytest.fixture
def pairs(tmp_path):
    """List a pair of one person and one of two of each fold, in the form of LFW's."""
    lines = ["3\t1"]
    for fold in range(3):
        lines += [f"p{fold}\t1\t2", f"p{fold}\t1\tp{fold + 3}\t1"]
    (tmp_path / "pairs.txt").write_text("\n".join(lines) + "\n")
    return tmp_path / "pairs.txt"


@pytest.fixture
def triplets(tmp_path):
    rows = [f"p{n}/p{n}_0001.jpg,p{n}/p{n}_0002.jpg,p{(n + 1) % 6}/p{(n + 1) % 6}_0001.jpg" for n in range(6)]
    (tmp_path / "triplets.csv").write_text("Anchor,Positive,Negative\n" + "\n".join(rows) + "\n")
    return tmp_path / "triplets.csv"


def spoilt(folder, tmp_path, *photographs):
    data = shutil.copytree(folder, tmp_path / "spoilt")
    for pattern in photographs:
        for path in data.glob(pattern):
            path.write_text(f"no picture {path.name}")
    return data


# On people


def test_people(evaluate, twice):
    ran = evaluate("--data", twice)
    assert ran.code == 0
    first, second = ran.out.splitlines()
    assert first == "AUC 1.0000, EER 0.00%; 6 pairs of one person, 60 of two"
    assert second == "12 photographs of 6 people"
    assert f"all images of {twice}; onnxruntime " in ran.err


def test_json_holds_what_is_promised(evaluate, twice, face_model):
    found = evaluate("--data", twice, "--json", "--quiet").json()
    assert set(found) == {*ABOUT, *EmbeddingEvaluation.__struct_fields__}
    assert (found["model"], found["device"], found["device_requested"]) == (str(face_model), "cpu", "auto")
    assert set(found["verification"]) == set(Verification.__struct_fields__)
    assert {key: found["verification"][key] for key in ("accuracy", "auc", "same", "different", "tar_at_far_1e2")} == {
        "accuracy": None, "auc": 1.0, "same": 6, "different": 60, "tar_at_far_1e2": None
    }  # fmt: skip
    assert (found["photographs"], found["people"], found["unreadable"], found["margin"]) == (12, 6, {}, None)


def test_photographs_that_cannot_be_used_are_left_out(evaluate, twice, tmp_path):
    data = spoilt(twice, tmp_path, "p0/*_0001.jpg")
    ran = evaluate("--data", data, "--json")
    assert ran.code == 3
    assert list(ran.json()["unreadable"]) == ["p0/p0_0001.jpg"]
    assert ran.json()["verification"]["same"] == 5
    text = evaluate("--data", data)
    assert (text.code, text.out.splitlines()[-1].startswith("left out: 1: p0/p0_0001.jpg: ")) == (3, True)


def test_copies_count_once_and_a_picture_of_two_people_not_at_all(evaluate, twice, tmp_path):
    data = shutil.copytree(twice, tmp_path / "data")
    shutil.copy(data / "p0" / "p0_0001.jpg", data / "p0" / "copy.jpg")
    shutil.copy(data / "p1" / "p1_0001.jpg", data / "p2" / "p1.jpg")
    ran = evaluate("--data", data, "--json")
    assert ran.code == 3
    assert ran.json()["unreadable"] == {
        "p0/p0_0001.jpg": "a copy of another one, which counts once",
        "p1/p1_0001.jpg": "the same picture stands under two labels",
        "p2/p1.jpg": "the same picture stands under two labels",
    }
    assert (ran.json()["photographs"], ran.json()["verification"]["same"]) == (11, 5)


def test_what_cannot_be_measured_is_one_line(evaluate, twice, tmp_path):
    for keep, said in (("*_0001.jpg", "are of one person"), ("p0/*", "are of different people")):
        data = tmp_path / said.replace(" ", "_")
        for path in twice.glob(f"{keep}" if "/" in keep else f"*/{keep}"):
            (data / path.parent.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, data / path.parent.name)
        ran = evaluate("--data", data, "-q")
        assert ran.code == 2
        assert said in ran.error()
    ran = evaluate("--data", spoilt(twice, tmp_path, "*/*"), "-q")
    assert (ran.code, "none of its 12 photographs can be used (is not an image" in ran.error()) == (2, True)


# On pairs


def test_pairs(evaluate, twice, pairs):
    ran = evaluate("--data", twice, "--pairs", pairs)
    assert ran.code == 0
    first, second = ran.out.splitlines()
    assert first == "accuracy 100.00% ± 0.00%, AUC 1.0000, EER 0.00%; 3 pairs of one person, 3 of two"
    assert second == "9 photographs"
    found = evaluate("--data", twice, "--pairs", pairs, "--json").json()
    assert (found["photographs"], found["people"], found["verification"]["accuracy"]) == (9, None, 1.0)
    assert (found["verification"]["same"], found["verification"]["different"]) == (3, 3)


def test_pairs_whose_photographs_cannot_be_used_are_left_out(evaluate, twice, pairs, tmp_path):
    data = spoilt(twice, tmp_path, "p0/*_0002.jpg")
    ran = evaluate("--data", data, "--pairs", pairs, "--json")
    assert ran.code == 3
    assert (ran.json()["verification"]["same"], ran.json()["verification"]["different"]) == (2, 3)


@pytest.mark.parametrize("pattern", ["*/*_0001.jpg", "*/*_0002.jpg"])
def test_where_no_pair_is_left_it_is_one_line(evaluate, twice, pairs, triplets, tmp_path, pattern):
    data = spoilt(twice, tmp_path, pattern)
    ran = evaluate("--data", data, "--pairs", pairs, "-q")
    assert ran.code == 2
    count = "6" if "1" in pattern else "3"
    assert ran.error().startswith(f"{data}: {count} of 9 photographs cannot be used (is not an image")
    assert "those left do not make a pair of one person and one of two; " in ran.error()
    ran = evaluate("--data", data, "--triplets", triplets, "-q")
    assert (ran.code, "those left do not make a triplet; " in ran.error()) == (2, True)


# On triplets


def test_triplets(evaluate, twice, triplets):
    ran = evaluate("--data", twice, "--triplets", triplets)
    assert ran.code == 0
    first, second, third = ran.out.splitlines()
    assert first.startswith("accuracy ")
    assert "±" not in first  # folds of triplets share people
    assert first.endswith("; 6 pairs of one person, 6 of two")
    assert second == "triplet loss 0.0000 at margin 0.2; the positive is the nearer in 100.0%"
    assert third == "12 photographs"


def test_the_loss_is_that_of_the_paper(evaluate, twice, triplets, facectl, face_model):
    found = evaluate("--data", twice, "--triplets", triplets, "--margin", 1.5, "--json").json()

    def distance(one, other):
        words = ["faces", "compare", twice / one, twice / other, "--model", face_model, "--json"]
        return 2 - 2 * facectl(*words).json()["similarity"]

    losses = []
    for n, other in zip(range(6), [*range(1, 6), 0], strict=True):
        anchor = f"p{n}/p{n}_0001.jpg"
        near, far = (distance(anchor, path) for path in (f"p{n}/p{n}_0002.jpg", f"p{other}/p{other}_0001.jpg"))
        losses.append(max(0, near - far + 1.5))
    assert found["triplet_loss"] == pytest.approx(np.mean(losses), abs=1e-4)
    assert (found["margin"], found["in_order"]) == (1.5, 1.0)


def test_of_photographs_it_was_trained_on_the_advice_can_be_taken(evaluate, twice, triplets, face_model, tmp_path):
    (tmp_path / "run" / "export").mkdir(parents=True)
    model = shutil.copy(face_model, tmp_path / "run" / "export")
    met = [Labelled(str(path.relative_to(twice)), path.parent.name) for path in sorted(twice.glob("*/*"))]
    hashes = {image.path: content_hash(twice / image.path) for image in met}
    split = Split(str(twice), {"train": met, "val": [], "test": met}, hashes)
    (tmp_path / "run" / "split.json").write_bytes(msgspec.json.encode(split))
    (tmp_path / "run" / "history.csv").write_text("epoch\n1\n")
    said = f"facectl: {model}: 12 of 12 images are of its own train and val parts, and flatter it; "
    ran = evaluate("--data", twice, "--triplets", triplets, model=model)
    assert f"{said}list its test part (facectl data triplets --split RUN/split.json), or other" in ran.err
    ran = evaluate("--data", twice, model=model)
    assert f"{said}take its test part (--split RUN/split.json), or other photographs" in ran.err
    assert ran.err.count("reading photographs") == 1
    assert evaluate("--split", tmp_path / "run" / "split.json", model=model).code == 0


# What is typed wrong


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--pairs", "{pairs}", "--triplets", "{triplets}"], "--pairs and --triplets exclude one another; give one"),
        (["--pairs", "missing.txt"], "missing.txt: cannot be read (No such file or directory)"),
        (["--triplets", "missing.csv"], "missing.csv: cannot be read (No such file or directory)"),
        (["--pairs", "{triplets}"], "does not say how many pairs there are"),
        (["--triplets", "{pairs}"], "no single column Anchor"),
        (["--triplets", "{triplets}", "--margin", "nan"], "--margin nan is no margin; give 0 or more, such as 0.2"),
        (["--margin", 0.3], "--margin is of the loss of --triplets; give that too, or leave it out"),
        (["--triplets", "{triplets}", "--margin", "-1"], "--margin -1 is no margin"),
        (["--triplets", "{triplets}", "--margin", "inf"], "--margin inf is no margin"),
    ],
)
def test_what_is_typed_wrong_is_one_line(evaluate, twice, pairs, triplets, words, said):
    ran = evaluate("--data", twice, *(str(word).format(pairs=pairs, triplets=triplets) for word in words))
    assert ran.code == 2
    assert said in ran.error()


def test_photographs_that_are_not_there(evaluate, pairs, triplets, tmp_path):
    for option, file in (("--pairs", pairs), ("--triplets", triplets)):
        ran = evaluate(option, file)
        assert (ran.code, ran.error()) == (2, f"{file}: give --data, the folder that its paths begin in")
        ran = evaluate(option, file, "--data", tmp_path)
        assert (ran.code, f" images are not below {tmp_path}: p0/p0_0001.jpg" in ran.error()) == (2, True)
    ran = evaluate()
    assert (ran.code, "--data" in ran.error()) == (2, True)


def test_pairs_are_not_of_a_classifier(facectl, model, pairs, triplets, classes):
    for option, file in (("--pairs", pairs), ("--triplets", triplets)):
        ran = facectl("evaluate", model, "--data", classes, option, file)
        assert ran.code == 2
        assert ran.error() == f"{option} is of an embedding, and {model} is a classifier; leave it out"


def test_embeddings_that_are_no_numbers_are_left_out(evaluate, twice, pairs, face_model, tmp_path, colours):
    graph = onnx.load(face_model)
    graph.graph.node[-1].op_type = "Log"  # of what is partly below 0
    del graph.graph.node[-1].attribute[:]
    broken = colours.save(tmp_path / "broken.onnx", None, graph)
    for words in ([], ["--pairs", pairs]):
        ran = evaluate("--data", twice, *words, "-q", model=broken)
        assert ran.code == 2
        assert "photographs can be used (the model's answer to it is no number; verify the model" in ran.error()
