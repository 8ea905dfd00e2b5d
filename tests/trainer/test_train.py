"""Training through the command line: the run folder, its repeatability, and what cannot be trained on."""

import csv
import json
import os
import shutil
from functools import cache

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

FILES = [
    "history.csv",
    "metrics.json",
    "model.keras",
    "predictions.csv",
    "recipe.json",
    "spec.json",
    "split.json",
    "tensorboard",
]


@pytest.fixture(scope="module")
def split(trained):
    return msgspec.json.decode((trained.folder / "split.json").read_bytes(), type=Split)


@pytest.fixture(scope="module")
def metrics(trained):
    return json.loads((trained.folder / "metrics.json").read_text())


@cache
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
    assert kept.weights == "imagenet"  # which it was, where the recipe leaves it open
    (stage,) = kept.stages
    assert stage.epochs == 15
    stages = (msgspec.structs.replace(stage, epochs=given.stages[0].epochs),)
    assert msgspec.structs.replace(kept, stages=stages, weights=given.weights) == given


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
    assert {row["stage"] for row in rows} == {"head"}


def test_predictions_are_the_model_s_on_pixels(trained, split):
    run = read_run(trained.folder)
    with (trained.folder / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["path"], row["label"]) for row in rows] == [(i.path, i.label) for i in split.parts["test"]]
    written = np.array([[float(row[label]) for label in run.spec.labels] for row in rows])
    np.testing.assert_allclose(written.sum(axis=1), 1, atol=1e-4)
    pixels = np.stack([load(trained.data / row["path"], run.spec.input) for row in rows])
    np.testing.assert_allclose(written, run.model().predict_on_batch(pixels), atol=1e-5)


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


def assert_same(folder, other):
    assert weights_of(folder) == weights_of(other)
    for name in ("metrics.json", "predictions.csv", "split.json", "recipe.json"):
        assert (folder / name).read_bytes() == (other / name).read_bytes()


def test_the_same_seed_gives_the_same_run_bit_for_bit_from_kept_features(trained, facectl, tmp_path):
    done = facectl(*trained.arguments, "--out", tmp_path / "again", "--quiet")
    assert (done.code, done.err) == (0, "")
    assert_same(tmp_path / "again", trained.folder)


def test_and_from_features_computed_anew_where_the_cache_is_damaged(photographs, train, tmp_path):
    runs = tmp_path / "runs"
    assert train(photographs, out=runs / "first").code == 0
    (tmp_path / "home" / "features.sqlite").write_bytes(b"no database" * 1000)
    done = train(photographs, out=runs / "again")
    assert done.code == 0
    assert done.err.count("\n") == 1
    assert "a new one is begun" in done.err
    assert_same(runs / "again", runs / "first")


def test_another_seed_gives_another_run(photographs, train, tmp_path):
    runs = []
    for seed in (3, 4):
        runs.append(tmp_path / "runs" / f"seed{seed}")
        assert train(photographs, "--seed", seed, out=runs[-1]).code == 0
    ours, theirs = (read_run(folder).split for folder in runs)
    assert ours.parts != theirs.parts
    assert weights_of(runs[0])[-1] != weights_of(runs[1])[-1]


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
    done = facectl("train", "zoo", "--data", data, "--out", out, "--epochs", 2, "--device", "cpu", "--no-report")
    assert done.code == 0
    assert "left out: 1: green/\N{REPLACEMENT CHARACTER}.png: its name is not UTF-8; rename it\n" in done.err
    assert f"facectl export {out}" in done.out
    assert "device: cpu (asked for: cpu)" in done.err
    kept = read_run(out)
    assert kept.spec.labels == ("either", "green", "красный")
    assert "красный/été \N{RABBIT FACE}.png" in kept.split.hashes
