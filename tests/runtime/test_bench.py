"""Measuring models side by side: what is counted, and what is held against what."""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from time import sleep

import msgspec
import numpy as np
import pytest

from facectl_runtime.bench import others, process
from facectl_runtime.bench.benchmark import Benchmark, Measured, Throughput, benchmark
from facectl_runtime.bench.compare import Opened, agreement
from facectl_runtime.bench.latency import Times
from facectl_runtime.bench.process import processes, size_of
from facectl_runtime.bench.table import doubts, names_of
from facectl_runtime.devices import Device
from facectl_runtime.engines.base import Engine
from facectl_runtime.errors import ModelError
from facectl_runtime.evaluate import Answered
from facectl_runtime.labelled import Image
from facectl_runtime.metrics import wilson

CPU = Device("cpu")


def engine(counts, batch=None):
    """Make an engine that answers alike whatever it sees, and keeps how many images it saw."""

    def infer(pixels):
        counts.append(len(pixels))
        return np.full((len(pixels), 3), 1 / 3, np.float32)

    return Engine("fake 1.0", "cpu", infer, batch)


@pytest.fixture
def measured(tmp_path, colours, monkeypatch):
    """Measure an engine of any batch beside one of a constant batch of 4, without starting processes."""
    monkeypatch.setattr("facectl_runtime.bench.benchmark._started", lambda *_: {})
    seen, opened = ([], []), []
    for name, counts, batch in (("any.onnx", seen[0], None), ("four.onnx", seen[1], 4)):
        (tmp_path / name).write_bytes(b"12345")
        opened.append(Opened(tmp_path / name, colours.spec(), engine(counts, batch)))
    return benchmark(opened, None, [1, 3, 8], 0.02, CPU, quiet=True), seen


def test_each_batch_is_measured_and_a_constant_one_alone(measured):
    found, (any_number, constant) = measured
    assert set(any_number) == {1, 3, 8}
    assert set(constant) == {4}
    assert [[rate.batch for rate in one.throughput] for one in found.models] == [[1, 3, 8], [4]]
    assert [one.batch for one in found.models] == [None, 4]


def test_rates_and_latencies_are_of_one_image(measured):
    found, _ = measured
    single, constant = found.models
    assert single.throughput[0].images_per_second == pytest.approx(1000 / single.latency.median, rel=1e-3)
    assert constant.throughput[0].images_per_second == pytest.approx(1000 / constant.latency.median, rel=1e-3)
    assert single.ratio == 1
    assert constant.ratio == pytest.approx(constant.latency.median / single.latency.median, rel=0.5)
    assert [one.bytes for one in found.models] == [5, 5]


def answered(paths, rows):
    images = [Image(path, "a") for path in paths]
    return Answered(images, np.zeros(len(paths), int), np.array(rows, np.float32), [])


def test_agreement_is_of_the_images_that_both_have_answered():
    first = answered("wxyz", [[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.1, 0.9]])
    other = answered("zyx", [[0.2, 0.8], [0.55, 0.45], [0.8, 0.2]])
    found = agreement(first, other)
    assert (found.share, found.n, found.interval) == (2 / 3, 3, wilson(2, 3))
    assert found.largest == pytest.approx(0.15)


def test_a_process_is_timed_from_start_to_exit_with_its_own_memory(model, monkeypatch):
    monkeypatch.setattr(process, "PROCESSES", 1)
    ballast, told = np.ones(300_000_000, np.uint8), []  # bytes that are not the process's
    found = processes([model], CPU, told.append)[model]
    assert 0.05 < found.cold_start.least <= found.cold_start.median <= found.cold_start.most < 60
    assert found.cold_start.runs == 1
    assert sum(told) == pytest.approx(1)
    if found.peak_bytes is not None:
        assert 2e7 < found.peak_bytes < ballast.nbytes


def test_a_process_that_fails_says_of_which_model_and_why(tmp_path):
    path = tmp_path / "no.onnx"
    path.touch()
    with pytest.raises(ModelError, match=r"no\.onnx: facectl predict fails on it: .*no\.onnx"):
        processes([path], CPU, lambda _: None)


