"""Training through the command line: the run folder, its repeatability, and what cannot be trained on."""

import csv
import json
import os
import shutil
import signal
import threading

import msgspec
import numpy as np
import pytest

from facectl_runtime import spec as contract
from facectl_runtime.image import load
from facectl_runtime.labelled import PARTS, Split, class_folders, content_hash
from facectl_trainer.data.split import Fold, fingerprint
from facectl_trainer.data.split import split as split_images
from facectl_trainer.recipe import Recipe, load_recipe
from facectl_trainer.run import read_run

tf_keras = pytest.importorskip("tf_keras")

FILES = ["history.csv", "metrics.json", "model.keras", "recipe.json", "spec.json", "split.json"]
SLOW = """
backbone = "efficientnet_lite0"
resize = { kind = "squash" }
split = { test = 0.2, val = 0.15 }
head = { optimizer = "sgd", rate = 1e-9, batch = 1, epochs = 1000000, patience = 1000000 }
"""


@pytest.fixture(scope="module")
def split(trained):
    return msgspec.json.decode((trained.folder / "split.json").read_bytes(), type=Split)


@pytest.fixture(scope="module")
def metrics(trained):
    return json.loads((trained.folder / "metrics.json").read_text())


@pytest.fixture
def train(facectl, tmp_path):
    """Give a function that trains on a folder, into `tmp_path`/runs/new unless told otherwise."""

    def call(data, *more, out=None, recipe="zoo"):
        words = ["train", recipe, "--data", data, "--out", out or tmp_path / "runs" / "new"]
        return facectl(*words, "--epochs", 2, "--device", "cpu", "--quiet", "--json", *more)

    return call


@pytest.fixture
def refused(train, tmp_path):
    """Give a function that trains in vain, and gives the one line said."""

    def call(*arguments, **options):
        done = train(*arguments, **options)
        assert done.code == 2
        assert not list((tmp_path / "runs").glob("*"))
        return done.error()

    return call


def weights_of(folder):
    return [weight.tobytes() for weight in tf_keras.models.load_model(folder / "model.keras").get_weights()]


# The run folder


def test_the_run_folder_holds_what_it_should(trained):
    assert sorted(path.name for path in trained.folder.iterdir()) == FILES
    assert [path.name for path in trained.folder.parent.iterdir()] == [trained.folder.name]


def test_the_spec_is_valid_and_says_where_the_run_comes_from(trained, split, metrics):
    spec = contract.decode((trained.folder / "spec.json").read_bytes(), "spec.json")
    assert (spec.name, spec.task, spec.precision) == ("colours", "classify", "fp32")
    assert spec.labels == ("either", "green", "red")
    assert spec.input == contract.InputSpec(224, 224, contract.Squash())
    assert spec.output == contract.OutputSpec("probabilities", 3)
    assert spec.metrics.accuracy == metrics["test"]["accuracy"]
    assert spec.metrics.n == metrics["test"]["n"] == len(split.parts["test"])
    source = spec.provenance
    assert (source.recipe, source.seed, source.backbone) == ("zoo", 3, "efficientnet_lite0")
    images = class_folders(trained.data)
    assert source.data_fingerprint == fingerprint(images, {i.path: content_hash(trained.data / i.path) for i in images})
    assert source.packages["tensorflow"]


def test_the_recipe_is_kept_as_it_was_used(trained):
    kept = msgspec.json.decode((trained.folder / "recipe.json").read_bytes(), type=Recipe)
    given = load_recipe("zoo")[1]
    assert kept.head.epochs == 15
    assert msgspec.structs.replace(kept, head=msgspec.structs.replace(kept.head, epochs=given.head.epochs)) == given


def test_the_split_holds_every_photograph_once(trained, split):
    images = class_folders(trained.data)
    assert sorted(i.path for part in PARTS for i in split.parts[part]) == [i.path for i in images]
    assert split.hashes == {i.path: content_hash(trained.data / i.path) for i in images}
    assert split.root == str(trained.data)
    assert {part: len(split.parts[part]) for part in PARTS} == trained.report["images"]


