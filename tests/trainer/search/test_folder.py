"""The folder of a search: whatever breaks off, it is consistent and goes on."""

import fcntl
import os
import signal
import threading

import pytest

from facectl_runtime.errors import UsageError
from facectl_trainer.data import search as searching
from facectl_trainer.data import search_folder
from facectl_trainer.data.search_folder import COLUMNS, open_search
from loopback import Reply
from openverse_index import consistent, names, photo_id, picture, rows


@pytest.mark.parametrize("after", ["_write_table", "_done"])
def test_interrupted_between_two_files(search, index, to, monkeypatch, after):
    for _ in range(3):
        index.add()
    with monkeypatch.context() as patch:
        calls = []

        def interrupt(folder):
            calls.append(1)
            if len(calls) == 2:
                raise KeyboardInterrupt
            whole(folder)

        whole = getattr(search_folder.SearchFolder, after)
        patch.setattr(search_folder.SearchFolder, after, interrupt)
        ran = search(count=3)
        assert (ran.code, ran.error()) == (130, "interrupted")
    assert search(count=3).code == 0
    assert [row["file"][:-4] for row in consistent(to)] == [photo_id(number) for number in range(3)]


def test_interrupted_while_writing(search, index, to, monkeypatch):
    for _ in range(3):
        index.add()
    with monkeypatch.context() as patch:

        def interrupt(path, target):
            if target.name == "sources.csv" and target.exists():
                raise KeyboardInterrupt
            os.replace(path, target)  # noqa: PTH105

        patch.setattr(search_folder.Path, "replace", interrupt)
        assert search(count=3).code == 130
    assert len(rows(to)) == 1
    assert not list(to.glob(".*new"))
    assert search(count=3).code == 0
    assert len(consistent(to)) == 3


def test_a_full_disk(search, index, to, monkeypatch):
    for _ in range(3):
        index.add()
    with monkeypatch.context() as patch:

        def full(path, content):
            if path.name.startswith(f".{photo_id(1)}"):
                raise OSError(28, "No space left on device", str(path))
            with path.open("wb") as file:
                return file.write(content)

        patch.setattr(search_folder.Path, "write_bytes", full)
        ran = search(count=3)
    assert ran.code == 1
    assert ran.error() == (
        f"{to / photo_id(1)}.jpg: cannot be written (No space left on device); make room, or give another folder "
        "with --to"
    )
    assert len(consistent(to)) == 1
    assert search(count=3).code == 0


def test_two_at_once(search, index, to):
    index.add()
    search(count=1)
    lock = os.open(to, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    ran = search(count=1)
    os.close(lock)
    assert ran.code == 2
    assert ran.error() == f"{to}: another process is at it; wait for it, or give another --to"
    assert search(count=1).code == 0


def test_a_process_that_is_interrupted_while_a_second_one_tries(start, search, index, site, to):
    asked, release = threading.Event(), threading.Event()

    def slow(_):
        asked.set()
        release.wait(30)
        return Reply(b"", 404)

    site.routes["/slow"] = slow
    index.add()
    index.add(url=site.address + "/slow")
    index.add()
    first = start("data", "search", "alpaca", "--count", 3, "--to", to, "--api", site.address)
    assert asked.wait(60)
    assert "another process is at it" in search().error()
    first.send_signal(signal.SIGINT)
    out, err = first.communicate(timeout=60)
    release.set()
    assert (first.returncode, out, err) == (130, "", "facectl: interrupted\n")
    assert len(consistent(to)) == 1
    assert search(count=2).code == 0
    assert len(consistent(to)) == 2


def test_what_a_killed_process_left(search, index, to):
    for _ in range(2):
        index.add()
    search(count=1)
    (to / ".sources.csv.facectl.new").write_bytes(b"half")
    (to / f"{photo_id(1)}.jpg").write_bytes(picture(1))  # no row yet
    assert search(count=2).code == 0
    assert len(consistent(to)) == 2


@pytest.mark.parametrize(
    ("words", "more", "met"),
    [
        ("lama", (), "'alpaca', not 'lama'"),
        ("alpaca", ("--license", "cc0"), "'alpaca', not 'alpaca' (licence cc0)"),
        ("alpaca", ("--category", "any"), "'alpaca', not 'alpaca' (category any)"),
    ],
)
def test_a_folder_of_another_search_is_refused(search, index, to, tree, words, more, met):
    index.add()
    search(count=1)
    before = tree(to)
    ran = search(*more, words=words)
    assert ran.code == 2
    assert ran.error() == f"{to}: holds the search for {met}; give another --to"
    assert tree(to) == before


def test_a_folder_that_is_no_search_is_refused(search, index, to, tree):
    index.add()
    to.mkdir(parents=True)
    (to / "mine.jpg").write_bytes(b"precious")
    ran = search()
    assert ran.code == 2
    assert ran.error() == f"{to}: already there, and holds no search; give another --to"
    assert tree(to) == {"mine.jpg": b"precious"}
    assert index.queries == []


def test_an_empty_folder_will_do(search, index, to):
    to.mkdir(parents=True)
    assert search().code == 3
    assert names(to) == []
    index.add()
    assert search(count=1).code == 0


def test_a_place_that_cannot_be_written(search, index, to):
    to.parent.write_text("a file")
    assert "cannot be written" in search().error()
    to.parent.unlink()
    to.parent.mkdir()
    to.write_text("a file")
    assert "there is something else of that name" in search().error()
    assert index.queries == []


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        (".search.json", b"{", "not the state of a search"),
        (".search.json", b'{"question": 3}', "not the state of a search"),
        ("sources.csv", b"a,b\n1,2\n", "not the columns"),
        ("sources.csv", b'"', "cannot be read"),
        ("sources.csv", b"\xff", "cannot be read"),
        ("sources.csv", (",".join(COLUMNS) + "\n../x.jpg" + "," * 11).encode(), "'../x.jpg' is no file of this"),
        ("sources.csv", (",".join(COLUMNS) + "\nx.jpg,1\n").encode(), "not the columns"),
    ],
)
def test_a_folder_that_was_damaged(search, index, to, tree, file, content, said):
    index.add()
    search(count=1)
    (to / file).write_bytes(content)
    before = tree(to)
    ran = search()
    assert ran.code == 2
    assert said in ran.error()
    assert tree(to) == before


def test_the_lock_is_let_go(to):
    question = searching.ask_for("alpaca")
    for _ in range(2):
        with open_search(to, question):
            with pytest.raises(UsageError, match="another process is at it"), open_search(to, question):
                pass
            assert to.is_dir()
        assert not to.exists()


def test_a_search_that_found_nothing_takes_the_folders_that_it_made_along_and_no_other(tmp_path):
    question = searching.ask_for("alpaca")
    with open_search(tmp_path / "photos" / "new" / "alpaca", question):
        pass
    assert list(tmp_path.iterdir()) == []
    with open_search(tmp_path / "photos" / "new" / "alpaca", question):
        (tmp_path / "photos" / "mine.txt").touch()
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["mine.txt"]
