"""Drawn shapes: repeatable, and tested on regions of the photographs that were never trained on."""

import numpy as np
import pytest
from PIL import Image

from facectl_runtime.errors import UsageError
from facectl_runtime.labelled import PARTS, presplit
from facectl_trainer.data import shapes

STRIPS = {"train": (200, 20, 20), "val": (20, 200, 20), "test": (20, 20, 200)}


@pytest.fixture
def striped(monkeypatch):
    """Photographs whose colour says which part a region is for."""
    pixels = np.zeros((300, 500, 3), np.uint8)
    for (first, last), colour in zip([(0, 300), (300, 400), (400, 500)], STRIPS.values(), strict=True):
        pixels[:, first:last] = colour
    monkeypatch.setattr(shapes, "_photographs", lambda: [Image.fromarray(pixels)])


def write(folder, count=20, seed=0):
    shapes.write_shapes(folder, count, seed, lambda _: None)
    return {
        str(path.relative_to(folder)): np.asarray(Image.open(path)).astype(int)
        for path in sorted(folder.rglob("*.png"))
    }


def border(pixels):
    """Give the pixels that a shape never covers."""
    return np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])


@pytest.mark.usefixtures("striped")
def test_each_part_is_cut_from_its_own_strip(tmp_path):
    for name, pixels in write(tmp_path / "shapes", count=30).items():
        assert (border(pixels) == STRIPS[name.split("/")[0]]).all(), name


@pytest.mark.usefixtures("striped")
def test_a_shape_stands_out_and_fills_what_its_name_says(tmp_path):
    for name, pixels in write(tmp_path / "shapes").items():
        part, kind, _ = name.split("/")
        shape = np.abs(pixels - STRIPS[part]).sum(axis=2) > 60
        rows, columns = np.flatnonzero(shape.any(axis=1)), np.flatnonzero(shape.any(axis=0))
        box = (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
        expected = 1 if kind == "rectangle" else np.pi / 4
        assert shape.sum() / box == pytest.approx(expected, abs=0.06), name


@pytest.mark.usefixtures("striped")
@pytest.mark.parametrize("count", [20, 21, 29, 33])
def test_there_are_as_many_of_each_kind_as_asked_for(tmp_path, count):
    steps = []
    shapes.write_shapes(tmp_path / "shapes", count, 0, steps.append)
    parts = presplit(tmp_path / "shapes")
    labels = [image.label for part in PARTS for image in parts[part]]
    assert {label: labels.count(label) for label in labels} == {"ellipse": count, "rectangle": count}
    assert sum(steps) == 2 * count
    assert len(parts["train"]) > len(parts["test"]) > len(parts["val"]) > 0


def test_the_seed_decides_every_pixel(tmp_path):
    pytest.importorskip("sklearn")
    one, again, other = (write(tmp_path / name, seed=seed) for name, seed in (("a", 4), ("b", 4), ("c", 5)))
    assert list(one) == list(again) == list(other)
    assert all(np.array_equal(one[name], again[name]) for name in one)
    assert not any(np.array_equal(one[name], other[name]) for name in one)
    assert {pixels.shape for pixels in one.values()} == {(shapes.SIDE, shapes.SIDE, 3)}


@pytest.mark.usefixtures("striped")
def test_what_is_there_is_left_alone(tmp_path):
    (tmp_path / "shapes").mkdir()
    (tmp_path / "shapes" / "mine.txt").write_text("precious")
    with pytest.raises(UsageError, match="already there"):
        write(tmp_path / "shapes")
    assert [path.name for path in tmp_path.rglob("*")] == ["shapes", "mine.txt"]


@pytest.mark.usefixtures("striped")
def test_when_drawing_is_interrupted_nothing_is_left(tmp_path):
    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shapes.write_shapes(tmp_path / "shapes", 20, 0, interrupt)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("striped")
def test_the_command_makes_a_folder_ready_for_training(facectl, tmp_path):
    done = facectl("data", "shapes", "--to", tmp_path / "shapes", "--count", 20, "--quiet")
    assert done.code == 0
    assert done.err == ""
    assert f"facectl train shapes --data {tmp_path / 'shapes'}" in done.out
    assert set(presplit(tmp_path / "shapes")) == set(PARTS)
    again = facectl("data", "shapes", "--to", tmp_path / "shapes", "--count", 20, "--quiet")
    assert again.code == 2
    assert "already there" in again.error()