def test_the_history_has_a_row_an_epoch(trained):
    with (trained.folder / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == list(range(1, trained.report["epochs"] + 1))
    assert {"loss", "val_loss", "accuracy", "val_accuracy"} < set(rows[0])


def test_the_model_gives_on_pixels_what_metrics_claim(trained, split, metrics):
    spec = contract.decode((trained.folder / "spec.json").read_bytes(), "spec.json")
    tests = split.parts["test"]
    pixels = np.stack([load(trained.data / item.path, spec.input) for item in tests])
    assert pixels.dtype == np.uint8
    model = tf_keras.models.load_model(trained.folder / "model.keras")
    assert model.input.dtype == "uint8"
    answers = model.predict_on_batch(pixels)
    np.testing.assert_allclose(answers.sum(axis=1), 1, atol=1e-5)
    table = np.zeros((3, 3), int)
    for item, answer in zip(tests, answers, strict=True):
        table[spec.labels.index(item.label), answer.argmax()] += 1
    assert table.tolist() == metrics["test"]["confusion"]
    assert metrics["test"]["accuracy"] == pytest.approx(np.trace(table) / len(tests))
    assert metrics["test"]["accuracy"] < 1  # else the class that nobody can tell would say nothing here
    low, high = metrics["test"]["interval"]
    assert low < metrics["test"]["accuracy"] < high


def test_the_temperature_is_folded_into_the_model(trained, split, metrics):
    spec = contract.decode((trained.folder / "spec.json").read_bytes(), "spec.json")
    val = split.parts["val"]
    answers = (
        read_run(trained.folder)
        .model()
        .predict_on_batch(np.stack([load(trained.data / item.path, spec.input) for item in val]))
    )
    said = [answer[spec.labels.index(item.label)] for item, answer in zip(val, answers, strict=True)]
    calibration = metrics["calibration"]
    assert calibration["n"] == len(val)
    assert -np.mean(np.log(said)) == pytest.approx(calibration["val_loss_after"], rel=1e-3)
    assert calibration["val_loss_after"] < calibration["val_loss_before"]


def test_the_report_is_the_run_s(trained, metrics):
    assert trained.report["run"] == str(trained.folder)
    assert trained.report["left_out"] == {}
    assert trained.report["test"] == metrics["test"]
    assert trained.report["calibration"] == metrics["calibration"]


# Repeatability


def assert_repeats(trained, facectl, folder):
    done = facectl(*trained.arguments, "--out", folder, "--quiet")
    assert done.code == 0
    assert weights_of(folder) == weights_of(trained.folder)
    for name in ("metrics.json", "history.csv", "split.json", "recipe.json"):
        assert (folder / name).read_bytes() == (trained.folder / name).read_bytes()
    return done


def test_the_same_seed_gives_the_same_run_bit_for_bit_from_kept_features(trained, facectl, tmp_path):
    assert assert_repeats(trained, facectl, tmp_path / "again").err == ""


def test_and_from_features_computed_anew_where_the_cache_is_damaged(trained, facectl, tmp_path, monkeypatch):
    monkeypatch.setenv("FACECTL_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "features.sqlite").write_bytes(b"no database" * 1000)
    done = assert_repeats(trained, facectl, tmp_path / "again")
    assert done.err.count("\n") == 1
    assert "going on without it" in done.err


def test_another_seed_gives_another_run(trained, train, tmp_path):
    assert train(trained.data, "--seed", 4).code == 0
    ours, theirs = (msgspec.json.decode((f / "split.json").read_bytes(), type=Split) for f in
                    (tmp_path / "runs" / "new", trained.folder))  # fmt: skip
    assert ours.parts != theirs.parts
    assert weights_of(tmp_path / "runs" / "new")[-1] != weights_of(trained.folder)[-1]


def test_a_fold_tests_on_its_share(trained, train, tmp_path):
    report = train(trained.data, "--fold", "2/3").json()
    assert report["images"]["test"] == 12
    kept = read_run(tmp_path / "runs" / "new").split
    plan = {"test": 0.2, "val": 0.15, "seed": 0, "fold": Fold(2, 3)}
    assert kept.parts == split_images(class_folders(trained.data), kept.hashes, **plan)


# Images that are left out


def test_images_that_cannot_be_used_are_left_out_and_listed(photographs, train, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(photographs, data)
    whole = (data / "red" / "00.png").read_bytes()
    reasons = {"red/00.png": "damaged", "red/empty.jpg": "0 bytes", "green/red.png": "two labels"}
    (data / "red" / "00.png").write_bytes(whole[: len(whole) // 2])
    (data / "red" / "empty.jpg").touch()
    shutil.copy(data / "red" / "01.png", data / "green" / "red.png")
    reasons["red/01.png"] = "two labels"
    (data / "red" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    reasons["red/gone.png"] = "link to nothing"
    os.mkfifo(data / "green" / "pipe.png")
    reasons["green/pipe.png"] = "not a file"
    (data / "green" / "notes.txt").write_text("no image, and never looked at")
    done = train(data)
    assert done.code == 0
    report = done.json()
    assert sorted(report["left_out"]) == sorted(reasons)
    assert all(words in report["left_out"][path] for path, words in reasons.items())
    kept = read_run(tmp_path / "runs" / "new").split
    used = {image.path for part in PARTS for image in kept.parts[part]}
    assert used == set(kept.hashes)
    assert len(used) == 36 - 2
    assert not used & set(reasons)


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_a_name_that_is_no_text_is_left_out_and_one_in_any_script_is_not(photographs, facectl, tmp_path, draw):
    data = tmp_path / "données ☃"
    shutil.copytree(photographs, data)
    (data / "red").rename(data / "красный")
    draw(data / "красный" / "été \N{RABBIT FACE}.png", "red", 777)
    try:
        (data / "green" / "00.png").rename(data / "green" / os.fsdecode(b"\xff.png"))
    except OSError:
        pytest.skip("this file system takes no such name")
    out = tmp_path / "runs" / "new"
    done = facectl("train", "zoo", "--data", data, "--out", out, "--epochs", 2, "--device", "cpu")
    assert done.code == 0
    assert "left out: green/\N{REPLACEMENT CHARACTER}.png: its name is not UTF-8; rename it\n" in done.out
    assert f"next: facectl export {out}" in done.out
    assert "device: cpu (asked for: cpu)" in done.err
    kept = read_run(out)
    assert kept.spec.labels == ("either", "green", "красный")
    assert "красный/été \N{RABBIT FACE}.png" in kept.split.hashes


# Folders that are split already


@pytest.fixture
def presplit(draw_classes, tmp_path):
    counts = {"train": 6, "val": 3, "test": 4}
    for seed, (part, count) in enumerate(counts.items()):
        draw_classes(tmp_path / "data" / part, {"red": count, "blue": count}, seed=1000 * seed)
    return tmp_path / "data"


def test_a_folder_that_is_split_is_taken_as_it_is(presplit, train, tmp_path):
    (presplit / "val" / "red" / "00.png").write_bytes(b"")
    done = train(presplit)
    assert done.code == 0
    assert done.json()["images"] == {"train": 12, "val": 5, "test": 8}
    assert list(done.json()["left_out"]) == ["val/red/00.png"]
    run = read_run(tmp_path / "runs" / "new")
    assert run.spec.labels == ("blue", "red")
    for part in PARTS:
        assert {image.path.split("/")[0] for image in run.split.parts[part]} == {part}
        assert all(image.label == image.path.split("/")[1] for image in run.split.parts[part])


def test_a_part_without_a_usable_image_is_named(presplit, refused):
    for path in (presplit / "val").rglob("*.png"):
        path.write_bytes(b"")
    message = refused(presplit)
    assert str(presplit / "val") in message


def test_a_class_that_is_only_tested_on_is_named(presplit, refused, draw_classes):
    draw_classes(presplit / "test", {"green": 3}, seed=5000)
    message = refused(presplit)
    assert str(presplit / "train") in message
    assert "green" in message


def test_folds_of_a_folder_that_is_split_are_refused(presplit, refused):
    assert "leave --fold out" in refused(presplit, "--fold", "1/3")


# What cannot be trained on


@pytest.fixture
def small(draw_classes, tmp_path):
    return draw_classes(tmp_path / "data", {"red": 4, "blue": 4})


def test_a_folder_that_is_not_there(refused, tmp_path):
    assert "no such folder" in refused(tmp_path / "none")


def test_a_file_in_the_folder_s_place(refused, tmp_path, draw):
    assert "no such folder" in refused(draw(tmp_path / "one.png", "red", 1))


def test_images_without_class_folders(refused, tmp_path, draw):
    draw(tmp_path / "data" / "one.png", "red", 1)
    assert "it holds no folders" in refused(tmp_path / "data")


def test_one_class_is_none(refused, small):
    shutil.rmtree(small / "red")
    assert "only one class, blue" in refused(small)


def test_an_empty_class_is_named(refused, small):
    (small / "mauve").mkdir()
    assert "no images in the class folder mauve" in refused(small)


def test_a_class_of_only_corrupt_images_is_named(refused, small):
    for path in (small / "red").iterdir():
        path.write_bytes(b"no picture")
    assert "no readable images in the class red" in refused(small)


def test_two_classes_of_the_same_pictures(refused, small):
    shutil.rmtree(small / "red")
    shutil.copytree(small / "blue", small / "red")
    assert "no readable images in the class blue, red" in refused(small)


def test_copies_do_not_count_as_images(refused, small):
    for number in (1, 2, 3):
        shutil.copy(small / "red" / "00.png", small / "red" / f"0{number}.png")
    assert "class red has 1 usable images that differ" in refused(small)


def test_a_label_that_no_model_can_carry_is_named_before_training(refused, small):
    (small / "red").rename(small / "red ")
    message = refused(small)
    assert "'red '" in message
    assert "rename the folder" in message


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--backbone", "efficientnet_lite"], "did you mean 'efficientnet_lite0'"),
        (["--fold", "4/3"], "use K/N"),
        (["--epochs", "0"], "--epochs"),
        (["--seed", "-1"], "--seed"),
        (["--seed", str(2**32)], "--seed"),
        (["--device", "gpu"], "use auto, cpu, cuda or cuda:N"),
        (["--bakcbone", "x"], "--backbone"),
    ],
)
def test_an_option_that_makes_no_sense(refused, small, more, words):
    assert words in refused(small, *more)


def test_a_gpu_that_is_not_there_is_never_replaced(train, small, tmp_path):
    done = train(small, "--device", "cuda:99")
    assert done.code == 6
    assert "--device cuda:99: TensorFlow sees" in done.error()
    assert not (tmp_path / "runs").exists()


# What stands at the destination


@pytest.fixture
def old(trained, tmp_path):
    shutil.copytree(trained.folder, tmp_path / "runs" / "old")
    return tmp_path / "runs" / "old"


def test_a_run_that_is_there_is_not_replaced_unasked(train, small, old, tree):
    before = tree(old.parent)
    done = train(small, out=old)
    assert done.code == 2
    assert "--force" in done.error()
    assert tree(old.parent) == before


def test_force_replaces_it(train, small, old):
    assert train(small, "--force", out=old).code == 0
    assert read_run(old).spec.labels == ("blue", "red")
    assert [path.name for path in old.parent.iterdir()] == ["old"]


def test_force_leaves_it_whole_when_training_fails(train, small, old, tree, monkeypatch):
    before = tree(old.parent)
    (small / "empty").mkdir()
    assert train(small, "--force", out=old).code == 2
    assert tree(old.parent) == before
    (small / "empty").rmdir()

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("facectl_trainer.run.encode", full_disk)
    done = train(small, "--force", out=old)
    assert done.code == 1
    assert "No space left" in done.error()
    assert tree(old.parent) == before
    assert [path.name for path in old.parent.iterdir()] == ["old"]


def test_force_replaces_nothing_but_a_run(train, small, tree):
    before = tree(small)
    done = train(small, "--force", out=small)
    assert done.code == 2
    assert "not a run folder" in done.error()
    assert tree(small) == before


@pytest.mark.parametrize("name", ["my run", "übung", "-run", "a" * 101])
def test_a_name_that_no_model_can_carry_is_refused_before_training(refused, small, tmp_path, name):
    message = refused(small, out=tmp_path / "runs" / name)
    assert name in message
    assert "give another --out" in message


def test_a_destination_that_cannot_be_written(train, small, tmp_path):
    (tmp_path / "file").write_text("")
    done = train(small, out=tmp_path / "file" / "run")
    assert done.code == 2
    assert "cannot be written" in done.error()


def test_without_out_the_run_is_named_for_its_recipe(small, facectl, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text(SLOW.replace("1000000", "2"))
    assert facectl("train", "mine.toml", "--data", small, "--device", "cpu", "--quiet").code == 0
    assert read_run(tmp_path / "runs" / "mine").spec.provenance.recipe == "mine"


# Interruption


def wait_for(stream, words):
    for line in stream:
        if words in line:
            return
    pytest.fail(f"the process ended before it said {words!r}")


def test_ctrl_c_leaves_nothing_half_written(trained, start, old, tree, tmp_path, monkeypatch):
    monkeypatch.setenv("FACECTL_HOME", str(trained.home))
    (tmp_path / "slow.toml").write_text(SLOW)
    before = tree(old.parent)
    process = start("train", tmp_path / "slow.toml", "--data", trained.data, "--out", old, "--force", "--device", "cpu")
    wait_for(process.stderr, "features by efficientnet_lite0: 36")
    threading.Event().wait(1)  # into the epochs
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "facectl: interrupted"
    assert "Traceback" not in err
    assert out == ""
    assert tree(old.parent) == before
    assert [path.name for path in old.parent.iterdir()] == ["old"]


def test_a_copy_in_another_part_of_a_split_folder_is_left_out_of_the_earlier(presplit, train):
    copied = next((presplit / "test" / "red").iterdir())
    (presplit / "train" / "red" / "copy.png").write_bytes(copied.read_bytes())
    done = train(presplit)
    assert done.code == 0
    assert done.json()["left_out"] == {"train/red/copy.png": "the same picture stands in test"}
