"""Stages follow one another on one network, in half precision where that is asked for, and stop where they must."""

import csv
import json

import msgspec
import numpy as np
import pytest

from facectl_runtime.errors import FacectlError
from facectl_runtime.image import load
from facectl_trainer import train as training
from facectl_trainer.augment import AugmentPlan
from facectl_trainer.recipe import HeadPlan
from facectl_trainer.run import read_run
from facectl_trainer.stages import stage_names
from facectl_trainer.train import train
from tiny_network import job, recipe, stage

tf_keras = pytest.importorskip("tf_keras")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "runs" / "mine"


def history_of(folder):
    with (folder / "history.csv").open() as file:
        return list(csv.DictReader(file))


def test_stages_are_named_for_what_they_train():
    plans = [stage("head"), stage("top"), stage("head"), stage("all"), stage("head")]
    assert stage_names(plans) == ["head", "top", "head 2", "all", "head 3"]


@pytest.mark.usefixtures("tiny")
def test_each_stage_goes_on_where_the_one_before_it_ended(uneven, out):
    """At a rate of almost nothing, a stage's loss on val is that of the best epoch before it."""
    still = {"rate": 1e-9, "epochs": 1, "optimizer": "sgd"}
    train(job(uneven, out, recipe(stage("head"), stage("top", **still), stage("all", **still))), quiet=True)
    rows = history_of(out)
    assert [row["stage"] for row in rows] == ["head", "head", "top", "all"]
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    best = min(float(row["val_loss"]) for row in rows[:2])
    assert [float(row["val_loss"]) for row in rows[2:]] == pytest.approx([best] * 2, abs=1e-5)


def test_a_frozen_layer_is_as_it_was_and_what_is_trained_is_not(tiny, uneven, out):
    train(job(uneven, out, recipe(stage("head"), stage("top"))), quiet=True)
    pretrained, model = tiny.build(32, "unit", None), read_run(out).model()
    with np.load(training.locate(tiny.weights).path) as arrays:
        pretrained.set_weights([arrays[f"arr_{number}"] for number in range(len(arrays.files))])
    for name, same in (("stem", True), ("left", True), ("right_bn", True), ("top", False)):
        pairs = zip(model.get_layer(name).get_weights(), pretrained.get_layer(name).get_weights(), strict=True)
        assert all(np.array_equal(one, other) for one, other in pairs) is same, name


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.usefixtures("tiny")
def test_a_loss_that_is_no_number_stops_the_run_names_the_stage_and_leaves_nothing(uneven, out, first):
    wild = stage("head" if first else "top", 1e30, optimizer="sgd")
    stages = (wild,) if first else (stage("head"), wild)
    with pytest.raises(
        FacectlError, match=rf"no number in epoch \d of stage {wild.train}; lower its rate \(1e\+30\)"
    ) as caught:
        train(job(uneven, out, recipe(*stages, head=HeadPlan((64, 64)))), quiet=True)
    assert "\n" not in str(caught.value)
    assert list(out.parent.iterdir()) == []


@pytest.mark.usefixtures("tiny")
def test_in_half_precision_the_run_is_trained_and_kept_in_float32(uneven, out, monkeypatch):
    use, met = training.use_for_training, []

    def half(device):
        compute = use(device)
        return type(compute)(compute.used, compute.strategy, half=True)

    monkeypatch.setattr(training, "use_for_training", half)
    from facectl_trainer import stages

    fit_stage = stages.fit_stage

    def watched(feed, *rest):
        met.append((feed.judged.layers[-2].compute_dtype, feed.judged.layers[-1].compute_dtype))
        return fit_stage(feed, *rest)

    monkeypatch.setattr(stages, "fit_stage", watched)
    plan = recipe(
        stage("head"),
        stage("all", 1e-3, augment=True),
        augment=AugmentPlan(flip=True),
        head=HeadPlan((6,), dropout=0.2),
    )
    train(job(uneven, out, plan), quiet=True)
    assert met == [("float32", "float32"), ("float16", "float32")]
    assert tf_keras.mixed_precision.global_policy().name == "float32"
    run = read_run(out)
    model = run.model()
    assert {layer.compute_dtype for layer in model.layers} <= {"float32", "uint8"}
    assert {value.dtype for value in model.get_weights()} == {np.dtype("float32")}
    losses = [float(row["loss"]) for row in history_of(out)]
    assert np.isfinite(losses).all()
    images = run.split.parts["test"]
    answers = model.predict_on_batch(np.stack([load(uneven / image.path, run.spec.input) for image in images]))
    right = np.mean([run.spec.labels[a.argmax()] == image.label for a, image in zip(answers, images, strict=True)])
    assert right == json.loads((out / "metrics.json").read_text())["test"]["accuracy"]


@pytest.mark.usefixtures("tiny")
def test_the_order_of_keys_and_the_seed_alone_decide_a_run(uneven, out, tmp_path):
    plan = recipe(stage("head"), stage("all", 1e-3, augment=True), augment=AugmentPlan(rotation=20, flip=True))
    kept = []
    for place, seed in ((out, 1), (tmp_path / "again" / "mine", 1), (tmp_path / "other" / "mine", 2)):
        train(job(uneven, place, plan, seed=seed), quiet=True)
        kept.append([value.tobytes() for value in read_run(place).model().get_weights()])
    assert kept[0] == kept[1] != kept[2]
    assert msgspec.json.decode((out / "recipe.json").read_bytes())["weights"] == "drawn"
