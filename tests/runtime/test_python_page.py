"""The examples of docs/python.md run as they stand, one after the other."""

import json
import re
import threading
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import facectl_runtime
from clips import picture, write_clip
from facectl_runtime.cli import run
from streams import mjpeg

PAGE = (Path(__file__).parents[2] / "docs" / "python.md").read_text(encoding="utf-8")


def of_others():
    """Mean of the pixels, 0 to 1 less the mean: float32 N × 3 × height × width → logits."""
    nodes = [
        helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=0),
        helper.make_node("Softmax", ["mean"], ["y"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 12])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(np.array([2, 3], np.int64), "axes")],
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)])


@pytest.fixture(autouse=True)
def _folder(tmp_path, colours, monkeypatch):
    monkeypatch.chdir(tmp_path)
    colours.save(Path("zoo.onnx"), colours.spec())
    Path("a.jpg").write_bytes(colours.png("red"))
    Path("b.png").write_bytes(colours.png("blue"))
    Path("photographs").mkdir()
    Path("photographs", "c.png").write_bytes(colours.png("green"))
    Path("photographs", "d.png").write_bytes(b"no picture")
    write_clip(Path("clip.mp4"), ["red"] * 30 + ["blue"] * 15)
    onnx.save(of_others(), "other.onnx")


def test_every_example_runs(capsys):
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 5
    names = {}
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), names)
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("a.jpg red 0.9")
    assert said[1].startswith("b.png blue 0.9")
    assert said[2] == "photographs/c.png None green"
    assert said[3].startswith("photographs/d.png is not an image")
    assert said[4:7] == ["clip.mp4 0.0 red", "clip.mp4 0.5 red", "clip.mp4 1.0 blue"]
    assert said[7].startswith("missing.jpg: cannot be read")
    assert names["other"].predict("b.png")[0].label == "blue"


def test_the_numbers_are_those_of_the_command_line(capsys):
    run(["predict", "zoo.onnx", "a.jpg", "b.png", "--json", "--topk", "3"])
    said = json.loads(capsys.readouterr().out)["results"]
    rows = facectl_runtime.load("zoo.onnx").predict(["a.jpg", "b.png"], topk=3)
    assert [(row["label"], [one["probability"] for one in row["top"]]) for row in said] == [
        (row.label, [one.probability for one in row.top]) for row in rows
    ]


def test_a_batch_is_an_array_of_four_dimensions():
    model = facectl_runtime.load("zoo.onnx")
    batch = np.zeros((20, 6, 5, 3), np.uint8)
    batch[:, :, :, 1] = 255
    assert [row.label for row in model.predict(batch)] == ["green"] * 20
    assert [row.label for row in model.predict(batch[0])] == ["green"]
    assert model.predict([]) == []


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        (3, TypeError, "not iterable"),
        ([3], TypeError, r"images\[0\] is of type int"),
        (np.zeros((4, 4), np.uint8), ValueError, r"uint8 \(4, 4\)"),
        (np.zeros((4, 4, 3)), ValueError, "float64"),
        (b"", ValueError, r"images\[0\]: is not an image"),
        (["a.jpg", "photographs/d.png"], ValueError, "photographs/d.png: is not an image"),
    ],
)
def test_what_is_no_picture_is_said(given, error, words):
    with pytest.raises(error, match=words):
        facectl_runtime.load("zoo.onnx").predict(given)


def test_a_pillow_image_is_turned_upright_and_put_on_white():
    """As its file would be: the same rows for what is opened and for what is read."""
    picture = Image.new("RGBA", (20, 10), (0, 0, 0, 0))
    picture.paste((255, 0, 0, 255), (0, 0, 10, 10))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save("e.png", exif=exif)
    model = facectl_runtime.load("zoo.onnx")
    file, opened = model.predict(["e.png", Image.open("e.png")], topk=3)
    assert file.top == opened.top


def wait_for_threads(before):
    """Wait until only these threads are left; one that is only about to start cannot be joined."""
    until = time.monotonic() + 10
    while left := set(threading.enumerate()) - before:
        assert time.monotonic() < until, left
        time.sleep(0.01)


def test_rows_can_be_closed_while_they_are_waited_for():
    """A camera that is not there: another thread ends the wait, and nothing stays behind."""
    before = set(threading.enumerate())
    said = threading.Event()
    rows = facectl_runtime.load("zoo.onnx").stream("http://127.0.0.1:9/", say=lambda _: said.set())
    got = []
    waiting = threading.Thread(target=lambda: got.extend(rows))
    waiting.start()
    assert said.wait(10)
    rows.close()
    waiting.join(10)
    wait_for_threads(before)
    assert got == []
    assert rows.counts()[0].seen == 0


@pytest.mark.parametrize("wrong", [{"words": [["a.jpg"]]}, {"every": 25}, {"start": 1.5}])
def test_what_is_no_word_is_refused(wrong):
    words = wrong.pop("words", ["a.jpg"])
    with pytest.raises(TypeError, match="give a text"):
        facectl_runtime.load("zoo.onnx").stream(*words, **wrong)


@pytest.mark.parametrize(
    "wrong", [{"exclude": "thumbs"}, {"timeout": "5s"}, {"timeout": 0}, {"retries": -1}, {"retries": "3"}]
)
def test_options_of_another_type_are_refused(wrong):
    with pytest.raises(TypeError, match=rf"{next(iter(wrong))} is .*; give "):
        facectl_runtime.load("zoo.onnx").stream("a.jpg", **wrong)


def test_a_camera_is_opened_when_the_first_row_is_asked_for():
    """Else that row would be as old as what was done before."""
    model = facectl_runtime.load("zoo.onnx")
    with mjpeg([picture("red")] * 100, fps=20) as stream, model.stream(stream.address, retries=0) as rows:
        time.sleep(0.3)
        assert stream.connections == 0
        assert next(rows).label == "red"


def test_an_error_of_what_is_told_ends_the_rows():
    def say(line):
        raise ZeroDivisionError(line)

    with pytest.raises(ZeroDivisionError):
        next(facectl_runtime.load("zoo.onnx").stream("http://127.0.0.1:9/", say=say))


def test_a_stream_that_is_left_closes_what_it_opened():
    before = set(threading.enumerate())
    rows = facectl_runtime.load("zoo.onnx").stream("clip.mp4")
    assert next(rows).label == "red"
    rows.close()
    wait_for_threads(before)
