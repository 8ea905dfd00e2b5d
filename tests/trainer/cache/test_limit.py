"""The feature cache keeps to its limit, and drops what was not used for longest."""

import sqlite3
import subprocess
import sys
from contextlib import closing

import numpy as np
import pytest

from cached import ONE, fill, names, size_of
from facectl_runtime.errors import UsageError
from facectl_trainer.data.cache import FeatureCache


def test_it_keeps_to_its_limit_and_drops_what_was_not_used_for_longest(file, monkeypatch, capsys):
    monkeypatch.setenv("FACECTL_CACHE_BYTES", "2M")  # some seven of the batches below, 256 kB each
    cache = FeatureCache("space", file)
    fill(cache, "abcde")
    assert len(FeatureCache("space", file).get(names("a"))) == 32  # used again
    for name in "fghi":
        fill(cache, name)
        assert size_of(file) <= 2 * 2**20
    held = {name: len(cache.get(names(name))) for name in "abcdefghi"}
    assert held["a"] == held["i"] == held["h"] == held["g"] == 32
    assert held["b"] == 0
    assert list(held.values())[1:] == sorted(list(held.values())[1:])
    assert all(vector[0] == int(key[2:]) for key, vector in cache.get(names("i")).items())
    assert capsys.readouterr().err == ""


def test_a_lower_limit_makes_the_file_shrink(file, monkeypatch):
    fill(FeatureCache("space", file), "abcdefgh")
    assert size_of(file) > 2 * 2**20
    monkeypatch.setenv("FACECTL_CACHE_BYTES", "1000k")
    fill(FeatureCache("space", file), "i")
    assert size_of(file) <= 1000 * 2**10
    assert len(FeatureCache("space", file).get(names("i"))) == 32


@pytest.mark.parametrize("size", [1, 4_080, 4_096, 16_000, 200_000])
def test_every_length_of_vector_comes_back_and_stays_below_the_limit(file, monkeypatch, size):
    monkeypatch.setenv("FACECTL_CACHE_BYTES", "3MiB")
    cache = FeatureCache("space", file)
    for number in range(12):
        cache.put({str(number): np.arange(number, number + size, dtype=np.float32)})
    np.testing.assert_array_equal(cache.get(["11"])["11"], np.arange(11, 11 + size, dtype=np.float32))
    assert size_of(file) <= 3 * 2**20


def test_more_at_once_than_the_limit_is_a_warning(file, monkeypatch, capsys):
    monkeypatch.setenv("FACECTL_CACHE_BYTES", "100000")
    cache = FeatureCache("space", file)
    fill(cache, "ab")
    assert "FACECTL_CACHE_BYTES allows 100,000" in capsys.readouterr().err


def test_a_limit_of_nothing_turns_it_off(file, monkeypatch, capsys):
    monkeypatch.setenv("FACECTL_CACHE_BYTES", "0")
    cache = FeatureCache("space", file)
    cache.put({"photo": ONE})
    assert cache.get(["photo"]) == {}
    assert not file.exists()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("text", ["much", "-1", "4 G B", "1e9", "٣", "4P", "9" * 40])
def test_a_limit_that_is_no_size_is_refused(file, monkeypatch, text):
    monkeypatch.setenv("FACECTL_CACHE_BYTES", text)
    with pytest.raises(UsageError, match="500M or 4G"):
        FeatureCache("space", file)


CROWDED = """
import os, sys
import numpy as np
from pathlib import Path
os.environ["FACECTL_CACHE_BYTES"] = "2M"
from facectl_trainer.data.cache import FeatureCache
for number in range(30):
    cache = FeatureCache("space", Path(sys.argv[1]))
    batch = {f"{sys.argv[2]}-{number}-{i}": np.full(2000, number * 32 + i, np.float32) for i in range(16)}
    cache.put(batch)
    for before in (number, number - 1):
        for key, vector in cache.get(f"{name}-{before}-{i}" for name in "ab" for i in range(16)).items():
            _, n, i = key.split("-")
            assert vector.shape == (2000,) and (vector == int(n) * 32 + int(i)).all(), key
print("done")
"""


def test_two_processes_at_their_limit_read_and_write_what_is_right(file):
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", CROWDED, file, name], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for name in "ab"
    ]
    assert [run.communicate(timeout=120) for run in runs] == [("done\n", "")] * 2
    assert size_of(file) <= 2 * 2**20
    with closing(sqlite3.connect(file)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.parametrize("length", [100, 1280, 2048, 2500, 4094, 5000, 20_000, 200_000])
def test_as_many_as_it_says_it_can_hold_it_holds(file, monkeypatch, length):
    monkeypatch.setenv("FACECTL_CACHE_BYTES", "8M")
    cache = FeatureCache("space", file)
    count = cache.fits(4 * length)
    assert count * 4 * length > 0.4 * cache.limit
    for number in range(0, count, 32):
        cache.put({str(each): np.full(length, each, np.float32) for each in range(number, min(number + 32, count))})
    assert len(cache.get(map(str, range(count)))) == count
