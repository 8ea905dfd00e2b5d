"""The feature cache gives back what was put, bit for bit, and is shared by runs."""

import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing

import numpy as np

from cached import ONE, TWO, WRITER
from facectl_trainer.data import cache as cache_module
from facectl_trainer.data.cache import FeatureCache


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


def test_a_file_that_another_run_begins_meanwhile_is_shared(file, capsys, monkeypatch):
    create = cache_module._create

    def other_run_is_faster(database):
        monkeypatch.setattr(cache_module, "_create", create)
        FeatureCache("space", file).put({"photo": ONE})
        create(database)

    monkeypatch.setattr(cache_module, "_create", other_run_is_faster)
    FeatureCache("space", file).put({"another": TWO})
    assert set(FeatureCache("space", file).get(["photo", "another"])) == {"photo", "another"}
    assert capsys.readouterr().err == ""


def test_it_waits_while_another_run_writes(file, capsys):
    FeatureCache("space", file).put({"photo": ONE})
    with closing(sqlite3.connect(file, check_same_thread=False, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        release = threading.Timer(0.3, lambda: other.execute("COMMIT"))
        release.start()
        FeatureCache("space", file).put({"another": TWO})
        release.join()
    assert set(FeatureCache("space", file).get(["photo", "another"])) == {"photo", "another"}
    assert capsys.readouterr().err == ""


def test_a_run_that_is_killed_leaves_a_cache_that_works(file, capsys):
    FeatureCache("space", file).put({"photo": ONE})
    endless = WRITER.replace("range(40)", "range(10**9)").replace("full(8,", "full(200_000,")
    run = subprocess.Popen([sys.executable, "-c", endless, file, "a"])
    while len(FeatureCache("space", file).get(["a-0", "a-1"])) < 2:
        assert run.poll() is None
    run.kill()
    run.wait()
    cache = FeatureCache("space", file)
    cache.put({"another": TWO})
    assert set(cache.get(["photo", "another"])) == {"photo", "another"}
    assert capsys.readouterr().err == ""


def test_ten_thousand_vectors_are_read_in_a_moment(file):
    vectors = np.random.default_rng(0).random((10_000, 1280), np.float32)
    cache = FeatureCache("space", file)
    cache.put(dict(zip(map(str, range(10_000)), vectors, strict=True)))
    started = time.perf_counter()
    found = cache.get(map(str, range(10_000)))
    assert time.perf_counter() - started < 5  # 0.1 s on two idle cores
    assert len(found) == 10_000


def test_no_space_and_content_are_taken_for_others(file):
    FeatureCache("ab", file).put({"c": ONE, "sha256:flip": ONE})
    FeatureCache("a", file).put({"bc": TWO, "sha256": TWO})
    assert FeatureCache("ab", file).get(["bc", "sha256"]) == {}
    assert FeatureCache("a", file).get(["bc"])["bc"].tobytes() == TWO.tobytes()
