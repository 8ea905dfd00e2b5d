"""The preview shows what training will see, and lands whole or not at all."""

import numpy as np
import pytest
from msgspec.structs import replace
from PIL import Image

from facectl_runtime.devices import Device
from facectl_runtime.errors import UsageError
from facectl_trainer import augment, preview
from facectl_trainer.augment import AugmentPlan, CopiesPlan
from facectl_trainer.job import Job
from facectl_trainer.recipe import load_recipe

pytest.importorskip("tf_keras")

PLAN = AugmentPlan(rotation=30, shift=0.2, flip=True)
SIDE = 40


def pictures(n, side=SIDE):
    return np.random.default_rng(3).integers(0, 256, (n, side, side, 3), np.uint8)


def cells(path, side=SIDE):
    """Cut the sheet up again: rows × columns × side × side × 3."""
    sheet = np.asarray(Image.open(path))
    step = side + preview._GAP
    body = sheet[preview._CAPTION :, preview._GAP :]
    rows, columns = body.shape[0] // step, body.shape[1] // step
    return np.stack(
        [[body[r * step : r * step + side, c * step : c * step + side] for c in range(columns)] for r in range(rows)]
    )


def test_the_grid_holds_what_training_sees(tmp_path):
    images = pictures(3)
    preview.write_preview(tmp_path / "preview.png", images, PLAN, CopiesPlan(shift=5, flip=True), seed=7)
    shown = cells(tmp_path / "preview.png")
    assert shown.shape[:2] == (3, 1 + preview.EXAMPLES + 5)
    assert np.array_equal(shown[:, 0], images)
    random = np.random.default_rng(7)
    _, second = (augment.transforms(PLAN, random, 3, SIDE) for _ in range(2))
    assert np.array_equal(shown[:, 2], augment.apply(images, second, "nearest"))
    assert np.array_equal(shown[:, 1 + preview.EXAMPLES], images[:, :, ::-1])
    assert [path.name for path in tmp_path.iterdir()] == ["preview.png"]


def test_the_grid_is_bounded(tmp_path):
    preview.write_preview(tmp_path / "preview.png", pictures(30, 300), PLAN, CopiesPlan(30, flip=True), seed=0)
    width, height = Image.open(tmp_path / "preview.png").size
    assert width < 3000
    assert height < 2000


def test_nothing_to_show_is_said(tmp_path):
    for images, plan, plan_of_copies in (
        (pictures(2), None, None),
        (pictures(0), PLAN, None),
        (pictures(2), None, CopiesPlan()),
    ):
        with pytest.raises(UsageError, match="nothing to preview"):
            preview.write_preview(tmp_path / "preview.png", images, plan, plan_of_copies, seed=0)
    assert not list(tmp_path.iterdir())


def test_changes_that_no_stage_uses_are_not_shown(tmp_path, draw_classes):
    data, png = draw_classes(tmp_path / "data", {"red": 3, "green": 3}), tmp_path / "preview.png"
    _, recipe = load_recipe("shapes")
    unused = replace(recipe, stages=tuple(replace(stage, augment=False) for stage in recipe.stages))
    with pytest.raises(UsageError, match="nothing to preview"):
        preview.preview_data(Job("shapes", unused, data, tmp_path / "run", Device("cpu")), png, quiet=True)
    copied = replace(unused, copies=CopiesPlan(flip=True))
    preview.preview_data(Job("shapes", copied, data, tmp_path / "run", Device("cpu")), png, quiet=True)
    assert cells(png, recipe.side).shape[:2] == (2, 2)


def test_a_place_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "preview.png").mkdir()
    with pytest.raises(UsageError, match=r"preview\.png: cannot be written"):
        preview.write_preview(tmp_path / "preview.png", pictures(1), PLAN, None, seed=0)
    assert [path.name for path in tmp_path.iterdir()] == ["preview.png"]
