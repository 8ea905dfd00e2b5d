"""An answer drawn on its picture: a dark panel at the lower left, a line and a bar for each of the likeliest labels."""

import math
from collections.abc import Sequence

import msgspec
from PIL import Image, ImageDraw

from facectl_runtime.draw.faces import draw_faces
from facectl_runtime.draw.font import Font, fitting
from facectl_runtime.errors import one_line
from facectl_runtime.rows import Row
from facectl_runtime.spec import UNKNOWN

_SHARE, _LEAST = 20, 12  # letters are this part of the shorter side, and so many pixels at least
_LINE, _WIDTH = 1.7, 14.0  # height of a line and width of the panel, in letters; long labels make it wider
_THICK = 0.15  # of a bar, in letters
_MOST = 0.6  # of the picture's height is covered at most
_GROUND, _BAR, _OPACITY = "#101014", "#38a8f0", 0.75
_FIRST, _OTHER, _UNKNOWN, _ERROR = "#ffffff", "#d6d6da", "#ffc247", "#ff9a8d"


class _Line(msgspec.Struct, frozen=True):
    text: str
    ink: str
    probability: float | None = None
    """0 to 1, which is drawn as a bar too."""


def draw_answer(picture: Image.Image, row: Row) -> Image.Image:
    """Give a copy of an RGB picture with its answer drawn in, or the boxes of its faces, or its error.

    As many of the labels are there as there is room for. Letters are scaled to the picture, and labels that are too
    long for it are shortened.
    """
    drawn = picture.copy()
    if row.faces:
        draw_faces(drawn, row.faces)
        return drawn
    lines = _lines(row)
    width, height = drawn.size
    size = max(round(min(width, height) / _SHARE), min(_LEAST, round(height / _LINE)), 1)
    tall = round(size * _LINE)
    lines = lines[: max(1, int(height * _MOST / tall))]
    if not lines:
        return drawn
    wide = min(width, math.ceil(max(size * _WIDTH, *(_needed(line, size) for line in lines))))
    box = (0, max(0, height - tall * len(lines)), wide, height)
    drawn.paste(_panel(drawn.crop(box), lines, size, tall), box)
    return drawn


def _lines(row: Row) -> list[_Line]:
    """Say what is drawn, the most important first."""
    if row.error is not None:
        return [_Line(one_line(row.error), _ERROR)]
    if row.faces is not None:
        return [_Line("no face", _OTHER)]
    if row.label is None:
        return []
    others = [
        _Line(one_line(ranked.label), _OTHER, ranked.probability) for ranked in row.top if ranked.label != row.label
    ]
    if row.label == UNKNOWN:
        return [_Line(UNKNOWN, _UNKNOWN), *others]
    return [_Line(one_line(row.label), _FIRST, row.probability), *others]


def _panel(ground: Image.Image, lines: Sequence[_Line], size: int, tall: int) -> Image.Image:
    """Darken a part of a picture and write lines on it."""
    layer = Image.new("RGB", ground.size, _GROUND)
    bars = ImageDraw.Draw(layer)
    margin, thick = _margin(size), _thick(size)
    room = ground.width - 2 * margin
    for number, line in enumerate(lines):
        if (length := round((line.probability or 0) * room)) > 0:
            bottom = (number + 1) * tall - thick
            bars.rectangle((margin, bottom - thick, margin + length - 1, bottom - 1), fill=_BAR)
    panel = Image.blend(ground, layer, _OPACITY)
    draw = ImageDraw.Draw(panel)
    for number, line in enumerate(lines):
        middle, left = number * tall + tall / 2 - thick, float(room)
        if line.probability is not None:
            font, text = fitting(_percent(line, decimals=int(ground.width >= size * _WIDTH)), size)
            draw.text((ground.width - margin, middle), text, line.ink, font, "rm")
            left -= font.getlength(text) + margin
        font, text = _shortened(line.text, size, left)
        draw.text((margin, middle), text, line.ink, font, "lm")
    return panel


def _needed(line: _Line, size: int) -> float:
    """Give how wide a line is with its margins, in pixels."""
    needed = _length(line.text, size) + 2 * _margin(size)
    return needed if line.probability is None else needed + _length(_percent(line), size) + _margin(size)


def _length(text: str, size: int) -> float:
    font, text = fitting(text, size)
    return font.getlength(text)


def _margin(size: int) -> int:
    return max(2, round(size * 0.45))


def _thick(size: int) -> int:
    return max(2, round(size * _THICK))


def _percent(line: _Line, decimals: int = 1) -> str:
    return f"{line.probability:.{decimals}%}"


def _shortened(text: str, size: int, room: float) -> tuple[Font, str]:
    """Cut a text so that it takes no more than `room` pixels, and end it with an ellipsis then."""
    font, shown = fitting(text, size)
    if font.getlength(shown) <= room:
        return font, shown
    kept = len(shown)
    while kept and font.getlength(f"{shown[:kept].rstrip()}…") > room:
        kept -= 1
    return font, f"{shown[:kept].rstrip()}…" if kept else ""
