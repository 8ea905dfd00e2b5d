"""A feature cache that is damaged, of another version, read-only or full is in no run's way."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from cached import ONE, TWO, WRITER, fill, names
from facectl_trainer.data.cache import FeatureCache


def assert_only_one_warning(cache, capsys):
    """Use a cache as a run does; all that the user sees is one line."""
    capsys.readouterr()
    assert cache.get(["photo"]) == {}
    cache.put({"photo": ONE})
    cache.put({"another": TWO})
    assert cache.get(["photo"]) == {}
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert "going on without it" in printed.err
    return printed.err


def assert_set_aside(file, capsys, left):
    """Use a cache as a run does: the file is set aside as it was, with one warning, and a new one works."""
    capsys.readouterr()
    cache = FeatureCache("space", file)
    assert cache.get(["photo"]) == {}
    cache.put({"photo": TWO})
    assert FeatureCache("space", file).get(["photo"])["photo"].tobytes() == TWO.tobytes()
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert f"{file} cannot be used" in printed.err
    assert file.with_name("features.sqlite.old").read_bytes() == left
    assert len(list(file.parent.iterdir())) == 2
    return printed.err


@pytest.mark.parametrize("content", [b"this is no database" * 100, b"SQLite format 3\0" + b"\xff" * 4000])
def test_a_damaged_file_is_set_aside(file, capsys, content):
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    assert_set_aside(file, capsys, content)


@pytest.mark.parametrize("page", [1, 2, 3])
def test_a_damaged_page_is_set_aside(file, capsys, page):
    FeatureCache("space", file).put({"photo": ONE})
    content = bytearray(file.read_bytes())
    content[page * 16384 + 4096 : (page + 1) * 16384] = b"\xa5" * (16384 - 4096)
    content[page * 16384 : page * 16384 + 12] = b"\xa5" * 12
    file.write_bytes(content)
    capsys.readouterr()
    cache = FeatureCache("space", file)
    assert cache.get(["photo"]).get("photo", ONE).tobytes() == ONE.tobytes()  # never a wrong one
    cache.put({"photo": TWO})
    assert FeatureCache("space", file).get(["photo"])["photo"].tobytes() == TWO.tobytes()
    assert capsys.readouterr().err.count("\n") <= 1


@pytest.mark.parametrize("changed", [ONE.tobytes()[:-3], TWO.tobytes()], ids=["short", "other"])
def test_a_vector_that_is_not_what_was_put_is_never_given(file, capsys, changed):
    FeatureCache("space", file).put({"photo": ONE})
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("UPDATE vectors SET vector = ?", (changed,))
    assert "checksum" in assert_set_aside(file, capsys, file.read_bytes())


@pytest.mark.parametrize(
    "script",
    [
        # facectl's first
        "CREATE TABLE features (space TEXT, content TEXT, vector BLOB, PRIMARY KEY (space, content)) WITHOUT ROWID;"
        "INSERT INTO features VALUES ('space', 'photo', x'00000000')",
        "CREATE TABLE features (id INTEGER); PRAGMA user_version = 7",
    ],
)
def test_a_file_of_another_version_is_set_aside(file, capsys, script):
    file.parent.mkdir(parents=True)
    with closing(sqlite3.connect(file)) as database:
        database.executescript(script)
    assert "another version" in assert_set_aside(file, capsys, file.read_bytes())


def test_a_cache_that_lost_its_tables_is_set_aside(file, capsys):
    FeatureCache("space", file).put({"photo": ONE})
    with closing(sqlite3.connect(file)) as database:
        database.execute("DROP TABLE vectors")
    assert_set_aside(file, capsys, file.read_bytes())


def test_what_another_run_has_set_aside_is_not_set_aside_again(file, capsys, monkeypatch):
    file.parent.mkdir(parents=True)
    file.write_bytes(b"this is no database" * 100)
    slow = FeatureCache("space", file)
    set_aside = slow._set_aside

    def other_run_is_faster(*arguments):
        FeatureCache("space", file).put({"photo": ONE})
        set_aside(*arguments)

    monkeypatch.setattr(slow, "_set_aside", other_run_is_faster)
    slow.put({"another": TWO})
    assert set(slow.get(["photo", "another"])) == {"photo", "another"}
    assert capsys.readouterr().err.count("\n") == 1


def test_a_home_that_is_a_file_is_a_warning(tmp_path, capsys):
    (tmp_path / "home").write_text("")
    assert_only_one_warning(FeatureCache("space", tmp_path / "home" / "features.sqlite"), capsys)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_a_warning(tmp_path, capsys):
    tmp_path.chmod(0o500)
    try:
        assert_only_one_warning(FeatureCache("space", tmp_path / "features.sqlite"), capsys)
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_device_that_is_full_is_a_warning(capsys):
    assert_only_one_warning(FeatureCache("space", Path("/dev/full")), capsys)


def test_a_full_disk_keeps_all_of_a_batch_or_none(file, capsys, monkeypatch):
    FeatureCache("space", file).put({"photo": ONE})
    connect = sqlite3.connect

    def full(*arguments, **options):
        database = connect(*arguments, **options)
        database.execute("PRAGMA max_page_count = 4")
        return database

    monkeypatch.setattr(sqlite3, "connect", full)
    cache = FeatureCache("space", file)
    cache.put({str(number): np.zeros(2000, np.float32) for number in range(10)})
    assert "full" in capsys.readouterr().err
    monkeypatch.undo()
    assert set(FeatureCache("space", file).get(["photo", *map(str, range(10))])) == {"photo"}


def test_two_processes_that_find_it_damaged_both_go_on(file, capfd):
    file.parent.mkdir(parents=True)
    file.write_bytes(b"this is no database" * 100)
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, file, name]) for name in "ab"]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    assert "going on without" not in capfd.readouterr().err
    assert {"a-39", "b-39"} == set(FeatureCache("space", file).get(["a-39", "b-39"]))


FULL = """
import resource, sys
import numpy as np
from pathlib import Path
from facectl_trainer.data.cache import FeatureCache
cache = FeatureCache("space", Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
for number in range(40):
    cache.put({f"{number}-{i}": np.full(2000, number, np.float32) for i in range(8)})
print("trained")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on a file's size here")
def test_a_disk_that_fills_is_one_warning_and_the_run_goes_on(file, capsys):
    run = subprocess.run([sys.executable, "-c", FULL, file], capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stdout) == (0, "trained\n")
    assert run.stderr.count("\n") == 1
    assert "could not be written" in run.stderr
    found = FeatureCache("space", file).get(f"{number}-{i}" for number in range(40) for i in range(8))
    assert len(found) >= 64
    assert len(found) % 8 == 0
    assert all((vector == int(key.partition("-")[0])).all() for key, vector in found.items())
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_cache_that_may_only_be_read_is_read(file, capsys):
    fill(FeatureCache("space", file), "ab")
    file.chmod(0o400)
    assert len(FeatureCache("space", file).get(names("a"))) == 32
    assert capsys.readouterr().err == ""
