"""ONNX files that take a constant number of images at once."""

import numpy as np
import pytest

from facectl_runtime.devices import Device
from facectl_runtime.engines import format_of
from facectl_runtime.errors import ModelError


@pytest.fixture
def engine(colours, tmp_path):
    def open_engine(graph):
        path = colours.save(tmp_path / "colours.onnx", colours.spec(), graph)
        reader = format_of(path)
        return reader.open(path, reader.read_spec(path), Device("cpu"))

    return open_engine


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (7, 8, 12, 3), dtype=np.uint8)


@pytest.mark.parametrize("batch", [1, 2, 7, 16])
def test_any_number_of_images_is_answered_as_by_a_file_of_any_batch(engine, colours, pixels, batch):
    constant, free = engine(colours.graph(batch=batch)), engine(colours.graph())
    for number in range(1, len(pixels) + 1):
        answers = constant.infer(pixels[:number])
        assert answers.shape == (number, 3)
        assert answers.dtype == np.float32
        np.testing.assert_allclose(answers, free.infer(pixels[:number]), atol=1e-6)


def test_predict_and_verify_take_such_a_file(colours, golden, paint, facectl, tmp_path):
    path = colours.save(tmp_path / "three.onnx", colours.spec(golden=golden), colours.graph(batch=3))
    assert facectl("verify", path).code == 0
    ran = facectl("predict", path, paint("a.png", "red"), paint("b.png", "blue"), "--json")
    assert [row["top"][0]["label"] for row in ran.json()["results"]] == ["red", "blue"]


def test_a_file_that_takes_no_image_is_refused(engine, colours):
    with pytest.raises(ModelError, match="its spec promises"):
        engine(colours.graph(batch=0))
