"""From a face in a picture to a model's input."""

from msgspec.structs import replace
from PIL import Image

from facectl_runtime.faces.detect import Face
from facectl_runtime.image import Pixels, scaled, to_input
from facectl_runtime.spec import CenterCrop, FaceAlign, InputSpec, Squash


def crop(picture: Image.Image, face: Face, spec: InputSpec) -> Pixels:
    """Bring a face to a model's input: uint8, height × width × 3. Raises `ImageError`.

    For `face_align` it is aligned by its landmarks. Else the model sees the square around its box: with `center_crop`,
    that square is what the model cuts out of the middle. Where the square reaches beyond the picture, it is black.
    """
    if isinstance(spec.resize, FaceAlign):
        return to_input(picture, spec, face.landmarks)
    left, upper, right, lower = face.box
    half = max(right - left, lower - upper) / 2
    if isinstance(spec.resize, CenterCrop):
        half /= spec.resize.fraction
    side = max(1, round(2 * half))
    x, y = round((left + right) / 2 - half), round((upper + lower) / 2 - half)
    return to_input(_cut(picture, x, y, side), spec)


def _cut(picture: Image.Image, x: int, y: int, side: int) -> Image.Image:
    """Cut out a square, black beyond the picture; one that is larger than the picture's sides at a smaller scale."""
    if side <= max(picture.size):
        return picture.crop((x, y, x + side, y + side))
    scale = max(picture.size) / side  # what is beyond the picture would take as much memory as one likes
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    small = scaled(picture, (0, 0, *picture.size), size)
    ground = Image.new("RGB", (max(picture.size), max(picture.size)))
    ground.paste(small, (round(-x * scale), round(-y * scale)))
    return ground


def whole_as_face(picture: Image.Image, spec: InputSpec) -> Pixels:
    """Bring a ready crop of a face, the square around it, to a model's input: the whole of it."""
    whole = isinstance(spec.resize, FaceAlign | CenterCrop)
    return to_input(picture, replace(spec, resize=Squash()) if whole else spec)
