"""What stands at the destination, and what an interruption leaves there."""

import os
import shutil
import signal
import threading

import numpy as np
import pytest

from facectl_runtime.errors import UsageError
from facectl_trainer.augment import CopiesPlan
from facectl_trainer.framework import use_for_training
from facectl_trainer.run import read_run, write_run
from facectl_trainer.train import train
from tiny_network import KNOWN, job, recipe

pytest.importorskip("tf_keras")

SLOW = """
backbone = "tiny"
resize = { kind = "squash" }
split = { test = 0.2, val = 0.15 }
stages = [{ train = "head", optimizer = "sgd", rate = 1e-9, batch = 1, epochs = 1000000, patience = 1000000 }]
"""
TWO = """
backbone = "tiny"
resize = { kind = "squash" }
split = { test = 0.2, val = 0.15 }
head = { dropout = 0.3 }
augment = { rotation = 10, flip = true }

[[stages]]
train = "head"
optimizer = "adam"
rate = 1e-3
epochs = 3
patience = 3

[[stages]]
train = "all"
optimizer = "adam"
rate = 1e-4
schedule = "cosine"
epochs = 5
patience = 5
augment = true
"""


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

    before = tree(old)
    with monkeypatch.context() as patch:
        patch.setattr("facectl_trainer.run.encode", full_disk)
        done = train(small, "--force", out=old)
    assert done.code == 1
    assert "No space left" in done.error()
    assert tree(old) == before
    assert sorted(path.name for path in old.parent.iterdir()) == ["old", "old.unfinished"]  # what was trained is kept
    assert train(small, "--force", "--resume", out=old).code == 0
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


@pytest.mark.usefixtures("tiny")
def test_without_out_the_run_is_named_for_its_recipe(small, facectl, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text(SLOW.replace("1000000", "2"))
    assert facectl("train", "mine.toml", "--data", small, "--device", "cpu", "--no-report", "--quiet").code == 0
    assert read_run(tmp_path / "runs" / "mine").spec.provenance.recipe == "mine"


# Interruption


def wait_for(stream, words):
    for line in stream:
        if words in line:
            return
    pytest.fail(f"the process ended before it said {words!r}")


@pytest.mark.usefixtures("tiny")
def test_ctrl_c_leaves_nothing_half_written(trained, start, old, tree, tmp_path):
    (tmp_path / "slow.toml").write_text(SLOW)
    before = tree(old)
    words = ["train", tmp_path / "slow.toml", "--data", trained.data, "--out", old, "--force", "--device", "cpu"]
    process = start(*words, prepare=KNOWN)
    wait_for(process.stderr, "features by tiny: 36")
    threading.Event().wait(1)  # into the epochs
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "facectl: interrupted"
    assert "Traceback" not in err
    assert out == ""
    assert tree(old) == before
    # On a slow machine there is a checkpoint by then.
    assert {path.name for path in old.parent.iterdir()} <= {"old", "old.unfinished"}


@pytest.mark.usefixtures("tiny")
def test_a_killed_process_is_resumed_to_the_end_of_an_uninterrupted_one(uneven, facectl, start, tmp_path):
    """One stage on features and one on pixels, ended by a real Ctrl-C in the second."""
    recipe = tmp_path / "two.toml"
    recipe.write_text(TWO)
    words = ["train", recipe, "--data", uneven, "--device", "cpu", "--no-report"]
    broken, whole = tmp_path / "broken" / "two", tmp_path / "whole" / "two"
    process = start(*words, "--out", broken, "-v", prepare=KNOWN)
    wait_for(process.stderr, "all, epoch 4:")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "facectl: interrupted"
    assert [path.name for path in broken.parent.iterdir()] == ["two.unfinished"]
    assert facectl(*words, "--out", broken, "--quiet").code == 2
    resumed = facectl(*words, "--out", broken, "--resume", "-v")
    assert resumed.code == 0, resumed.err
    assert "head, epoch 1:" not in resumed.err
    assert facectl(*words, "--out", whole, "--quiet").code == 0
    assert [path.name for path in broken.parent.iterdir()] == ["two"]
    ours, theirs = (read_run(folder).model().get_weights() for folder in (broken, whole))
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)


