"""Photographs decoded once: many of them on disk, and not in memory."""

import numpy as np
import pytest

from facectl_runtime.errors import UsageError
from facectl_runtime.image import load
from facectl_runtime.labelled import class_folders, content_hash
from facectl_runtime.spec import InputSpec, Squash
from facectl_trainer import pixels
from facectl_trainer.pixels import decode, room
from tiny_network import full_disk

SPEC = InputSpec(20, 16, Squash())


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("FACECTL_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(pixels, "_IN_MEMORY", 1)  # all of it is much
    return tmp_path / "home"


@pytest.fixture
def folder(tmp_path, draw_classes):
    return draw_classes(tmp_path / "photos", {"red": 40, "blue": 5})


def hashed(folder):
    return {image.path: content_hash(folder / image.path) for image in class_folders(folder)}


def test_every_photograph_gets_its_own_pixels_and_the_damaged_are_named(folder):
    for path in ("red/00.png", "red/33.png"):
        (folder / path).write_bytes(b"no picture")
    steps, images = [], class_folders(folder)
    found, errors = decode(folder, images, hashed(folder), SPEC, steps.append)
    assert set(errors) == {"red/00.png", "red/33.png"}
    assert sum(steps) == len(found) + 2 == 45
    for path, met in found.items():
        np.testing.assert_array_equal(met, load(folder / path, SPEC))


def test_nothing_of_it_stays_on_the_disk(folder, place):
    found, _ = decode(folder, class_folders(folder), hashed(folder), SPEC, lambda _: None)
    assert found
    assert list(place.iterdir()) == []


def test_a_full_disk_is_one_line_with_what_to_do(folder, place):
    with (
        full_disk(),
        pytest.raises(UsageError, match=r"no room for .* GB .*; free some, or set FACECTL_HOME") as caught,
    ):
        decode(folder, class_folders(folder), hashed(folder), SPEC, lambda _: None)
    assert str(place) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(place.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FACECTL_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(UsageError, match="no room for"):
        room((2, 2), np.uint8)


def test_room_is_zeros_of_the_shape_asked_for():
    rows = room((3, 4), np.float32)
    assert (rows.shape, rows.dtype, rows.sum()) == ((3, 4), np.float32, 0)
    rows[1] = 2
    assert rows.sum() == 8
