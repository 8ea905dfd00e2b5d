"""The detector on drawn pictures: faces are found where they are, and what is no picture or no network is refused."""

import numpy as np
import pytest
from PIL import Image

from facectl_runtime.devices import Device
from facectl_runtime.errors import ImageError, ModelError
from facectl_runtime.faces.detect import Detector
from red_cells import POINTS, red_cells

CPU = Device("cpu", threads=1)


@pytest.fixture(scope="module")
def finds_red(tmp_path_factory):
    return Detector(red_cells(tmp_path_factory.mktemp("red") / "red.onnx"), CPU)


def square(colour, left, upper, side, size):
    picture = Image.new("RGB", size)
    picture.paste(colour, (left, upper, left + side, upper + side))
    return picture


@pytest.mark.parametrize(
    ("size", "left", "upper", "side"),
    [
        ((320, 240), 160, 64, 32),
        ((640, 480), 320, 64, 32),
        ((160, 120), 80, 32, 16),
        ((1920, 1440), 480, 96, 48),
        ((2560, 1920), 640, 128, 64),
    ],
)
def test_places_are_in_pixels_of_the_picture_whatever_its_size(finds_red, size, left, upper, side):
    (found,) = finds_red.detect(square("red", left, upper, side, size))
    assert found.box == pytest.approx((left, upper, left + side, upper + side), abs=1e-3)
    expected = [value for x, y in POINTS for value in (left + x * side, upper + y * side)]
    assert np.ravel(found.landmarks) == pytest.approx(expected, abs=1e-3)
    assert found.score == pytest.approx(1, abs=0.05)  # the filter blurs its border


@pytest.mark.parametrize(("red", "faces"), [(170, 0), (190, 1)])
def test_what_scores_below_0_7_is_no_face(finds_red, red, faces):
    assert len(finds_red.detect(square((red, 0, 0), 320, 64, 32, (640, 480)))) == faces


def test_a_face_that_is_large_for_a_level_is_left_to_the_next(tmp_path):
    detector = Detector(red_cells(tmp_path / "large.onnx", side=384), CPU)
    (found,) = detector.detect(square("red", 128, 128, 64, (320, 320)))  # four cells, and one at half the size
    assert np.ravel(found.landmarks) == pytest.approx([128 + 64 * value for point in POINTS for value in point])


@pytest.mark.parametrize("colour", ["blue", "lime"])
def test_colours_are_not_swapped(finds_red, colour):
    assert finds_red.detect(square(colour, 320, 64, 32, (640, 480))) == []


def test_an_array_is_as_good_as_a_picture(finds_red):
    picture = square("red", 320, 64, 32, (640, 480))
    assert len(finds_red.detect(picture)) == 1
    assert finds_red.detect(np.asarray(picture)) == finds_red.detect(picture)


@pytest.mark.parametrize(
    "bad",
    [
        Image.new("L", (64, 64)),
        Image.new("RGB", (0, 5)),
        np.zeros((64, 64), np.uint8),
        np.zeros((64, 64, 4), np.uint8),
        np.zeros((64, 64, 3), np.float32),
        np.zeros((0, 64, 3), np.uint8),
        np.zeros(0, np.uint8),
    ],
    ids=lambda bad: str(bad.size if isinstance(bad, Image.Image) else bad.shape),
)
def test_what_is_no_rgb_picture_is_refused(finds_red, bad):
    with pytest.raises(ImageError, match="RGB is needed"):
        finds_red.detect(bad)


def test_numbers_that_are_not_finite_are_no_answer(tmp_path):
    broken = Detector(red_cells(tmp_path / "broken.onnx", last="Log"), CPU)  # of 0
    with pytest.raises(ModelError, match=r"broken\.onnx: .*not finite"):
        broken.detect(Image.new("RGB", (64, 64)))


def test_another_network_is_refused(model):
    with pytest.raises(ModelError, match=r"colours\.onnx: ONNX Runtime fails on it"):
        Detector(model, CPU).detect(Image.new("RGB", (64, 64)))


def test_a_file_that_is_no_network_is_refused(tmp_path):
    (tmp_path / "text.onnx").write_text("text")
    with pytest.raises(ModelError, match=r"text\.onnx: ONNX Runtime cannot load it"):
        Detector(tmp_path / "text.onnx", CPU)
