"""Material: a data folder as each stage of training takes it, decoded and computed no more than once."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from facectl_runtime import __version__
from facectl_runtime.image import DECODE_VERSION
from facectl_runtime.labelled import PARTS, Image, Part
from facectl_runtime.progress import progress
from facectl_runtime.spec import InputSpec
from facectl_trainer.augment import AugmentPlan, CopiesPlan, Transforms, apply, copies
from facectl_trainer.calibrate import Truth
from facectl_trainer.data.cache import FeatureCache
from facectl_trainer.features import ORIGINAL, Features, Pixels, extract
from facectl_trainer.feed import Feed, Photographs, Vectors, augmented
from facectl_trainer.model import Halves, begins_at, digest, halve
from facectl_trainer.pixels import decode, room
from facectl_trainer.recipe import StagePlan

Parts = Mapping[Part, Sequence[Image]]


class Material:
    """Photographs, and what was made of them so far."""

    def __init__(
        self,
        root: Path,
        spec: InputSpec,
        hashes: Mapping[str, str],
        labels: Sequence[str],
        changes: CopiesPlan | None,
        augment: AugmentPlan | None,
        device: str,
        quiet: bool,
    ) -> None:
        self._root, self._spec, self._hashes, self._augment, self._quiet = root, spec, hashes, augment, quiet
        self._index = {label: number for number, label in enumerate(labels)}
        self._changes = copies(changes, spec.width) if changes else ORIGINAL
        self._made_by = f"{__version__}:{DECODE_VERSION}:{PIL.__version__}:{device}:{spec}"
        self._vectors: dict[tuple[str, bool], dict[str, list[Features]]] = {}
        self._pixels: dict[str, Pixels] = {}

    def unreadable(self, model: Any, stage: StagePlan, images: Sequence[Image]) -> dict[str, str]:
        """Make what a stage needs of every image; gives {path: error} of those that cannot be read."""
        if on_pixels(model, stage):
            with progress("decoding photographs", len(images), self._quiet) as advance:
                self._pixels, errors = decode(self._root, images, self._spec, advance)
            return errors
        return self._compute(halve(model, begins_at(model, stage.train)), images, copied=False)[1]

    def feed(self, model: Any, stage: StagePlan, parts: Parts) -> Feed:
        """Give what a stage is fed with; `model`'s layers are shared by the networks in it."""
        truth = {part: self._truth(parts[part]) for part in PARTS}
        if on_pixels(model, stage):
            truth["train"] = np.tile(truth["train"], len(self._changes))
            return self._photographs(model, stage, parts, truth)
        halves = halve(model, begins_at(model, stage.train))
        truth["train"] = np.repeat(truth["train"], len(self._changes))
        rows = {part: self._rows(halves, parts[part], copied=part == "train") for part in PARTS}
        return Vectors(halves, rows, truth)

    def _truth(self, images: Sequence[Image]) -> Truth:
        return np.array([self._index[image.label] for image in images], np.intp)

    def _rows(self, halves: Halves, images: Sequence[Image], copied: bool) -> Features:
        found, _ = self._compute(halves, images, copied)
        vectors = [vector for image in images for vector in found[image.path]]
        rows = room((len(vectors), halves.size), np.float32)
        for index, vector in enumerate(vectors):
            rows[index] = vector
        return rows

    def _compute(
        self, halves: Halves, images: Sequence[Image], copied: bool
    ) -> tuple[dict[str, list[Features]], dict[str, str]]:
        """Give the vectors of images, and of their copies; kept, so that a stage finds what the check has made."""
        copied = copied and len(self._changes) > 1
        made_by = digest(halves.trunk)
        self._vectors = {
            key: found for key, found in self._vectors.items() if key[0] == made_by
        }  # one trunk's at a time
        known = self._vectors.setdefault((made_by, copied), {})
        missing = [image for image in images if image.path not in known]
        if not missing:
            return known, {}
        changes = self._changes if copied else ORIGINAL
        what = f"features by {halves.name}" + (f", {len(changes)} copies" if copied else "")
        cache = FeatureCache(f"{self._made_by}:{made_by}")
        with progress(what, len(missing), self._quiet) as advance:
            found, errors = extract(
                lambda pixels: halves.flat(_listed(halves.trunk.predict_on_batch(pixels))),
                self._spec, self._root, missing, self._hashes, cache, advance, changes,
            )  # fmt: skip
        known |= found
        return known, errors

    def _photographs(self, model: Any, stage: StagePlan, parts: Parts, truth: dict[Part, Truth]) -> Feed:
        wanted = [image for part in PARTS for image in parts[part] if image.path not in self._pixels]
        if wanted:
            with progress("decoding photographs", len(wanted), self._quiet) as advance:
                self._pixels |= decode(self._root, wanted, self._spec, advance)[0]
        pixels = {part: [self._pixels[image.path] for image in parts[part]] for part in PARTS}
        pixels["train"] = [*pixels["train"], *self._copied(pixels["train"])]
        plan = self._augment if stage.augment else None
        return Photographs(model, augmented(model, plan) if plan else model, pixels, truth, plan)

    def _copied(self, originals: Sequence[Pixels]) -> Sequence[Pixels]:
        changes = [change for name, change in self._changes if name]
        if not changes or not originals:
            return []
        rows = room((len(changes) * len(originals), *originals[0].shape), np.uint8)
        for number, image in enumerate(originals):
            rows[number :: len(originals)] = _all_changes(image, changes)
        return list(rows)


def _all_changes(image: Pixels, changes: Sequence[Transforms]) -> Pixels:
    return apply(np.repeat(image[None], len(changes), axis=0), np.stack(changes))


def on_pixels(model: Any, stage: StagePlan) -> bool:
    """Say whether a stage runs the whole network each epoch, and not its tail on what was computed before."""
    return stage.augment or begins_at(model, stage.train) == 0


def _listed(outputs: Any) -> list[Any]:
    return outputs if isinstance(outputs, list) else [outputs]
