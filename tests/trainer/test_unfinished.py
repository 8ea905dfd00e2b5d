"""The folder of a training in progress: locked, whole at every moment, and read with care."""

import errno
import shutil

import numpy as np
import pytest

from facectl_runtime.errors import UsageError
from facectl_trainer.fit import Position
from facectl_trainer.unfinished import begin, can_resume
from tiny_network import full_disk

tf_keras = pytest.importorskip("tf_keras")

POSITION = Position(stage=1, epoch=3, best_epoch=2, best_loss=0.25, history=[{"stage": "head", "epoch": 1}])
IDENTITY = {"recipe": {"stages": ({"rate": 1e-3},)}, "seed": 3, "split": {"train": ("a", "b")}}


def network(seed):
    tf_keras.utils.set_random_seed(seed)
    return tf_keras.Sequential([tf_keras.layers.Dense(3, input_shape=(4,)), tf_keras.layers.BatchNormalization()])


def adam(model):
    optimizer = tf_keras.optimizers.Adam(0.1)
    optimizer.build(model.trainable_variables)
    return optimizer


@pytest.fixture
def out(tmp_path):
    return tmp_path / "runs" / "new"


@pytest.fixture
def kept(out):
    """Give the folder of a training that stopped, with the model and the optimizer it stopped with."""
    model = network(0)
    optimizer = adam(model)
    optimizer.iterations.assign(7)
    with begin(out, resume=False, force=False) as unfinished:
        unfinished.claim(IDENTITY)
        unfinished.save(model, optimizer, POSITION, [np.arange(3.0), np.float32([[1]])], now=True)
    return unfinished.folder, model


def resumed(out):
    with begin(out, resume=True, force=False) as unfinished:
        unfinished.claim(IDENTITY)
        model = network(1)
        optimizer = adam(model)
        return unfinished.position(), unfinished.restore(model, optimizer), model, optimizer


def test_what_was_saved_is_given_back_bit_for_bit(kept, out):
    position, best, model, optimizer = resumed(out)
    assert position == POSITION
    assert [array.tolist() for array in best] == [[0, 1, 2], [[1]]]
    assert best[1].dtype == np.float32
    for ours, theirs in zip(model.get_weights(), kept[1].get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert optimizer.iterations.numpy() == 7


def test_without_a_checkpoint_it_begins_at_the_beginning_and_leaves_nothing(out):
    with begin(out, resume=False, force=False) as unfinished:
        unfinished.claim(IDENTITY)
        assert unfinished.position() == Position()
    assert list(out.parent.iterdir()) == []


def test_a_checkpoint_is_written_no_more_often_than_it_pays(out):
    with begin(out, resume=False, force=False) as unfinished:
        unfinished.save(network(0), None, POSITION, [])
        assert not can_resume(out)
        unfinished._every = 0
        unfinished.save(network(0), None, POSITION, [])
        assert can_resume(out)


def test_a_newer_checkpoint_takes_the_place_of_the_older(out):
    model = network(0)
    with begin(out, resume=False, force=False) as unfinished:
        unfinished.save(model, None, POSITION, [], now=True)
        unfinished.save(model, None, Position(stage=2), [], now=True)
        assert unfinished.position() == Position(stage=2)
        assert sorted(path.name for path in unfinished.folder.iterdir()) == ["checkpoint-000002", "lock"]


def test_a_kill_before_the_older_checkpoint_is_gone_leaves_the_newer(out):
    with begin(out, resume=False, force=False) as unfinished:
        unfinished.save(network(0), None, POSITION, [], now=True)
        (older,) = unfinished.folder.glob("checkpoint-*")
        kept = shutil.copytree(older, out.parent / "kept")
        unfinished.save(network(1), None, Position(stage=2), [], now=True)
        kept.rename(older)
        assert unfinished.position() == Position(stage=2)
        unfinished.save(network(1), None, Position(stage=3), [], now=True)
        assert sorted(path.name for path in unfinished.folder.iterdir()) == ["checkpoint-000003", "lock"]


@pytest.mark.parametrize("force", [True, False])
def test_a_folder_of_that_name_that_is_not_ours_stays(out, force):
    mine = out.parent / "new.unfinished" / "llama" / "a.jpg"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    with pytest.raises(UsageError, match=r"new\.unfinished: .* holds something else; move that, or give another --out"):
        begin(out, resume=False, force=force).__enter__()
    assert mine.read_bytes() == b"mine"


def test_a_file_system_without_locks_trains_all_the_same(out, monkeypatch):
    def refused(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refused)
    with begin(out, resume=False, force=False) as unfinished:
        assert unfinished.folder.is_dir()


def test_a_full_disk_costs_the_checkpoint_and_says_so_once(kept, out, capsys):
    with begin(out, resume=True, force=False) as unfinished:
        unfinished._every = 0
        with full_disk():
            unfinished.save(network(5), None, Position(stage=9), [])
            unfinished.save(network(5), None, Position(stage=9), [])
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "no checkpoint could be written" in said
    position, _, model, _ = resumed(out)
    assert position == POSITION
    np.testing.assert_array_equal(model.get_weights()[0], kept[1].get_weights()[0])


@pytest.mark.parametrize("content", [b"", b"\xff\x00 no json", b'{"stage": "one"}', b"[]", None])
@pytest.mark.parametrize("file", ["checkpoint-000001/position.json", "job.json"])
def test_a_damaged_note_is_one_line(kept, out, file, content):
    folder, _ = kept
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(content)
    assert_refused(out)


@pytest.mark.parametrize("pattern", ["values.index", "values.data*", "best.npz"])
@pytest.mark.parametrize("damage", ["cut", "gone", "text", "empty"])
def test_a_damaged_checkpoint_is_one_line(kept, out, pattern, damage):
    (path,) = kept[0].glob(f"checkpoint-*/{pattern}")
    if damage == "gone":
        path.unlink()
    else:
        whole = path.read_bytes()
        path.write_bytes({"cut": whole[: len(whole) // 2], "text": b"no checkpoint", "empty": b""}[damage])
    assert_refused(out)


@pytest.mark.usefixtures("kept")
def test_a_checkpoint_of_another_network_is_one_line(out):
    other = tf_keras.Sequential([tf_keras.layers.Dense(5, input_shape=(4,))])
    with begin(out, resume=True, force=False) as unfinished, pytest.raises(UsageError, match="--force") as caught:
        unfinished.restore(other, None)
    assert "\n" not in str(caught.value)


def assert_refused(out):
    with pytest.raises(UsageError) as caught:
        resumed(out)
    message = str(caught.value)
    assert "\n" not in message
    assert "new.unfinished" in message
    assert "--force" in message
    assert can_resume(out)


def test_two_at_once_are_refused_and_the_first_goes_on(out):
    with begin(out, resume=False, force=False) as first:
        first.claim(IDENTITY)
        for options in ({"resume": False, "force": False}, {"resume": False, "force": True}):
            with pytest.raises(UsageError, match="another training is at work there"), begin(out, **options):
                pytest.fail("two are at work")
        assert (first.folder / "job.json").exists()
        first.finish(out, replace=False)
    assert [path.name for path in out.parent.iterdir()] == ["new"]
    assert list(out.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UsageError, match="cannot be written"),
        begin(tmp_path / "file" / "new", resume=False, force=False),
    ):
        pytest.fail("it was begun")
