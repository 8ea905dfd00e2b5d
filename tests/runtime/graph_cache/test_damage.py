"""A graph that is damaged, or that others may write, is made anew and never runs."""

import os
import shutil
import stat
import zlib

import pytest

from facectl_runtime.errors import ModelError
from kept_graphs import answers, kept, network, written

# What is damaged


def assert_is_whole(file, before):
    """ONNX Runtime names some values otherwise each time that it saves a graph."""
    assert signed(file.read_bytes()[:-5]) == file.read_bytes()
    assert len(file.read_bytes()) == len(before)


def signed(graph):
    return graph + b"\x7d" + zlib.crc32(graph).to_bytes(4, "little")


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "few", "zeros", "longer", "its end"])
def test_a_damaged_graph_is_made_anew(tmp_path, graphs, damage):
    path = written(tmp_path / "model.onnx", network())
    expected = answers(path)
    (file,) = kept(graphs)
    whole = file.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    file.write_bytes(
        {"cut": whole[:-100], "flipped": bytes(flipped), "empty": b"", "few": b"ab", "zeros": bytes(5),
         "longer": whole + b"x", "its end": whole[-5:]}[damage]
    )  # fmt: skip
    assert answers(path).tobytes() == expected.tobytes()
    assert_is_whole(file, whole)
    assert kept(graphs) == [file]


def test_a_graph_that_is_whole_but_cannot_be_loaded_is_made_anew(tmp_path, graphs):
    path = written(tmp_path / "model.onnx", network())
    expected = answers(path)
    (file,) = kept(graphs)
    whole = file.read_bytes()
    file.write_bytes(signed(b"no graph"))
    assert answers(path).tobytes() == expected.tobytes()
    assert_is_whole(file, whole)


def test_a_model_that_is_none_is_said_to_be_none(tmp_path, graphs):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(ModelError, match="cannot load it"):
        answers(path)
    assert kept(graphs) == []


# Whose it is


def planted(path, graphs):
    """Put another model's graph in the place of the one kept for `path`; give its file, and the answers of both."""
    own = answers(path)
    (file,) = kept(graphs)
    others = answers(written(path.with_name("other.onnx"), network(seed=1)))
    (other,) = set(kept(graphs)) - {file}
    shutil.copyfile(other, file)
    other.unlink()
    return file, own, others


def test_graphs_are_their_users_alone_whatever_the_umask(tmp_path, graphs):
    before = os.umask(0)
    try:
        path = written(tmp_path / "model.onnx", network())
        answers(path)
    finally:
        os.umask(before)
    (file,) = kept(graphs)
    assert [stat.S_IMODE(one.stat().st_mode) for one in (graphs, file)] == [0o700, 0o600]
    before = file.stat().st_ino
    answers(path)
    assert file.stat().st_ino == before  # it is used


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_graph_that_others_may_write_is_made_anew(tmp_path, graphs, mode):
    path = written(tmp_path / "model.onnx", network())
    file, own, others = planted(path, graphs)
    assert (answers(path) == others).all()  # as long as it is the user's alone
    file.chmod(mode)
    assert (answers(path) == own).all()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert (answers(path) == own).all()


@pytest.mark.parametrize("mode", [0o720, 0o777])
def test_a_folder_that_others_may_write_is_left_alone(tmp_path, graphs, mode):
    path = written(tmp_path / "model.onnx", network())
    file, own, _ = planted(path, graphs)
    there = file.read_bytes()
    graphs.chmod(mode)
    assert (answers(path) == own).all()
    assert kept(graphs) == [file]
    assert file.read_bytes() == there


def test_another_users_graphs_are_left_alone(tmp_path, graphs, monkeypatch):
    path = written(tmp_path / "model.onnx", network())
    file, own, _ = planted(path, graphs)
    there = file.read_bytes()
    monkeypatch.setattr(os, "geteuid", lambda: graphs.stat().st_uid + 1)
    assert (answers(path) == own).all()
    assert file.read_bytes() == there