@pytest.mark.usefixtures("tiny")
def test_two_at_once_in_one_folder_are_refused_and_the_first_is_unharmed(uneven, facectl, start, tmp_path):
    (tmp_path / "slow.toml").write_text(SLOW.replace("1000000", "100"))
    words = ["train", tmp_path / "slow.toml", "--data", uneven, "--out", tmp_path / "runs" / "new", "--device", "cpu"]
    process = start(*words, "--no-report", "-v", prepare=KNOWN)
    wait_for(process.stderr, "head, epoch 1:")
    for more in ((), ("--force",)):
        done = facectl(*words, "--quiet", *more)
        assert done.code == 2
        assert "another training is at work there" in done.error()
    assert process.poll() is None
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["new"]
    assert read_run(tmp_path / "runs" / "new").model()


def test_the_name_of_a_training_in_progress_is_no_name_for_a_run(refused, small, tmp_path):
    assert "trainings in progress" in refused(small, out=tmp_path / "runs" / "mine.unfinished")


def test_a_data_folder_that_no_file_could_name_is_refused_first(refused, small):
    folder = small.rename(small.with_name(os.fsdecode(b"f\xe9lins")))
    assert "its path is not UTF-8; rename the folder" in refused(folder)


@pytest.mark.usefixtures("tiny")
def test_a_run_that_came_to_stand_there_while_this_one_started_costs_no_training(uneven, tmp_path, monkeypatch):
    out = tmp_path / "runs" / "mine"
    train(job(uneven, tmp_path / "first" / "mine"), quiet=True)

    def meanwhile(device):
        shutil.copytree(tmp_path / "first" / "mine", out)
        return use_for_training(device)

    with monkeypatch.context() as patch:
        patch.setattr("facectl_trainer.train.use_for_training", meanwhile)
        patch.setattr("facectl_trainer.train.gather", None)
        with pytest.raises(UsageError, match="already there"):
            train(job(uneven, out), quiet=True)
    assert [path.name for path in out.parent.iterdir()] == ["mine"]


@pytest.mark.usefixtures("tiny")
def test_what_came_to_stand_there_during_a_training_does_not_cost_it(uneven, tmp_path, monkeypatch):
    out, with_copies = tmp_path / "runs" / "mine", recipe(copies=CopiesPlan(flip=True))

    def meanwhile(*given):
        write_run(*given)
        (out / "mine").mkdir(parents=True)

    with monkeypatch.context() as patch:
        patch.setattr("facectl_trainer.classify.write_run", meanwhile)
        with pytest.raises(UsageError, match=r"cannot be renamed to it .*; move what is there away and give --resume"):
            train(job(uneven, out, with_copies), quiet=True)
    out.rename(out.with_name("away"))
    train(job(uneven, out, with_copies, resume=True), quiet=True)
    assert read_run(out).spec.metrics


@pytest.mark.usefixtures("tiny")
def test_an_empty_folder_is_taken_and_another_is_not(uneven, tmp_path):
    out = tmp_path / "mine"
    out.mkdir()
    train(job(uneven, out), quiet=True)
    assert read_run(out).spec.metrics
    with pytest.raises(UsageError, match="its training is done: there is nothing to continue"):
        train(job(uneven, out, resume=True), quiet=True)


@pytest.mark.usefixtures("tiny")
def test_a_link_to_a_folder_is_no_place_for_a_run(uneven, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "mine").symlink_to(tmp_path / "there")
    with pytest.raises(UsageError, match="already there and not a run folder"):
        train(job(uneven, tmp_path / "mine"), quiet=True)