@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in Linux's /proc")
@pytest.mark.parametrize("how", ["hangs", "is interrupted"])
def test_of_a_process_that_does_not_end_nothing_is_left(tmp_path, monkeypatch, how):
    def running():
        found = []
        for file in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):  # ended meanwhile
                found += [file] if os.fsencode(path) in file.read_bytes() else []
        return found

    def interrupted(*_, **__):
        while len(running()) < 2:  # launcher and launched
            sleep(0.02)
        raise KeyboardInterrupt

    path = tmp_path / "hangs.onnx"
    os.mkfifo(path)  # whoever opens it waits for who writes into it
    if how == "hangs":
        monkeypatch.setattr(process, "LIMIT", 1.0)
        expected = pytest.raises(ModelError, match=r"hangs\.onnx: facectl predict does not end within 1 s")
    else:
        monkeypatch.setattr(subprocess.Popen, "communicate", interrupted)
        expected = pytest.raises(KeyboardInterrupt)
    with expected:
        processes([path], CPU, lambda _: None)
    for _ in range(100):  # what the kernel has yet to clear away
        if not running():
            break
        sleep(0.05)
    assert running() == []


def test_the_size_of_a_folder_is_that_of_all_files_in_it(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "one").write_bytes(b"123")
    (tmp_path / "a" / "b" / "two").write_bytes(b"4567")
    assert size_of(tmp_path / "a") == 7
    assert size_of(tmp_path / "a" / "one") == 3


def test_what_others_take_is_told_without_ones_own_work(tmp_path, monkeypatch):
    stat, own = tmp_path / "stat", iter([(1.0, 0.0, 0.0, 0.0, 9.0), (1.0, 0.5, 2.0, 0.5, 99.0)])
    monkeypatch.setattr(others, "_STAT", stat)
    monkeypatch.setattr(others.os, "times", lambda: next(own))
    monkeypatch.setattr(others.os, "sysconf", lambda _: 100, raising=False)
    stat.write_text("cpu  100 0 100 500 50 0 0 0 0 0\ncpu0 1 2\n")
    share = others.watch_others()
    stat.write_text("cpu  400 100 300 700 150 0 0 100 77 0\ncpu0 1 2\n")
    # Of 10 seconds 3 were idle or waiting, and 3 were this process's and its children's.
    assert share() == pytest.approx(0.4)


def test_where_the_system_does_not_say_nothing_is_told_of_others(tmp_path, monkeypatch):
    monkeypatch.setattr(others, "_STAT", tmp_path / "none")
    assert others.watch_others()() is None


def made(**changes):
    one = Measured("a/x.onnx", "fp32", "e 1.0", "cpu", 5, None, Times(1, 2, 9), 1.0, 0.02, (), None, None)
    found = Benchmark("auto", 2, "machine", 1.0, 0.01, None, {}, (one, msgspec.structs.replace(one, model="b/y.onnx")))
    return msgspec.structs.replace(found, **changes)


def test_a_quiet_machine_is_not_doubted():
    assert doubts(made()) == []
    assert doubts(made(busy_elsewhere=None)) == []


def test_an_unsteady_and_a_busy_machine_are_doubted():
    first, second = made().models
    said = doubts(made(busy_elsewhere=0.4, models=(first, msgspec.structs.replace(second, spread=0.6))))
    assert len(said) == 2
    assert "y.onnx spans 60%" in said[0]
    assert "40%" in said[1]
    several = msgspec.structs.replace(first, throughput=(Throughput(8, 100.0, 0.7, 20),))
    assert "x.onnx spans 70%" in doubts(made(models=(several, second)))[0]


def test_files_of_one_name_are_told_apart_by_their_folders():
    first, second = made().models
    assert names_of(made()) == ["x.onnx", "y.onnx"]
    same = (first, msgspec.structs.replace(second, model="b/x.onnx"))
    assert names_of(made(models=same)) == ["a/x.onnx", "b/x.onnx"]
