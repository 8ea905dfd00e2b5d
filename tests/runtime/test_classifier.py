"""From a model and sources to rows."""

import threading

import msgspec
import pytest

from facectl_runtime.classifier import read_spec, whole
from facectl_runtime.devices import Device
from facectl_runtime.errors import ModelError
from facectl_runtime.reading import answer_sources
from facectl_runtime.sources import Source, expand
from facectl_runtime.spec import CenterCrop, InputSpec, Threshold


def rows(model, sources, topk=1):
    found = []
    spec = read_spec(model)
    _, answered = answer_sources(model, spec, Device("cpu"), sources, whole(spec, topk))
    for _, row in answered:
        found.append(row)
        answered.done()
    return found


def named(colours, *names):
    return [Source(name, colours.png(name)) for name in names]


def test_the_dominant_colour_is_named(model, colours):
    found = rows(model, named(colours, "green", "red", "blue", "red"))
    assert [(row.source, row.label) for row in found] == [(name, name) for name in ("green", "red", "blue", "red")]
    assert all(row.probability == pytest.approx(0.988, abs=1e-3) for row in found)


def test_topk_is_ordered_and_never_more_than_there_are(model, colours):
    (row,) = rows(model, [Source("x", colours.png((90, 200, 150)))], topk=50)
    assert [ranked.label for ranked in row.top] == ["green", "blue", "red"]
    assert sum(ranked.probability for ranked in row.top) == pytest.approx(1, abs=1e-5)
    assert (row.label, row.probability) == (row.top[0].label, row.top[0].probability)


def test_below_the_threshold_the_answer_is_unknown(cautious, colours):
    grey, red = rows(cautious, named(colours, "grey", "red"), topk=2)
    assert (grey.label, grey.probability) == ("unknown", pytest.approx(1 / 3, abs=1e-5))
    assert len(grey.top) == 2
    assert red.label == "red"


def test_a_probability_at_the_threshold_is_known(colours, tmp_path, model):
    exact = rows(model, named(colours, "red"))[0].probability
    for value, label in ((exact, "red"), (exact + 1e-6, "unknown")):
        threshold = Threshold(value, "max_probability", 0.01, 100, 0.02, 100)
        path = colours.save(tmp_path / "m.onnx", colours.spec(threshold=threshold))
        assert rows(path, named(colours, "red"))[0].label == label


def test_the_models_own_resize_is_used(colours, tmp_path):
    """Red with a blue square in its middle: blue to a model that looks at the middle alone."""
    from PIL import Image

    picture = Image.new("RGB", (90, 60), "red")
    picture.paste("blue", (30, 20, 60, 40))
    picture.save(tmp_path / "x.png")
    whole = colours.save(tmp_path / "whole.onnx", colours.spec())
    middle = colours.save(tmp_path / "middle.onnx", colours.spec(input=InputSpec(12, 8, CenterCrop(0.2))))
    assert [rows(path, expand([str(tmp_path / "x.png")]))[0].label for path in (whole, middle)] == ["red", "blue"]


def test_an_error_keeps_its_place(model, colours):
    sources = [*named(colours, "red"), Source("b", b"no picture"), Source("c", None, "why"), *named(colours, "blue")]
    found = rows(model, sources)
    assert [row.label for row in found] == ["red", None, None, "blue"]
    assert "not an image" in found[1].error
    assert found[2].error == "why"
    assert msgspec.to_builtins(found[2]) == {"source": "c", "error": "why"}


def test_answers_do_not_depend_on_the_company_they_keep(model, colours):
    many = rows(model, named(colours, *["red", "green", "blue", "grey"] * 10), topk=3)
    alone = [rows(model, named(colours, name), topk=3)[0] for name in ("red", "green", "blue", "grey")]
    assert many == alone * 10


def test_another_task_is_refused(embedder):
    with pytest.raises(ModelError, match="task is embed"):
        read_spec(embedder)


def test_no_sources_give_no_rows(model):
    assert rows(model, []) == []


def test_a_row_comes_before_a_slow_source_gives_the_next(model, colours):
    answered = threading.Event()

    def slow():
        yield from named(colours, "red")
        assert answered.wait(10), "the first row waits for the second source"
        yield from named(colours, "blue")

    spec = read_spec(model)
    _, found = answer_sources(model, spec, Device("cpu"), slow(), whole(spec, 1))
    assert next(found)[1].label == "red"
    answered.set()
    assert [row.label for _, row in found] == ["blue"]


def test_an_answer_that_is_no_number_is_an_error(colours, tmp_path):
    """The logarithm of no green and no blue at all; grey has some of each."""
    path = colours.save(tmp_path / "log.onnx", colours.spec(), colours.graph(last="Log"))
    red, grey = rows(path, named(colours, "red", "grey"))
    assert (red.label, red.probability) == (None, None)
    assert "no number" in red.error
    assert grey.error is None
