"""Folders that appear whole or not at all."""

from pathlib import Path

import pytest

from facectl_runtime.errors import UsageError
from facectl_runtime.files import scratch_beside, swap_in


def folder(path: Path, **files: str) -> Path:
    path.mkdir()
    for name, text in files.items():
        (path / name).write_text(text)
    return path


def contents(path: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in path.iterdir()}


def test_a_new_folder_takes_its_place(tmp_path):
    swap_in(folder(tmp_path / "new", a="1"), tmp_path / "target")
    assert [path.name for path in tmp_path.iterdir()] == ["target"]
    assert contents(tmp_path / "target") == {"a": "1"}


def test_what_stood_there_is_replaced_whole(tmp_path):
    target = folder(tmp_path / "target", a="old", b="old")
    swap_in(folder(tmp_path / "new", a="new"), target, replace=True)
    assert [path.name for path in tmp_path.iterdir()] == ["target"]
    assert contents(target) == {"a": "new"}


def test_what_came_to_stand_there_is_not_replaced_unasked(tmp_path):
    target, new = folder(tmp_path / "target", a="old"), folder(tmp_path / "new", a="new")
    with pytest.raises(UsageError, match=r"target: already there .*give another place"):
        swap_in(new, target)
    assert contents(target) == {"a": "old"}
    assert contents(new) == {"a": "new"}


def test_an_interruption_after_the_swap_loses_nothing(tmp_path, monkeypatch):
    target, new = folder(tmp_path / "target", a="old"), folder(tmp_path / "new", a="new")
    rename = Path.rename

    def late(self, to):
        rename(self, to)
        if self == new:
            raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", late)
    with pytest.raises(KeyboardInterrupt):
        swap_in(new, target, replace=True)
    assert contents(target) == {"a": "new"}


@pytest.mark.parametrize("failure", [OSError("no"), KeyboardInterrupt()])
def test_what_stood_there_stays_where_the_new_one_cannot_come(tmp_path, monkeypatch, failure):
    target, new = folder(tmp_path / "target", a="old"), folder(tmp_path / "new", a="new")
    rename = Path.rename

    def failing(self, to):
        if self == new:
            raise failure
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(type(failure)):
        swap_in(new, target, replace=True)
    assert contents(target) == {"a": "old"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "target"]


def test_scratch_lies_beside_and_goes_whatever_happens(tmp_path):
    target = tmp_path / "not" / "yet" / "target"
    with scratch_beside(target) as scratch:
        assert scratch.parent == target.parent
        assert scratch.is_dir()
        (scratch / "a").touch()
    assert list(target.parent.iterdir()) == []
    with pytest.raises(FileNotFoundError), scratch_beside(target) as scratch:
        (scratch / "not" / "there").touch()
    assert list(target.parent.iterdir()) == []


def test_scratch_that_was_swapped_in_stays(tmp_path):
    with scratch_beside(tmp_path / "target") as scratch:
        swap_in(folder(scratch / "made", a="1"), tmp_path / "target")
    assert contents(tmp_path / "target") == {"a": "1"}


def test_a_place_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(UsageError, match=r"target: cannot be written .*give another place"),
        scratch_beside(tmp_path / "file" / "target"),
    ):
        pytest.fail("a folder below a file")
