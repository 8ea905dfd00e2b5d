"""Golden images replay crop and resize, are few and small, and show nobody where the model is of people."""

import io

import numpy as np
import pytest
from PIL import Image as Pillow

from facectl_export import golden
from facectl_runtime.engines import Engine
from facectl_runtime.image import load
from facectl_runtime.labelled import Image, class_folders
from facectl_runtime.spec import CenterCrop, FaceAlign, GoldenImage, InputSpec, Letterbox, Squash

SPECS = [InputSpec(224, 224, Squash()), InputSpec(160, 96, CenterCrop(0.9)), InputSpec(96, 160, Letterbox((0, 0, 0)))]
ALIGNED = InputSpec(160, 160, FaceAlign(((55, 58), (105, 58), (80, 88), (59, 114), (101, 114))))


def opened(png):
    picture = Pillow.open(io.BytesIO(png))
    assert picture.format == "PNG"
    return picture


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photographs of every shape, in three classes of five; noise, which hardly compresses."""
    folder, random = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    shapes = [(300, 400), (700, 90), (90, 500), (1, 1), (64, 64)]
    for label in "abc":
        (folder / label).mkdir()
        for number, (height, width) in enumerate(shapes):
            pixels = random.integers(0, 256, (height, width, 3), np.uint8)
            Pillow.fromarray(pixels).save(folder / label / f"{number}.png")
    return folder


@pytest.mark.parametrize("spec", SPECS)
def test_the_first_is_larger_than_the_input_and_of_another_shape(folder, spec):
    for first in (golden.photographs(folder, class_folders(folder), spec)[0], golden.patterns(spec)[0]):
        width, height = opened(first.png).size
        assert width > spec.width
        assert height > spec.height
        assert width != height
        assert width / height != pytest.approx(spec.width / spec.height, rel=0.1)


def test_of_a_large_input_too_the_first_leaves_room_for_the_others(folder):
    spec = InputSpec(1024, 1024, Squash())
    for images in (golden.photographs(folder, class_folders(folder), spec), golden.patterns(spec)):
        assert opened(images[0].png).size == (1408, 1152)
        chosen = golden.choose(images, MIDDLE, LEVEL, spec)
        assert len(golden.record(LEVEL, spec, 0.25, chosen).images) > 1
        assert taken(chosen) <= golden.BYTES
        assert load(images[0].png, spec).std() > 20  # there is something to see


def test_the_others_are_small_and_keep_their_shape(folder):
    for image in golden.photographs(folder, class_folders(folder), SPECS[0])[1:]:
        assert min(opened(image.png).size) <= 96


def test_they_come_from_every_class_in_turn(tmp_path):
    images = []
    for label, level in {"a": 10, "b": 120, "c": 240}.items():
        (tmp_path / label).mkdir()
        for number in range(9):
            Pillow.new("RGB", (40, 40), (level, level, level)).save(tmp_path / label / f"{number}.png")
            images.append(Image(f"{label}/{number}.png", label))
    chosen = golden.photographs(tmp_path, images[::-1], SPECS[0])
    levels = [opened(image.png).convert("L").getpixel((5, 5)) for image in chosen]
    assert levels == pytest.approx([10, 120, 240] * 4, abs=1)


def test_the_order_of_the_images_changes_nothing(folder):
    images = class_folders(folder)
    assert golden.photographs(folder, images, SPECS[0]) == golden.photographs(folder, images[::-1], SPECS[0])


def engine(answer):
    return Engine("test", "cpu", lambda pixels: np.array([answer(one) for one in pixels], np.float32))


def grey(level, size=(40, 30)):
    buffer = io.BytesIO()
    Pillow.new("RGB", size, (level, level, level)).save(buffer, "PNG")
    return GoldenImage(buffer.getvalue(), ())


def taken(images):
    """Count the bytes of images."""
    return sum(len(image.png) for image in images)


MIDDLE = engine(lambda _: [0.5, 0.35])
LEVEL = engine(lambda pixels: [0.5, pixels.mean() / 255])


def test_those_are_chosen_on_which_the_models_are_nearest_and_the_first():
    candidates = [grey(level) for level in (250, 90, 10, 200, 30, 60, 20)]
    chosen = golden.choose(candidates, MIDDLE, LEVEL, SPECS[0])
    assert [opened(image.png).getpixel((0, 0))[0] for image in chosen] == [250, 90, 60, 30]  # 0.35 is a grey of 89


def test_they_take_no_more_than_their_share_of_the_file(folder):
    spec = SPECS[0]
    candidates = golden.photographs(folder, class_folders(folder), spec)
    noise = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (150, 200, 3), np.uint8)
    Pillow.fromarray(pixels).save(noise, "PNG")
    many = [candidates[0], *[GoldenImage(noise.getvalue(), ())] * 9, *candidates[1:]]
    chosen = golden.choose(many, MIDDLE, LEVEL, spec)
    assert chosen[0] == candidates[0]
    assert taken(chosen) <= golden.BYTES
    assert 2 <= len(chosen) <= golden.COUNT


def test_what_the_file_says_is_what_is_kept():
    images = [grey(51), grey(204)]
    kept = golden.record(LEVEL, SPECS[0], 0.25, images)
    assert [image.png for image in kept.images] == [image.png for image in images]
    assert [image.expected for image in kept.images] == [(0.5, 0.2), (0.5, 0.8)]
    assert kept.tolerance == 0.25


@pytest.mark.parametrize("spec", [*SPECS, ALIGNED])
def test_patterns_are_drawn_the_same_each_time_and_tell_models_apart(spec):
    images = golden.patterns(spec)
    assert images == golden.patterns(spec)
    assert len(images) == golden.COUNT
    assert taken(images) <= golden.BYTES
    pixels = [golden.pixels(image, spec).astype(float) for image in images]
    assert all(one.std() > 30 for one in pixels)
    assert all(np.abs(one - other).mean() > 20 for at, one in enumerate(pixels) for other in pixels[:at])


def test_where_faces_are_aligned_each_is_turned_another_way():
    images = golden.patterns(ALIGNED)
    eyes = [np.subtract(image.landmarks[1], image.landmarks[0]) for image in images]
    turns = [round(float(np.degrees(np.arctan2(y, x)))) for x, y in eyes]
    assert turns == [-14, 0, 14, 29]
    for image in images:
        width, height = opened(image.png).size
        assert all(0 < x < width and 0 < y < height for x, y in image.landmarks)
    assert all(image.landmarks is None for image in golden.patterns(SPECS[0]))
