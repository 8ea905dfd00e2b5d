"""A training that is interrupted and continued gives what it would have given uninterrupted."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from drawn_run import history_of
from facectl_runtime.errors import UsageError
from facectl_trainer.augment import AugmentPlan, CopiesPlan
from facectl_trainer.backbones import BACKBONES
from facectl_trainer.recipe import HeadPlan
from facectl_trainer.run import read_run
from facectl_trainer.train import train
from facectl_trainer.unfinished import Unfinished, can_resume
from tiny_network import job, recipe, stage

pytest.importorskip("tf_keras")

STAGES = (
    stage("head", schedule="cosine"),
    stage("top", 1e-3, epochs=1, optimizer="rmsprop", momentum=0.5),
    stage("left", 1e-3, augment=True, schedule="cosine", batch=8),
)
RECIPE = recipe(
    *STAGES,
    head=HeadPlan((6,), dropout=0.3, batch_norm=True),
    balance="class_weights",
    copies=CopiesPlan(flip=True),
    augment=AugmentPlan(rotation=20, shift=0.1, flip=True),
)
SHORT = recipe(stage(epochs=3))


class Stop:
    """Stops a training after so many checkpoints, of which every epoch writes one; None lets it go on."""

    after = None


@pytest.fixture(scope="module")
def stop():
    save = Unfinished.save

    def saving(self, *arguments, **options):
        self._every = 0
        save(self, *arguments, **options)
        if Stop.after is not None:
            Stop.after -= 1
            if Stop.after == 0:
                Stop.after = None
                raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Unfinished, "save", saving)
        yield Stop


@pytest.fixture(scope="module")
def left_behind(tiny_weights, stop, uneven, tmp_path_factory):
    """Give a folder in which a training stopped after one epoch."""
    folder, body = tiny_weights
    place = tmp_path_factory.mktemp("left")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, "tiny", body)
        patch.setenv("FACECTL_WEIGHTS_DIR", str(folder))
        patch.setenv("FACECTL_HOME", str(place / "home"))
        stop.after = 1
        with pytest.raises(KeyboardInterrupt):
            train(job(uneven, place / "mine", SHORT), quiet=True)
    return place / "mine.unfinished"


@pytest.fixture
def interrupted(tiny, left_behind, uneven, tmp_path):  # noqa: ARG001  # it adds the backbone
    """Give what was to be trained there, with a copy of what was left."""
    shutil.copytree(left_behind, tmp_path / "runs" / "mine.unfinished")
    return job(uneven, tmp_path / "runs" / "mine", SHORT)


def values_of(folder):
    return read_run(folder).model().get_weights()


def assert_same_run(one, other):
    for ours, theirs in zip(values_of(one), values_of(other), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)
    assert history_of(one) == history_of(other)
    assert (one / "predictions.csv").read_bytes() == (other / "predictions.csv").read_bytes()
    assert sorted(path.name for path in one.iterdir()) == sorted(path.name for path in other.iterdir())


@pytest.mark.usefixtures("tiny")
def test_interrupted_after_every_epoch_and_every_stage_it_ends_as_the_uninterrupted_one(stop, uneven, tmp_path):
    whole = job(uneven, tmp_path / "whole" / "mine", RECIPE)
    train(whole, quiet=True)
    broken = job(uneven, tmp_path / "broken" / "mine", RECIPE)
    stops = sum(plan.epochs for plan in STAGES) + len(STAGES)
    for number in range(stops):
        stop.after = 1
        with pytest.raises(KeyboardInterrupt):
            train(replace(broken, resume=number > 0), quiet=True)
        assert [path.name for path in broken.out.parent.iterdir()] == ["mine.unfinished"]
    train(replace(broken, resume=True), quiet=True)
    assert_same_run(broken.out, whole.out)
    assert [path.name for path in broken.out.parent.iterdir()] == ["mine"]


@pytest.mark.usefixtures("tiny")
def test_a_stage_that_early_stopping_ended_is_not_begun_again(stop, uneven, tmp_path):
    plan = recipe(stage(rate=2.0, epochs=30, patience=1), stage("top", 1e-4))
    whole = job(uneven, tmp_path / "whole" / "mine", plan)
    train(whole, quiet=True)
    epochs = [row["stage"] for row in history_of(whole.out)].count("head")
    assert epochs < 30
    broken = job(uneven, tmp_path / "broken" / "mine", plan)
    stop.after = epochs
    with pytest.raises(KeyboardInterrupt):
        train(broken, quiet=True)
    train(replace(broken, resume=True), quiet=True)
    assert_same_run(broken.out, whole.out)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "seed"),
        ({"recipe": recipe(stage(epochs=4))}, "recipe"),
        ({"recipe": recipe(stage(epochs=3), balance="sampling")}, "recipe"),
        ({"name": "yours"}, "name"),
    ],
)
def test_what_differs_from_the_beginning_is_named(interrupted, change, named):
    with pytest.raises(UsageError, match="begun with another") as caught:
        train(replace(interrupted, resume=True, **change), quiet=True)
    assert "\n" not in str(caught.value)
    assert named in str(caught.value).split("another")[1]
    assert "--force" in str(caught.value)
    assert can_resume(interrupted.out)


def test_what_differs_is_said_before_the_photographs_are_read(interrupted, monkeypatch):
    monkeypatch.setattr("facectl_trainer.train.gather", None)
    with pytest.raises(UsageError, match="another seed"):
        train(replace(interrupted, resume=True, seed=5), quiet=True)


def test_other_photographs_are_named(interrupted, draw, uneven, tmp_path):
    data = shutil.copytree(uneven, tmp_path / "data")
    draw(data / "red" / "more.png", "red", 12345)
    with pytest.raises(UsageError, match="another data"):
        train(replace(interrupted, resume=True, data=data), quiet=True)


def test_photographs_that_moved_are_the_same(interrupted, uneven, tmp_path):
    data = shutil.copytree(uneven, tmp_path / "data")
    train(replace(interrupted, resume=True, data=data), quiet=True)
    assert read_run(interrupted.out).split.root == str(data)


@pytest.mark.usefixtures("tiny")
def test_with_nothing_to_resume_one_line_says_so(uneven, tmp_path):
    out = tmp_path / "runs" / "mine"
    with pytest.raises(UsageError, match="no interrupted training to continue; leave --resume out"):
        train(job(uneven, out, resume=True), quiet=True)
    assert not out.parent.exists()


def test_an_interrupted_training_is_not_overwritten_unasked(interrupted, tree):
    folder = interrupted.out.parent
    before = tree(folder)
    with pytest.raises(UsageError, match=r"interrupted there in stage 1 after 1 epoch; give --resume .* or --force"):
        train(interrupted, quiet=True)
    assert tree(folder) == before


def test_force_begins_anew(interrupted, uneven, tmp_path):
    train(replace(interrupted, force=True, seed=5), quiet=True)
    train(job(uneven, tmp_path / "fresh" / "mine", interrupted.recipe, seed=5), quiet=True)
    assert_same_run(interrupted.out, tmp_path / "fresh" / "mine")
    assert read_run(interrupted.out).spec.provenance.seed == 5


def test_a_damaged_checkpoint_is_one_line(interrupted):
    (path,) = (interrupted.out.parent / "mine.unfinished").glob("checkpoint-*/values.data*")
    path.write_bytes(b"no checkpoint")
    with pytest.raises(UsageError, match=r"mine\.unfinished.*cannot be read.*--force") as caught:
        train(replace(interrupted, resume=True), quiet=True)
    assert "\n" not in str(caught.value)
    assert not interrupted.out.exists()


def test_what_a_killed_training_left_half_written_does_not_come_into_the_run(interrupted):
    folder = interrupted.out.parent / "mine.unfinished"
    (whole,) = folder.glob("checkpoint-*")
    shutil.copytree(whole, folder / ".checkpoint-000009.abcd" / "checkpoint-000009")
    train(replace(interrupted, resume=True), quiet=True)
    assert not [path.name for path in interrupted.out.iterdir() if path.name.startswith(".")]
    assert not {whole.name, "job.json", "lock"} & {path.name for path in interrupted.out.iterdir()}


def test_a_training_that_ends_in_an_error_leaves_its_checkpoint(interrupted, monkeypatch):
    def full_disk(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("facectl_trainer.run.encode", full_disk)
        with pytest.raises(OSError, match="No space left"):
            train(replace(interrupted, resume=True), quiet=True)
    assert not interrupted.out.exists()
    train(replace(interrupted, resume=True), quiet=True)
    assert json.loads((interrupted.out / "metrics.json").read_text())["test"]["n"] > 0
    assert len(history_of(interrupted.out)) == 3
