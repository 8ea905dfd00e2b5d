"""Boxes and names on pictures: where they lie, and that everything fits."""

import numpy as np
import pytest
from PIL import Image

from facectl_runtime.draw.picture import draw_answer
from facectl_runtime.rows import FaceAnswer, Row

BLUE, AMBER, WHITE = (0x38, 0xA8, 0xF0), (0xFF, 0xC2, 0x47), (255, 255, 255)


def drawn(size, *faces):
    """Give the pixels of a white picture with faces drawn on it."""
    answers = tuple(FaceAnswer(box, 0.9 - 0.01 * n, label, **more) for n, (box, label, more) in enumerate(faces))
    return np.asarray(draw_answer(Image.new("RGB", size, "white"), Row("a.png", faces=answers)))


def rows_of(pixels, colour, column):
    """Give the first and the last row that has a colour in a column."""
    found = np.flatnonzero((pixels[:, column] == colour).all(axis=-1))
    return int(found[0]), int(found[-1])


def test_a_name_lies_above_its_box():
    pixels = drawn((400, 300), ((100, 100, 200, 200), "Anna", {"similarity": 0.5}))
    assert (pixels[150, 100], pixels[150, 150]) == (pytest.approx(BLUE), pytest.approx(WHITE))
    assert 75 <= rows_of(pixels, BLUE, 101)[0] < 100
    assert rows_of(pixels, BLUE, 101)[1] == 200
    assert (pixels[205:] == 255).all()


def test_where_there_is_no_room_above_it_lies_below_and_else_inside():
    low = drawn((400, 300), ((100, 4, 200, 200), "Anna", {"similarity": 0.5}))
    assert rows_of(low, BLUE, 101)[1] > 205
    assert (low[20:180, 110:190] == 255).all()
    whole = drawn((400, 300), ((0, 0, 400, 300), "Anna", {"similarity": 0.5}))
    assert (whole[50:290, 10:390] == 255).all()
    assert tuple(whole[8, 5]) == BLUE


def test_strangers_have_another_colour_and_names_lie_on_boxes():
    pixels = drawn((400, 300), ((100, 100, 200, 200), "unknown", {"similarity": 0.1}), ((110, 60, 190, 95), "Anna", {}))
    assert tuple(pixels[150, 100]) == AMBER
    assert tuple(pixels[70, 110]) == BLUE
    tag = pixels[82:98, 104]
    assert (tag == AMBER).all(axis=-1).any()


def test_the_surest_lies_on_top():
    one, other = ((100, 100, 200, 200), "Anna", {}), ((100, 100, 200, 200), "unknown", {})
    assert tuple(drawn((400, 300), one, other)[150, 100]) == BLUE
    assert tuple(drawn((400, 300), other, one)[150, 100]) == AMBER


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 3), (40, 30), (3000, 2000)])
@pytest.mark.parametrize("label", ["Anna", "x" * 200, "a\nb", "李 🦊", "unknown"])
def test_every_size_and_name_fits(size, label):
    width, height = size
    for box in ((0, 0, width, height), (width - 1, height - 1, width, height), (0, 0, 0, 0)):
        for more in ({}, {"similarity": -0.25}, {"probability": 0.5}):
            assert drawn(size, (box, label, more)).shape == (height, width, 3)


def test_letters_shrink_with_faces_and_stay_legible():
    def height(side, label="Abdullah_al-Attiyah"):
        pixels = drawn((1500, 1200), ((600, 600, 600 + side, 600 + side), label, {"similarity": 0.5}))
        return 600 - rows_of(pixels, BLUE, 601)[0]

    assert height(400) > height(100) >= height(30) >= 16
    assert height(400, "Anna") <= 1.5 * 1200 / 28 + 1


def test_a_name_that_is_very_long_is_shortened():
    pixels = drawn((3000, 2000), ((1000, 1000, 1200, 1200), "x" * 200, {}))
    columns = np.flatnonzero((pixels == BLUE).all(axis=-1).any(axis=0))
    assert 1000 <= columns[0] < columns[-1] < 1800


def test_a_picture_without_a_face_says_so():
    pixels = drawn((400, 300))
    assert (pixels[:200] == 255).all()
    assert (pixels[290:] != 255).any()


def test_no_name_covers_another_and_strangers_without_room_have_none():
    crowd = [((60 * column, 40 + 70 * row, 60 * column + 50, 90 + 70 * row), "unknown", {}) for row in range(3)
             for column in range(6)]  # fmt: skip
    crowd[7] = (crowd[7][0], "Abdullah al-Attiyah", {"similarity": 0.5})
    pixels = drawn((400, 260), *crowd)
    whole = drawn((400, 260), crowd[7])
    tag = (whole == BLUE).all(axis=-1)
    assert tag.sum() > 1000
    assert (pixels[tag] == BLUE).all(axis=-1).mean() > 0.9  # all but where it was put elsewhere
    assert (pixels == AMBER).all(axis=-1).sum() > 17 * 4 * 50
