"""The feature cache: shared by runs, and never in their way."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from facectl_trainer.data.cache import FeatureCache

ONE, TWO = np.arange(6, dtype=np.float32), np.array([np.pi, -0.0, 1e-40, 3e38, 5, 6], np.float32)
WRITER = """
import sys
import numpy as np
from pathlib import Path
from facectl_trainer.data.cache import FeatureCache
for number in range(40):
    FeatureCache("space", Path(sys.argv[1])).put({f"{sys.argv[2]}-{number}": np.full(8, number, np.float32)})
"""


@pytest.fixture
def file(tmp_path):
    return tmp_path / "deep" / "er" / "features.sqlite"


def test_what_is_put_comes_back_bit_for_bit(file):
    FeatureCache("space", file).put({"one": ONE, "two": TWO})
    found = FeatureCache("space", file).get(["two", "one", "one", "three"])
    assert set(found) == {"one", "two"}
    assert found["one"].tobytes() == ONE.tobytes()
    assert found["two"].tobytes() == TWO.tobytes()
    assert found["one"].dtype == np.float32


def test_more_contents_than_one_query_may_name(file):
    cache = FeatureCache("space", file)
    cache.put({str(number): np.full(2, number, np.float32) for number in range(1203)})
    found = cache.get(map(str, range(1203)))
    assert {name: vector[0] for name, vector in found.items()} == {str(number): number for number in range(1203)}


def test_spaces_are_apart(file):
    FeatureCache("one", file).put({"photo": ONE})
    FeatureCache("two", file).put({"photo": TWO})
    assert FeatureCache("three", file).get(["photo"]) == {}
    np.testing.assert_array_equal(FeatureCache("one", file).get(["photo"])["photo"], ONE)
    np.testing.assert_array_equal(FeatureCache("two", file).get(["photo"])["photo"], TWO)


def test_a_content_put_again_is_replaced(file):
    cache = FeatureCache("space", file)
    cache.put({"photo": ONE})
    cache.put({"photo": TWO})
    np.testing.assert_array_equal(cache.get(["photo"])["photo"], TWO)


def test_it_lies_in_facectl_s_home(monkeypatch, tmp_path):
    monkeypatch.setenv("FACECTL_HOME", str(tmp_path / "mine"))
    FeatureCache("space").put({"photo": ONE})
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["features.sqlite"]


def test_two_processes_at_once_lose_nothing(file, capfd):
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, file, name]) for name in "ab"]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    assert capfd.readouterr().err == ""
    wanted = {f"{name}-{number}": number for name in "ab" for number in range(40)}
    assert {name: vector[0] for name, vector in FeatureCache("space", file).get(wanted).items()} == wanted


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


@pytest.mark.parametrize("content", [b"this is no database" * 100, b"SQLite format 3\0" + b"\xff" * 4000])
def test_a_damaged_file_is_a_warning(file, capsys, content):
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    assert str(file) in assert_only_one_warning(FeatureCache("space", file), capsys)
    assert file.read_bytes() == content


def test_a_vector_cut_short_is_a_warning(file, capsys):
    FeatureCache("space", file).put({"photo": ONE})
    with sqlite3.connect(file) as database:
        database.execute("UPDATE features SET vector = ?", (ONE.tobytes()[:-3],))
    assert_only_one_warning(FeatureCache("space", file), capsys)


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
