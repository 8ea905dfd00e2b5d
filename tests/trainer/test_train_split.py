"""A split file from `facectl data split` to `facectl train --split`."""

import shutil

import msgspec
import pytest

from facectl_runtime.labelled import PARTS, Split, read_split

pytest.importorskip("tf_keras")


@pytest.fixture
def data(draw_classes, tmp_path):
    return draw_classes(tmp_path / "photos", {"red": 6, "blue": 6}, seed=500)


@pytest.fixture
def split(facectl, data, tmp_path):
    done = facectl("data", "split", data, "--to", tmp_path / "split.json", "--test", 2, "--val", 1, "--quiet")
    assert done.code == 0
    return tmp_path / "split.json"


@pytest.fixture
def train(facectl, tmp_path):
    """Give a function that trains from a split file into `tmp_path`/run."""

    def train(file, *more):
        words = ("--out", tmp_path / "run", "--epochs", 1, "--device", "cpu", "--quiet", "--json", "--no-report")
        return facectl("train", "shapes", "--split", file, *words, *more)

    return train


def pairs(path, part):
    return [(image.path, image.label) for image in read_split(path).parts[part]]


def test_a_run_keeps_to_its_split_file_and_says_what_changed_since(train, data, split, draw, facectl, tmp_path):
    changed = data / pairs(split, "train")[0][0]
    draw(changed, "red", 999)
    done = train(split)
    assert done.code == 0
    name = str(changed.relative_to(data))
    assert done.json()["images"] == {"train": 5, "val": 2, "test": 4}
    assert done.json()["left_out"] == {name: "changed since the split was made"}
    assert done.err.startswith(f"left out: 1: {name}: changed since the split was made")
    for part in PARTS:
        wanted = [pair for pair in pairs(split, part) if pair[0] != name]
        assert pairs(tmp_path / "run" / "split.json", part) == wanted
    assert facectl("data", "check", "--split", tmp_path / "run" / "split.json", "--quiet").code == 0


def test_photographs_that_were_moved_are_found_with_data(train, data, split, tmp_path):
    data.rename(tmp_path / "moved")
    gone = train(split)
    assert gone.code == 2
    assert f"{data}: the photographs of {split} are not there; give their new place with --data" in gone.error()
    done = train(split, "--data", tmp_path / "moved")
    assert done.code == 0
    assert done.json()["left_out"] == {}
    assert read_split(tmp_path / "run" / "split.json").root == str((tmp_path / "moved").resolve())
    assert pairs(tmp_path / "run" / "split.json", "test") == pairs(split, "test")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--top", 2), "--split says which photographs are used, and of which class; leave --top out"),
        (("--labels", "labels.csv"), "leave --labels out"),
        (("--fold", "1/5"), "leave --fold out"),
    ],
)
def test_an_option_that_the_split_decides_is_one_line(train, split, tmp_path, more, said):
    done = train(split, *more)
    assert done.code == 2
    assert said in done.error()
    assert not (tmp_path / "run").exists()


def test_a_split_file_that_cannot_be_used_is_one_line(train, data, split, tmp_path):
    whole = split.read_text()
    for text, said in (
        ("{", "not a split file"),
        (whole.replace('"val"', '"value"'), "not a split file"),
        (msgspec.json.encode(Split(str(data), {"train": []}, {})).decode(), "it has no train images"),
    ):
        split.write_text(text)
        done = train(split)
        assert done.code == 2
        assert said in done.error()
    split.write_text(whole)
    for path, _ in pairs(split, "val"):
        (data / path).unlink()
    done = train(split)
    assert done.code == 2
    assert "none of its images can be used" in done.error()
    shutil.rmtree(data / "red")
    done = train(split)
    assert done.code == 2
    assert "no readable images in the class red" in done.error()
    assert not (tmp_path / "run").exists()


def test_a_class_of_which_each_photograph_has_changed_is_named_with_the_reason(train, data, split, draw, tmp_path):
    for number, path in enumerate(sorted((data / "red").iterdir())):
        draw(path, "red", 900 + number)
    done = train(split)
    assert done.code == 2
    assert "no images are left in the class red: 6 left out, such as red/" in done.error()
    assert ": changed since the split was made; add others, or leave the class out" in done.error()
    assert not (tmp_path / "run").exists()
