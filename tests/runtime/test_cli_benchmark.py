"""The command that measures models side by side, as a person reads it and as a program does."""

import signal
import sys
import time

import numpy as np
import pytest
from onnx import numpy_helper
from PIL import Image

from facectl_runtime.bench import process
from facectl_runtime.metrics import wilson

FAST = ["--seconds", 0.02, "--batch", "2,1"]


@pytest.fixture
def no_processes(monkeypatch):
    """Leave out what takes longest, and is measured in other tests."""
    monkeypatch.setattr("facectl_runtime.bench.benchmark._started", lambda *_: {})


@pytest.fixture
def never(monkeypatch):
    """Let nothing be measured: what is refused is refused before."""

    def fail(*_):
        raise AssertionError("measured")

    monkeypatch.setattr("facectl_runtime.bench.benchmark.in_turn", fail)
    monkeypatch.setattr("facectl_runtime.bench.benchmark.answer_all", fail)


@pytest.fixture
def swapped(tmp_path, colours):
    """Make a model that takes green for blue and the other way."""
    graph = colours.graph()
    weights = np.eye(3, dtype=np.float32)[:, [0, 2, 1]] / 50
    graph.graph.initializer[1].CopyFrom(numpy_helper.from_array(weights, "weights"))
    return colours.save(tmp_path / "swapped.onnx", colours.spec(), graph)


def test_json_holds_what_is_promised(model, swapped, classes, facectl, monkeypatch):
    monkeypatch.setattr(process, "PROCESSES", 1)
    ran = facectl("benchmark", model, swapped, "--data", classes, "--threads", 1, "--json", *FAST)
    assert ran.code == 0, ran.err
    found = ran.json()
    assert (found["device_requested"], found["threads"]) == ("auto", 1)
    assert found["data"] == f"all images of {classes}"
    assert found["unreadable"] == {}
    assert found["busy_elsewhere"] is None or 0 <= found["busy_elsewhere"] <= 1
    first, second = found["models"]
    for path, one in ((model, first), (swapped, second)):
        assert (one["model"], one["device"], one["batch"]) == (str(path), "cpu", None)
        assert one["engine"].startswith("onnxruntime ")
        assert one["bytes"] == path.stat().st_size
        assert 0 < one["latency"]["median"] <= one["latency"]["p95"]
        assert [rate["batch"] for rate in one["throughput"]] == [1, 2]
        assert one["process"]["cold_start"]["runs"] == 1
        assert one["process"]["cold_start"]["median"] > 0.05
    assert first["ratio"] == 1
    assert first["quality"]["accuracy"] == {"accuracy": 5 / 6, "n": 6, "interval": list(wilson(5, 6))}
    assert second["quality"]["accuracy"]["accuracy"] == 2 / 6
    assert first["quality"]["agreement"] is None
    agreement = second["quality"]["agreement"]
    assert (agreement["share"], agreement["n"], agreement["interval"]) == (3 / 6, 6, list(wilson(3, 6)))
    assert 0.9 < agreement["largest"] <= 1


@pytest.mark.usefixtures("no_processes")
def test_text_says_the_same_and_larger_work_takes_longer(model, colours, tmp_path, facectl):
    wide = colours.spec(input=colours.spec().input.__class__(600, 600, colours.spec().input.resize))
    slow = colours.save(tmp_path / "slow.onnx", wide, colours.graph(width=600, height=600))
    ran = facectl("benchmark", model, slow, *FAST)
    assert ran.code == 0, ran.err
    times, throughput = (table.splitlines() for table in ran.out.split("\n\n"))
    assert [line.split()[0] for line in times[1:]] == ["colours.onnx", "slow.onnx"]
    assert times[1].split()[3] == "1.00"
    assert float(times[2].split()[3]) > 2
    assert throughput[0].split()[-2:] == ["1", "2"]
    assert float(throughput[1].split()[1]) > float(throughput[2].split()[1])
    assert "device asked for: auto" in ran.err
    assert "rounds of latency: 11 in" in ran.err


@pytest.mark.usefixtures("no_processes")
def test_a_model_whose_batch_is_constant_is_measured_by_it(model, colours, tmp_path, facectl):
    four = colours.save(tmp_path / "four.onnx", colours.spec(), colours.graph(batch=4))
    found = facectl("benchmark", four, model, "--json", *FAST).json()
    assert [[rate["batch"] for rate in one["throughput"]] for one in found["models"]] == [[4], [1, 2]]
    assert found["models"][0]["batch"] == 4


def test_an_embedder_is_timed_but_not_started(embedder, facectl):
    ran = facectl("benchmark", embedder, "--json", *FAST)
    assert ran.code == 0, ran.err
    assert ran.json()["models"][0]["process"] is None
    assert ran.json()["models"][0]["latency"]["median"] > 0
    assert "–" in facectl("benchmark", embedder, *FAST).out


@pytest.mark.usefixtures("no_processes")
def test_what_cannot_be_read_is_left_out_and_named(model, classes, facectl):
    (classes / "red" / "3.jpg").write_text("no picture")
    ran = facectl("benchmark", model, "--data", classes, *FAST)
    assert ran.code == 3
    assert "left out: 1: red/3.jpg: " in ran.out
    found = facectl("benchmark", model, "--data", classes, "--json", *FAST)
    assert found.code == 3
    assert list(found.json()["unreadable"]) == ["red/3.jpg"]
    assert found.json()["models"][0]["quality"]["accuracy"]["n"] == 6


