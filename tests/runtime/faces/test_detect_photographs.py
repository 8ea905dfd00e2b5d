"""YuNet itself, on photographs of people."""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facectl_runtime.devices import Device
from facectl_runtime.faces.detect import DETECTOR, Detector, largest_and_central, locate

SHARED = Path(__file__).parents[4] / "shared"
LFW = Path(os.environ.get("FACECTL_TEST_DATA", SHARED / "data")) / "lfw"
WEIGHTS = Path(os.environ.get("FACECTL_WEIGHTS_DIR", SHARED / "weights")) / DETECTOR.file
CPU = Device("cpu", threads=1)


@pytest.fixture(scope="module")
def yunet():
    if not WEIGHTS.is_file():
        pytest.skip(f"no {WEIGHTS}; name its folder in FACECTL_WEIGHTS_DIR")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACECTL_WEIGHTS_DIR", str(WEIGHTS.parent))
        return Detector(locate(), CPU)


@cache
def people(count=60):
    files = sorted(LFW.glob("*/*_0001.jpg"))
    if len(files) < 1000:
        pytest.skip(f"no photographs under {LFW}; name the folder of the data in FACECTL_TEST_DATA")
    return [Image.open(file).convert("RGB") for file in files[:: len(files) // count][:count]]


def portrait(detector, picture):
    return largest_and_central(detector.detect(picture), *picture.size)


@pytest.mark.usefixtures("yunet")
def test_the_file_is_the_one_that_is_pinned():
    assert WEIGHTS.stat().st_size == DETECTOR.size


def test_no_portrait_is_missed_and_its_landmarks_are_those_of_a_face(yunet):
    for picture in people():
        found = portrait(yunet, picture)
        left, upper, right, lower = found.box
        assert np.hypot((left + right) / 2 - 125, (upper + lower) / 2 - 125) < 25
        assert 60 < lower - upper < 150
        (right_eye, left_eye, nose, right_mouth, left_mouth) = found.landmarks
        assert left < right_eye[0] < left_eye[0] < right
        assert right_mouth[0] < left_mouth[0]
        assert max(right_eye[1], left_eye[1]) < nose[1] < min(right_mouth[1], left_mouth[1])


def test_a_picture_and_its_mirror_image_agree(yunet):
    """Points that were half a pixel off would be so in both, and their x then differ by a pixel or more."""

    def points(picture, left, upper):  # each face among cells of its own
        ground = Image.new("RGB", (320, 320))
        ground.paste(picture, (left, upper))
        return np.subtract(portrait(yunet, ground).landmarks, (left, upper))

    off = []
    for number, picture in enumerate(people()):
        picture = picture.resize((200, 200))
        one = points(picture, number * 7 % 64 + 28, number * 13 % 64 + 28)
        other = points(picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT), number * 11 % 64 + 28, number * 5 % 64 + 28)
        off.append(one - np.abs([(200, 0)] - other)[[1, 0, 2, 4, 3]])
    assert np.abs(off).mean() < 2
    assert np.abs(np.mean(off, axis=(0, 1))).max() < 0.6


@pytest.mark.parametrize("size", [(40, 40), (64, 64), (1000, 1000), (3000, 3000)])
def test_a_face_is_found_at_the_same_place_at_every_size(yunet, size):
    for picture in people()[:5]:
        known, found = portrait(yunet, picture), portrait(yunet, picture.resize(size))
        assert np.abs(np.multiply(found.landmarks, 250 / size[0]) - known.landmarks).max() < 10


def test_thirty_faces_are_found(yunet):
    group = Image.new("RGB", (1500, 1250))
    for number, picture in enumerate(people()[:30]):
        group.paste(picture, (number % 6 * 250, number // 6 * 250))
    for size in ((700, 583), (1500, 1250), (4000, 3333)):
        found = yunet.detect(group.resize(size))
        scale = 1500 / size[0]
        centres = [((f.box[0] + f.box[2]) / 2 * scale, (f.box[1] + f.box[3]) / 2 * scale) for f in found]
        tiles = {(int(x // 250), int(y // 250)) for x, y in centres if np.hypot(x % 250 - 125, y % 250 - 125) < 30}
        assert len(tiles) == 30
        assert [face.score for face in found] == sorted((face.score for face in found), reverse=True)


def test_a_face_that_fills_a_photograph_is_one_face(yunet):
    for picture in people()[:5]:
        closeup = picture.crop((65, 60, 185, 200)).resize((2400, 2800))
        (found,) = yunet.detect(closeup)
        assert found.box[3] - found.box[1] > 1400


def test_at_the_border_boxes_are_cut_and_landmarks_are_not(yunet):
    """YuNet draws points into the picture; of most faces that are cut well behind the eye it still lies outside."""
    outside = 0
    for picture in people()[:20]:
        cut = round(portrait(yunet, picture).landmarks[0][0] + 15)
        found = portrait(yunet, picture.crop((cut, 0, 250, 250)))
        assert found.box[0] >= 0
        outside += found.landmarks[0][0] < 0 == found.box[0]
    assert outside > 10


RAMP = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2).repeat(200, axis=0)
NOISE = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)


@pytest.mark.parametrize(
    "picture",
    [
        Image.new("RGB", (1, 1), "white"),
        Image.new("RGB", (1, 5000), "white"),
        Image.new("RGB", (500, 400)),
        RAMP,
        NOISE,
    ],
    ids=["one pixel", "a line", "black", "a ramp", "noise"],
)
def test_where_no_face_is_none_is_found(yunet, picture):
    assert yunet.detect(picture) == []


def test_threads_get_the_answers_that_one_gets(yunet):
    alone = [yunet.detect(picture) for picture in people()[:8]]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(yunet.detect, people()[:8] * 3)) == alone * 3
