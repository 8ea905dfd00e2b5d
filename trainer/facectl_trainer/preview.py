"""A grid of augmented examples, to look at before an hour of training is spent on them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from facectl_runtime.errors import UsageError
from facectl_runtime.files import scratch_beside
from facectl_trainer.augment import AugmentPlan, CopiesPlan, Images, affine, apply, copies, transforms
from facectl_trainer.backbones import backbone
from facectl_trainer.model import input_side
from facectl_trainer.pixels import decode
from facectl_trainer.prepare import gather
from facectl_trainer.reports.output import check_png

if TYPE_CHECKING:
    from facectl_trainer.job import Job

ROWS = 8
EXAMPLES = 6
_CELL = 224
"""Pixels, at most: a larger input is shown scaled down."""
_GAP = 4
_CAPTION = 20
_PAPER, _INK = (255, 255, 255), (40, 40, 40)


def write_preview(
    path: Path, images: Images, plan: AugmentPlan | None, copies_plan: CopiesPlan | None, seed: int
) -> None:
    """Write a PNG: a row for each of the first 8 `images` (n × side × side × 3 uint8), a column for each change.

    The columns: the original; for `plan`, six random changes by the layer that training uses; for `copies_plan`, each
    copy whose features are cached. Raises `UsageError` where there is nothing to show or
    the file cannot be written.
    """
    shown = images[:ROWS]
    columns = [("original", shown)]
    if plan:
        columns += _examples(shown, plan, seed)
    if copies_plan:
        changed = copies(copies_plan, images.shape[2])[1:]
        columns += [(name, apply(shown, transform)) for name, transform in changed]
    if not len(shown) or len(columns) == 1:
        raise UsageError(f"{path}: nothing to preview; the recipe has neither [augment] nor copies")
    _save(_grid(columns), path)


def preview_data(job: "Job", path: Path, quiet: bool) -> None:
    """Write the preview of a job's recipe on images of its data folder, of as many classes as there are rows."""
    check_png(path)
    data, recipe, seed = job.data, job.recipe, job.seed
    gathered = gather(data, recipe.data, seed, quiet, job.split)
    side = input_side(backbone(recipe.backbone), recipe)
    labels = np.random.default_rng(seed).permutation(len(gathered.labels))
    first = {image.label: image for image in reversed(gathered.images)}
    chosen = [first[gathered.labels[label]] for label in labels[:ROWS]]
    found, errors = decode(data, chosen, gathered.hashes, recipe.input(side), lambda _: None)
    if not found:
        raise UsageError(f"{data}: cannot be read ({next(iter(errors.values()))}); facectl train names all such images")
    used = recipe.augment if any(stage.augment for stage in recipe.stages) else None
    if recipe.augment and not (used or recipe.copies):
        raise UsageError(f"{path}: nothing to preview; the recipe has [augment], and no stage that has augment = true")
    write_preview(path, np.stack(list(found.values())), used, recipe.copies, seed)


def _examples(images: Images, plan: AugmentPlan, seed: int) -> list[tuple[str, Images]]:
    layer, random = affine(plan.fill), np.random.default_rng(seed)
    drawn = [transforms(plan, random, len(images), images.shape[2]) for _ in range(EXAMPLES)]
    return [(f"example {k}", np.asarray(layer([images, each]))) for k, each in enumerate(drawn, start=1)]


def _grid(columns: Sequence[tuple[str, npt.NDArray[np.uint8]]]) -> Image.Image:
    rows, height, width, _ = columns[0][1].shape
    scale = min(1.0, _CELL / max(height, width))
    size = round(width * scale), round(height * scale)
    step = size[0] + _GAP, size[1] + _GAP
    sheet = Image.new("RGB", (len(columns) * step[0] + _GAP, _CAPTION + rows * step[1] + _GAP), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default()
    for column, (caption, cells) in enumerate(columns):
        left = _GAP + column * step[0]
        draw.text((left + size[0] / 2, _CAPTION / 2 + 1), caption, _INK, font, anchor="mm")
        for row, pixels in enumerate(cells):
            cell = Image.fromarray(pixels)
            sheet.paste(cell if scale == 1 else cell.resize(size), (left, _CAPTION + row * step[1]))
    return sheet


def _save(sheet: Image.Image, path: Path) -> None:
    with scratch_beside(path) as scratch:
        try:
            sheet.save(scratch / "preview.png")
            (scratch / "preview.png").replace(path)
        except OSError as error:
            raise UsageError(f"{path}: cannot be written ({error.strerror}); give another place") from error