@pytest.mark.usefixtures("never")
class TestRefused:
    """Refusals, all before anything is measured."""

    def test_a_file_that_is_no_model_is_named(self, model, tmp_path, facectl):
        broken = tmp_path / "broken.onnx"
        broken.write_bytes(model.read_bytes()[:-50])
        for path in (broken, tmp_path / "missing.onnx"):
            ran = facectl("benchmark", model, path, *FAST)
            assert ran.code == 4
            assert path.name in ran.error()

    def test_other_labels_are_named_by_the_first_that_differs(self, model, colours, tmp_path, facectl):
        other = colours.save(tmp_path / "other.onnx", colours.spec(labels=("red", "blue", "green")))
        ran = facectl("benchmark", model, other)
        assert ran.code == 2
        assert ran.error().startswith(f"{other}: label 2 is 'blue', and 'green' in {model};")

    def test_more_labels_are_another_set(self, model, colours, tmp_path, facectl):
        four = colours.spec(labels=("red", "green", "blue", "grey"), output=colours.spec().output.__class__(
            "probabilities", 4))  # fmt: skip
        other = colours.save(tmp_path / "four.onnx", four, colours.graph(4))
        ran = facectl("benchmark", model, other)
        assert ran.code == 2
        assert f"{other}: label 4 is 'grey', and missing in {model};" in ran.error()

    def test_another_task_is_not_compared(self, model, embedder, facectl):
        ran = facectl("benchmark", model, embedder)
        assert ran.code == 2
        assert "its task is embed" in ran.error()

    def test_an_embedder_has_no_accuracy(self, embedder, classes, facectl):
        ran = facectl("benchmark", embedder, "--data", classes)
        assert ran.code == 4
        assert "leave out --data" in ran.error()

    def test_one_model_twice_is_a_mistake(self, model, facectl, monkeypatch):
        monkeypatch.chdir(model.parent)
        ran = facectl("benchmark", model, model.name)
        assert ran.code == 2
        assert "given twice" in ran.error()

    @pytest.mark.parametrize("batch", ["0", "", "1,,2", "x", "-1", "1.5", "1025", "²", "9" * 5000])
    def test_a_batch_that_is_none_is_named(self, model, facectl, batch):
        ran = facectl("benchmark", model, f"--batch={batch}")
        assert ran.code == 2
        assert "1 to 1024" in ran.error()

    @pytest.mark.parametrize("seconds", [0, -1, "nan", "inf", 3601])
    def test_a_time_that_is_none_is_named(self, model, facectl, seconds):
        ran = facectl("benchmark", model, f"--seconds={seconds}")
        assert ran.code == 2
        assert "at most 3600" in ran.error()

    def test_data_that_is_not_there_is_named(self, model, tmp_path, facectl):
        assert facectl("benchmark", model, "--data", tmp_path / "none").code == 2
        assert "--data" in facectl("benchmark", model, "--part", "test").error()

    def test_a_picture_that_cannot_be_written_is_refused_first(self, model, tmp_path, facectl):
        pytest.importorskip("matplotlib")
        there = tmp_path / "there.png"
        there.write_text("precious")
        (tmp_path / "folder.png").mkdir()
        wrong = {there: "already there", tmp_path / "folder.png": "a folder", tmp_path / "a.pdf": ".png or .svg"}
        for path, why in {**wrong, there / "a.png": "cannot be written"}.items():
            ran = facectl("benchmark", model, "--plot", path)
            assert ran.code == 2
            assert why in ran.error()
        assert there.read_text() == "precious"

    def test_without_matplotlib_the_way_to_get_it_is_named(self, model, tmp_path, facectl, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        ran = facectl("benchmark", model, "--plot", tmp_path / "a.png")
        assert ran.code == 2
        assert ran.error() == "--plot needs matplotlib; install it with: pip install matplotlib"


@pytest.mark.usefixtures("no_processes")
def test_a_picture_is_drawn(model, swapped, classes, tmp_path, facectl):
    pytest.importorskip("matplotlib")
    target = tmp_path / "pictures" / "a.png"
    assert facectl("benchmark", model, swapped, "--data", classes, "--plot", target, *FAST).code == 0
    picture = Image.open(target)
    assert picture.width > 1000
    assert len(picture.convert("RGB").getcolors(1 << 24)) > 20
    assert [path.name for path in target.parent.iterdir()] == ["a.png"]


@pytest.mark.usefixtures("no_processes")
def test_a_picture_is_replaced_where_that_is_asked_for(model, tmp_path, facectl):
    pytest.importorskip("matplotlib")
    target = tmp_path / "a.svg"
    target.write_text("old")
    assert facectl("benchmark", model, "--plot", target, "--force", *FAST).code == 0
    assert target.read_text().startswith("<?xml")


def test_interrupted_it_ends_at_once_and_leaves_nothing(model, tmp_path, start):
    program = start("benchmark", model, "--seconds", 100, "--plot", tmp_path / "a.png")
    time.sleep(1.5)
    assert program.poll() is None
    program.send_signal(signal.SIGINT)
    out, err = program.communicate(timeout=30)
    assert program.returncode == 130
    assert out == ""
    assert "Traceback" not in err
    assert err.splitlines()[-1] == "facectl: interrupted"
    assert not (tmp_path / "a.png").exists()
