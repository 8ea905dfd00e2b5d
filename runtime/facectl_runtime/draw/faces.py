"""Faces drawn on their picture: a box around each, with whom or what it was answered to be."""

from collections.abc import Iterator
from statistics import median

from PIL import Image, ImageDraw

from facectl_runtime.draw.font import fitting
from facectl_runtime.errors import one_line
from facectl_runtime.rows import FaceAnswer
from facectl_runtime.spec import UNKNOWN

_MOST, _LEAST = 28, 90  # letters are these parts of the picture's shorter side, the smaller the closer faces stand
_LEGIBLE = 11  # pixels that letters have at least
_LONGEST = 40  # characters of a name
_ROOM = 1.6  # of its face's width, which a name should not exceed
_THIN, _THICK, _FINE = 2, 120, 24  # of a line: pixels at least, and parts of the shorter side and of the face at most
Box = tuple[int, int, int, int]  # left, upper, right, lower
_KNOWN, _STRANGER, _INK = "#38a8f0", "#ffc247", "#101014"


def draw_faces(picture: Image.Image, faces: tuple[FaceAnswer, ...]) -> None:
    """Draw boxes, one or more, and names into an RGB picture: names in letters of one size, over boxes.

    A name is put where it covers no other; where there is no such place, a stranger has none, for the box says as much.
    The box of the surest face lies on top.
    """
    pen, size = ImageDraw.Draw(picture), _letters(picture.size, faces)
    for face in sorted(faces, key=lambda face: face.score):
        line = max(_THIN, round(min(min(picture.size) / _THICK, _width(face) / _FINE)))
        pen.rectangle(_drawable(face.box, line), outline=_colour(face), width=line)
    taken: list[Box] = []
    for face in sorted(faces, key=lambda face: face.label == UNKNOWN):
        font, text = fitting(_text(face), size)
        tag = round(font.getlength(text)) + size, round(size * 1.5)
        places = list(_places(face.box, tag, picture.size))
        free = [place for place in places if not any(_meet(place, other) for other in taken)]
        if not free and face.label == UNKNOWN:
            continue
        place = (free or places)[0]
        taken.append(place)
        pen.rectangle(place, fill=_colour(face))
        pen.text((place[0] + size / 2, (place[1] + place[3]) / 2), text, _INK, font, "lm")


def _letters(room: tuple[int, int], faces: tuple[FaceAnswer, ...]) -> int:
    """Give how high letters are, in pixels: the smaller the closer most faces stand, and of legible size."""
    shorter = min(room)
    size = max(_LEGIBLE, round(shorter / _MOST))
    fits = []
    for face in faces:
        font, text = fitting(_text(face), size)
        fits.append(size * _ROOM * _width(face) / (font.getlength(text) + size))
    return max(_LEGIBLE, round(min(size, max(median(fits), shorter / _LEAST))))


def _places(face: Box, tag: tuple[int, int], room: tuple[int, int]) -> Iterator[Box]:
    """Give where a face's name may be: above it, below it, and inside at its upper and lower edge, best first."""
    width, height = tag
    left = max(0, min(face[0], room[0] - width))
    for upper in (face[1] - height, face[3], face[1], face[3] - height):
        if upper >= 0 and upper + height <= room[1]:
            yield left, upper, left + width, upper + height
    yield left, max(face[1], 0), left + width, max(face[1], 0) + height


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _colour(face: FaceAnswer) -> str:
    return _STRANGER if face.label == UNKNOWN else _KNOWN


def _width(face: FaceAnswer) -> int:
    return face.box[2] - face.box[0]


def _text(face: FaceAnswer) -> str:
    name = one_line(face.label)
    name = name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
    if face.label == UNKNOWN:  # the number is of whom or what it is not said to be
        return name
    if face.similarity is not None:
        return f"{name} {face.similarity:.2f}"
    return name if face.probability is None else f"{name} {face.probability:.0%}"


def _drawable(box: tuple[int, int, int, int], line: int) -> tuple[int, int, int, int]:
    """Keep a box large enough for its own lines."""
    left, upper, right, lower = box
    return left, upper, max(right, left + 2 * line), max(lower, upper + 2 * line)
