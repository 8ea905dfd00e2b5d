"""Faces drawn on their picture: a box around each, with whom or what it was answered to be."""

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
_KNOWN, _STRANGER, _INK = "#38a8f0", "#ffc247", "#101014"


def draw_faces(picture: Image.Image, faces: tuple[FaceAnswer, ...]) -> None:
    """Draw boxes and names into an RGB picture; names lie on boxes, and those of the surest face on top."""
    pen, shorter = ImageDraw.Draw(picture), min(picture.size)
    for face in reversed(faces):
        line = max(_THIN, round(min(shorter / _THICK, _width(face) / _FINE)))
        pen.rectangle(_drawable(face.box, line), outline=_colour(face), width=line)
    for face in reversed(faces):
        _tag(pen, picture.size, face)


def _tag(pen: ImageDraw.ImageDraw, room: tuple[int, int], face: FaceAnswer) -> None:
    """Write a name above a face's box; where there is no room, below it, and else below its upper edge."""
    shorter = min(room)
    size = max(_LEGIBLE, round(shorter / _MOST))
    font, text = fitting(_text(face), size)
    fits = size * _ROOM * _width(face) / (font.getlength(text) + size)
    size = max(_LEGIBLE, round(min(size, max(fits, shorter / _LEAST))))
    font, text = fitting(_text(face), size)
    width, height = round(font.getlength(text)) + size, round(size * 1.5)
    left = max(0, min(face.box[0], room[0] - width))
    above, below = face.box[1] - height, face.box[3]
    upper = above if above >= 0 else below if below + height <= room[1] else max(face.box[1], 0)
    pen.rectangle((left, upper, left + width, upper + height), fill=_colour(face))
    pen.text((left + size / 2, upper + height / 2), text, _INK, font, "lm")


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
