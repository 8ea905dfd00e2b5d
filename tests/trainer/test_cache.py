"""The feature cache: shared by runs, and never in their way."""

import os
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from facectl_runtime.errors import UsageError
from facectl_trainer.data import cache as cache_module
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


def size_of(file):
    return sum(path.stat().st_size for path in file.parent.iterdir())


def fill(cache, names, length=2000):
    for name in names:
        cache.put({f"{name}-{number}": np.full(length, number, np.float32) for number in range(32)})


def names(name):
    return [f"{name}-{number}" for number in range(32)]


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


def test_two_processes_that_find_it_damaged_both_go_on(file, capfd):
    file.parent.mkdir(parents=True)
    file.write_bytes(b"this is no database" * 100)
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, file, name]) for name in "ab"]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    assert "going on without" not in capfd.readouterr().err
    assert {"a-39", "b-39"} == set(FeatureCache("space", file).get(["a-39", "b-39"]))


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


def test_ten_thousand_vectors_are_read_in_under_a_second(file):
    vectors = np.random.default_rng(0).random((10_000, 1280), np.float32)
    cache = FeatureCache("space", file)
    cache.put(dict(zip(map(str, range(10_000)), vectors, strict=True)))
    started = time.perf_counter()
    found = cache.get(map(str, range(10_000)))
    assert time.perf_counter() - started < 1  # 0.1 s on two cores
    assert len(found) == 10_000


def test_no_space_and_content_are_taken_for_others(file):
    FeatureCache("ab", file).put({"c": ONE, "sha256:flip": ONE})
    FeatureCache("a", file).put({"bc": TWO, "sha256": TWO})
    assert FeatureCache("ab", file).get(["bc", "sha256"]) == {}
    assert FeatureCache("a", file).get(["bc"])["bc"].tobytes() == TWO.tobytes()


@pytest.mark.parametrize("length", [100, 1280, 2048, 2500, 4094, 5000, 20_000, 200_000])
def test_as_many_as_it_says_it_can_hold_it_holds(file, monkeypatch, length):
    monkeypatch.setenv("FACECTL_CACHE_BYTES", "8M")
    cache = FeatureCache("space", file)
    count = cache.fits(4 * length)
    assert count * 4 * length > 0.4 * cache.limit
    for number in range(0, count, 32):
        cache.put({str(each): np.full(length, each, np.float32) for each in range(number, min(number + 32, count))})
    assert len(cache.get(map(str, range(count)))) == count
