"""Resize: any picture becomes the input, and a JPEG is reduced only as far as answers allow."""

import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facectl_runtime import image
from facectl_runtime.errors import ImageError
from facectl_runtime.spec import CenterCrop, FaceAlign, InputSpec, Letterbox, Squash
from image_files import QUIET, RED, ROOT, SMALL, encode, picture

pytestmark = QUIET

DATA = Path(os.environ.get("FACECTL_TEST_DATA", ROOT.parent / "shared" / "data"))


# Resize


def test_to_input_takes_arrays_and_refuses_what_is_not_rgb():
    array = np.asarray(picture())
    assert np.array_equal(image.to_input(array, SMALL), image.to_input(picture(), SMALL))
    for wrong in (array.astype(np.float32), array[..., 0], array[..., :2], array[:0], picture(mode="L")):
        with pytest.raises(ImageError, match="needed"):
            image.to_input(wrong, SMALL)


def test_a_picture_of_the_right_size_stays_as_it_is():
    for resize in (Squash(), CenterCrop(), Letterbox()):
        assert np.array_equal(image.to_input(picture(), InputSpec(40, 30, resize)), np.asarray(picture()))


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (3, 2)])
@pytest.mark.parametrize("resize", [Squash(), CenterCrop(0.5), CenterCrop(1e-9), Letterbox(fill=(1, 2, 3))])
def test_any_shape_of_picture_gives_the_input(size, resize):
    found = image.load(encode(Image.new("RGB", size, RED), "PNG"), InputSpec(17, 9, resize))
    assert found.shape == (9, 17, 3)
    assert (found == RED).all(axis=-1).any()


def test_face_align_wants_five_landmarks():
    points = [[10, 10], [20, 10], [15, 15], [11, 20], [19, 20]]
    spec = InputSpec(16, 16, FaceAlign(((4, 5), (12, 5), (8, 9), (5, 13), (11, 13))))
    for wrong in (points[:4], np.full((5, 2), np.nan), [[7, 7]] * 5):
        with pytest.raises(ImageError, match="face landmarks are"):
            image.to_input(picture(), spec, wrong)
    assert image.to_input(picture(), spec, points).shape == (16, 16, 3)


@pytest.mark.parametrize("side", [60, 200, 400])
def test_a_face_in_a_large_picture_is_aligned_as_in_its_surroundings(side):
    """Only what lies about the face is scaled, and where that is cut out makes no difference beyond a rounding."""
    wanted = np.array([(33, 39), (67, 39), (50, 60), (36, 75), (64, 75)], float)
    spec = InputSpec(100, 100, FaceAlign(tuple(map(tuple, wanted))))
    noise = np.random.default_rng(0).integers(0, 256, (150, 200, 3), np.uint8)
    large = Image.fromarray(noise).resize((3000, 2700), Image.Resampling.BICUBIC)
    corner = np.array([700, 500])
    points = (wanted - 50) * side / 100 @ np.array([[0.96, 0.28], [-0.28, 0.96]]) + corner + side
    near = large.crop((*corner, *(corner + 2 * side)))
    found, expected = image.to_input(large, spec, points), image.to_input(near, spec, points - corner)
    assert found.std() > 10
    # Scaled, each has a whole number of pixels, so that the scales differ a little where they are no simple fraction.
    assert np.abs(found.astype(int) - expected).mean() <= (0 if side <= 200 else 1)


# JPEG at reduced scale


@cache
def drawn_photograph(width, height):
    """Fill a picture with what photographs are made of: light that falls off, edges, fine texture, noise."""
    random = np.random.default_rng(1)
    y, x = (axis.astype(np.float32) for axis in np.ogrid[:height, :width])
    result = np.empty((height, width, 3), np.float32)
    coarse = random.normal(0, 30, (height // 8, width // 8)).astype(np.float32)
    texture = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    for channel in range(3):
        result[..., channel] = 128 + 60 * np.sin(x / random.uniform(200, 900)) * np.cos(y / random.uniform(200, 900))
    for _ in range(24):
        angle, offset = random.uniform(0, np.pi), random.uniform(0, width)
        away = x * np.float32(np.cos(angle)) + (y * np.float32(np.sin(angle)) - np.float32(offset))
        result[np.abs(away) < random.uniform(5, 200)] += random.normal(0, 50, 3)
    result += texture[..., None] + random.normal(0, 6, (height, width, 1))
    return Image.fromarray(result.clip(0, 255).astype(np.uint8))


@cache
def mosaic(width, height):
    files = sorted((DATA / "zoo").rglob("*.jpg"))
    if len(files) < 100:
        pytest.skip(f"no photographs under {DATA}/zoo; name their folder in FACECTL_TEST_DATA")
    random = np.random.default_rng(1)
    result = Image.new("RGB", (width, height))
    for y in range(0, height, 500):
        for x in range(0, width, 500):
            tile = Image.open(files[random.integers(len(files))]).convert("RGB")
            result.paste(tile.resize((int(random.integers(500, 1400)),) * 2).crop((0, 0, 500, 500)), (x, y))
    return result


REDUCED = [
    InputSpec(side, side, resize) for side in (160, 224, 299) for resize in (Squash(), CenterCrop(0.875), Letterbox())
]


@pytest.mark.parametrize("draw", [drawn_photograph, mosaic])
@pytest.mark.parametrize(("orientation", "quality"), [(1, 92), (6, 75)])
def test_a_reduced_jpeg_differs_by_at_most_what_the_page_says(draw, orientation, quality):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(draw(4032, 3024), "JPEG", quality=quality, exif=exif)
    full, whole = image.decode(data), 4032 * 3024
    for spec in REDUCED:
        reduced = image.decode(data, spec)
        assert reduced.width * reduced.height < whole / 3.9, spec
        change = np.abs(image.to_input(reduced, spec).astype(int) - image.to_input(full, spec))
        assert change.max() <= 5, spec
        assert change.mean() < 0.4, spec


@pytest.mark.parametrize(
    ("size", "orientation", "spec", "decoded"),
    [
        ((240, 240), 1, InputSpec(10, 10, Squash()), (30, 30)),
        ((232, 240), 1, InputSpec(10, 10, Squash()), (58, 60)),  # 1/8 would leave 2.9 times the width
        ((248, 250), 1, InputSpec(10, 10, Squash()), (124, 125)),  # only 2 divides both sides
        ((241, 240), 1, InputSpec(10, 10, Squash()), (241, 240)),
        ((40, 40), 1, InputSpec(10, 10, Squash()), (40, 40)),
        ((960, 240), 1, InputSpec(10, 10, CenterCrop()), (120, 30)),
        ((960, 240), 1, InputSpec(10, 10, CenterCrop(0.5)), (240, 60)),
        ((960, 240), 1, InputSpec(40, 40, Letterbox()), (120, 30)),
        ((960, 240), 1, InputSpec(40, 10, Squash()), (120, 30)),
        ((960, 240), 6, InputSpec(10, 40, Squash()), (30, 120)),
        ((960, 240), 6, InputSpec(40, 10, Squash()), (120, 480)),
        ((960, 240), 1, InputSpec(10, 10, FaceAlign(((0, 0), (1, 0), (2, 1), (0, 2), (1, 2)))), (960, 240)),
    ],
)
def test_a_jpeg_is_reduced_only_where_enough_is_left(size, orientation, spec, decoded):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(picture(*size), "JPEG", exif=exif)
    assert image.decode(data, spec).size == decoded
    assert image.decode(data).size == (size if orientation == 1 else size[::-1])
