"""Folders that appear whole or not at all."""

import errno
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from facectl_runtime import files
from facectl_runtime.errors import FacectlError, UsageError
from facectl_runtime.files import alone_in, exchange, remove_abandoned, scratch_beside, swap_in

# Each puts one folder after another at the place given, 20 files of one number in each: written anew, or two in turn.
REPLACE = """
for number in count():
    with scratch_beside(target) as scratch:
        swap_in(filled(scratch / "new", number), target, replace=True)
    if number == 1:
        print("begun", flush=True)
"""
EXCHANGE = """
with scratch_beside(target) as scratch:
    filled(target, 0)
    new = filled(scratch / "new", 1)
    print("begun", flush=True)
    while True:
        exchange(new, target)
"""
CHILD = """
import sys
from itertools import count
from pathlib import Path
from facectl_runtime.files import alone_in, exchange, scratch_beside, swap_in

def filled(folder, number):
    folder.mkdir(exist_ok=True)
    for name in range(20):
        (folder / str(name)).write_text(str(number))
    return folder

target = Path(sys.argv[1])
"""


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


@pytest.fixture
def two_renames(monkeypatch):
    """Be on a file system that cannot exchange."""
    monkeypatch.setattr(files, "_exchanged_at_once", lambda new, target: False)  # noqa: ARG005


@pytest.fixture
def at_once(tmp_path):
    """Skip where the file system of these tests cannot exchange."""
    one, other = folder(tmp_path / "one"), folder(tmp_path / "other")
    able = files._exchanged_at_once(one, other)
    one.rmdir(), other.rmdir()
    if not able:
        pytest.skip("this file system exchanges nothing in one step")


@pytest.mark.usefixtures("two_renames")
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


@pytest.mark.usefixtures("two_renames")
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


@pytest.mark.usefixtures("two_renames")
def test_without_an_exchange_two_renames_do(tmp_path):
    target = folder(tmp_path / "target", a="old", b="old")
    swap_in(folder(tmp_path / "new", a="new"), target, replace=True)
    assert [path.name for path in tmp_path.iterdir()] == ["target"]
    assert contents(target) == {"a": "new"}


@pytest.mark.parametrize("way", ["", "two_renames"])
def test_two_folders_change_places(tmp_path, request, way):
    if way:
        request.getfixturevalue(way)
    one, other = folder(tmp_path / "öne", a="1"), folder(tmp_path / "other", b="2")
    exchange(one, other)
    assert (contents(one), contents(other)) == ({"b": "2"}, {"a": "1"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "öne"]


def test_what_cannot_change_places_stays(tmp_path):
    one = folder(tmp_path / "one", a="1")
    with pytest.raises(FileNotFoundError):
        exchange(one, tmp_path / "none")
    with pytest.raises(FileNotFoundError):
        exchange(tmp_path / "none", one)
    assert [path.name for path in tmp_path.iterdir()] == ["one"]
    assert contents(one) == {"a": "1"}


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_file_or_a_link_is_replaced_and_what_it_leads_to_is_left(tmp_path, kind):
    elsewhere, target = folder(tmp_path / "elsewhere", a="kept"), tmp_path / "target"
    if kind == "file":
        target.write_text("old")
    else:
        target.symlink_to(elsewhere)
    swap_in(folder(tmp_path / "new", a="new"), target, replace=True)
    assert not target.is_symlink()
    assert contents(target) == {"a": "new"}
    assert contents(elsewhere) == {"a": "kept"}
    assert not os.path.lexists(tmp_path / "new")


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("loop", [REPLACE, EXCHANGE])
def test_killed_at_any_moment_it_leaves_a_whole_folder(tmp_path, loop):
    """Stopped, a process shows what killed it would leave, and can go on to be stopped again."""
    target, chance, seen = folder(tmp_path / "target"), random.Random(5), set()

    def check():
        found = contents(target)
        assert sorted(map(int, found)) == list(range(20))
        assert len(set(found.values())) == 1
        seen.update(found.values())

    for _ in range(8):
        with subprocess.Popen([sys.executable, "-c", CHILD + loop, target], stdout=subprocess.PIPE) as child:
            assert child.stdout.readline() == b"begun\n"
            try:
                for _ in range(40):
                    time.sleep(chance.uniform(0, 0.004))
                    child.send_signal(signal.SIGSTOP)
                    os.waitpid(child.pid, os.WUNTRACED)
                    check()
                    child.send_signal(signal.SIGCONT)
            finally:
                child.kill()
        check()
    assert len(seen) > 1  # it was caught at different moments


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


HELD = """
import sys, time
from pathlib import Path
from facectl_runtime.files import scratch_beside
with scratch_beside(Path(sys.argv[1])) as scratch:
    (scratch / "half").touch()
    print("begun", flush=True)
    time.sleep(60)
"""


def test_what_a_killed_process_left_goes_and_what_a_living_one_has_stays(tmp_path):
    target, mine = tmp_path / "target", folder(tmp_path / ".target.original", a="mine")
    with subprocess.Popen([sys.executable, "-c", HELD, target], stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"begun\n"
        (theirs,) = (path for path in tmp_path.iterdir() if path != mine)
        remove_abandoned(target)
        assert (theirs / "half").exists()
        child.kill()
    assert (theirs / "half").exists()
    remove_abandoned(target)
    assert list(tmp_path.iterdir()) == [mine]


def test_a_folder_that_was_only_just_made_is_not_taken_for_abandoned(tmp_path, monkeypatch):
    def meanwhile(made):
        monkeypatch.setattr(files, "_locked", locked)
        remove_abandoned(tmp_path / "target")
        return locked(made)

    locked = files._locked
    monkeypatch.setattr(files, "_locked", meanwhile)
    with scratch_beside(tmp_path / "target") as scratch:
        assert scratch.is_dir()


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


def test_a_name_too_long_leaves_nothing(tmp_path):
    with pytest.raises(UsageError, match="File name too long"), scratch_beside(tmp_path / ("x" * 250)):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, 1), (errno.EACCES, 2)])
def test_a_full_disk_is_the_machines_fault(tmp_path, monkeypatch, number, code):
    def fail(**_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.tempfile, "mkdtemp", fail)
    with pytest.raises(FacectlError, match="cannot be written") as raised, scratch_beside(tmp_path / "new"):
        pass
    assert raised.value.exit_code == code
    assert ("make room" in str(raised.value)) == (code == 1)


COUNT = """
import sys
from pathlib import Path
from facectl_runtime.files import alone_in
folder = Path(sys.argv[1])
for _ in range(200):
    with alone_in(folder):
        (folder / "count").write_text(str(int((folder / "count").read_text()) + 1))
"""


@pytest.mark.skipif(os.name != "posix", reason="locks of POSIX")
def test_one_at_a_time_is_alone_in_a_folder(tmp_path):
    (tmp_path / "count").write_text("0")
    counting = [subprocess.Popen([sys.executable, "-c", COUNT, tmp_path]) for _ in range(2)]
    assert [process.wait(timeout=60) for process in counting] == [0, 0]
    assert contents(tmp_path) == {"count": "400"}


def test_where_there_are_no_locks_nothing_is_waited_for(tmp_path, monkeypatch):
    with alone_in(tmp_path):
        monkeypatch.setitem(sys.modules, "fcntl", None)  # as on Windows
        with alone_in(tmp_path), alone_in(tmp_path / "missing"):
            pass
