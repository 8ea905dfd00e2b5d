"""An answer drawn on a picture: it can be read on any ground, and fits at every size."""

import numpy as np
import pytest
from PIL import Image

from drawings import answer
from facectl_runtime.draw import font
from facectl_runtime.draw.picture import draw_answer
from facectl_runtime.rows import Row


def drawn_on(row: Row, size=(320, 240), colour="white") -> np.ndarray:
    """Give the pixels of a flat picture with an answer on it: int, height x width x 3."""
    return np.asarray(draw_answer(Image.new("RGB", size, colour), row), int)


def touched(pixels: np.ndarray, colour=(255, 255, 255)) -> tuple[int, int]:
    """Give how many columns and rows of a flat picture were drawn in."""
    changed = (pixels != colour).any(axis=2)
    return int(changed.any(axis=0).sum()), int(changed.any(axis=1).sum())


@pytest.mark.parametrize("colour", ["white", "black", "red", "#808080"])
def test_letters_stand_out_on_any_ground(colour):
    plain = np.asarray(Image.new("RGB", (320, 240), colour), int)
    pixels = drawn_on(answer("elephant"), colour=colour)
    assert (pixels[:120] == plain[:120]).all()
    panel = pixels[-20:, :150].mean(axis=2)
    assert np.median(panel) < 90
    assert panel.max() > 240


@pytest.mark.parametrize("size", [(1, 1), (2, 300), (12, 8), (64, 48), (300, 200), (200, 900), (2000, 100)])
@pytest.mark.parametrize("label", ["cat", "long " * 60, "犬" * 30, "", "line\nline"])
def test_every_size_and_label_fits(size, label):
    picture = Image.new("RGB", size, "white")
    row = answer(label or "x", (label, 0.5), *((f"other {number}", 0.1) for number in range(5)))
    done = draw_answer(picture, row)
    assert done.size == size
    assert picture.getcolors() == [(size[0] * size[1], (255, 255, 255))]
    assert done.getcolors(size[0] * size[1]) != picture.getcolors()


def test_letters_grow_with_the_picture():
    small, large = (touched(drawn_on(answer("cat"), size))[1] for size in ((400, 300), (1600, 1200)))
    assert large == pytest.approx(4 * small, rel=0.1)


def test_each_label_has_a_line_as_far_as_there_is_room():
    top = [(f"label {number}", 0.2) for number in range(12)]
    rows = [touched(drawn_on(answer(None, *top[:count])))[1] for count in (1, 2, 3, 12)]
    assert rows[1] == 2 * rows[0]
    assert rows[2] == 3 * rows[0]
    assert 3 * rows[0] < rows[3] <= 0.6 * 240


def test_a_label_that_is_too_long_is_cut_before_its_probability():
    long = "Cavalier King Charles spaniel, tricolour, seen from the side at dusk"
    pixels = drawn_on(answer(long, (long, 0.73)))
    assert (drawn_on(answer(f"{long} again", (f"{long} again", 0.73))) == pixels).all()
    assert (drawn_on(answer(long, (long, 0.12)))[:, 280:] != pixels[:, 280:]).any()
    assert touched(pixels)[0] == 320


def test_the_probability_is_a_bar_too():
    def bar(probability: float) -> int:
        pixels = drawn_on(answer("cat", ("cat", probability)))
        return int((pixels[..., 2] - pixels[..., 0] > 60).any(axis=0).sum())

    assert bar(0.8) == pytest.approx(2 * bar(0.4), abs=2)


def test_unknown_says_what_it_would_have_been():
    one, two = drawn_on(answer("unknown", ("cat", 0.4))), drawn_on(answer("cat", ("cat", 0.4)))
    assert touched(one)[1] == 2 * touched(two)[1]
    amber = (one[..., 0] > 200) & (one[..., 2] < 120)
    assert amber.sum() > 50
    assert not ((two[..., 0] > 200) & (two[..., 2] < 120)).any()


def test_an_error_is_drawn():
    assert touched(drawn_on(Row("x", error="no face was found")))[1] > 10


def test_an_answer_without_a_label_leaves_the_picture_as_it_is():
    assert touched(drawn_on(Row("x"))) == (0, 0)


def test_characters_that_no_font_has_become_question_marks(monkeypatch):
    monkeypatch.setattr(font, "_NAMES", ())
    font.fitting.cache_clear()
    assert (drawn_on(answer("L\u00f6we")) == drawn_on(answer("L?we"))).all()
    assert (drawn_on(answer("Lowe")) != drawn_on(answer("L?we"))).any()
    font.fitting.cache_clear()
