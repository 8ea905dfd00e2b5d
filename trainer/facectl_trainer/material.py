"""Material: a data folder as each stage of training takes it, decoded and computed no more than once."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from facectl_runtime import __version__
from facectl_runtime.errors import UsageError
from facectl_runtime.faces.detect import DETECT_VERSION, DETECTOR
from facectl_runtime.image import DECODE_VERSION
from facectl_runtime.labelled import PARTS, Image, Part
from facectl_runtime.progress import progress
from facectl_runtime.spec import FaceAlign, InputSpec
from facectl_trainer.augment import AugmentPlan, CopiesPlan, Transforms, apply, copies
from facectl_trainer.calibrate import Truth
from facectl_trainer.data.cache import FeatureCache
from facectl_trainer.features import ORIGINAL, Extractor, Features, Pixels
from facectl_trainer.feed import Feed, Indices, Photographs, Vectors, trained_on_pixels
from facectl_trainer.model import Halves, begins_at, digest, halve
from facectl_trainer.pixels import decode, room
from facectl_trainer.recipe import HEAD, StagePlan

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
        interrupted: Callable[[], None],
        quiet: bool,
    ) -> None:
        self._root, self._spec, self._hashes, self._augment = root, spec, hashes, augment
        self._interrupted, self._quiet = interrupted, quiet
        self._index = {label: number for number, label in enumerate(labels)}
        self._changes = copies(changes, spec.width) if changes else ORIGINAL
        detector = f":{DETECTOR.sha256}:{DETECT_VERSION}" if isinstance(spec.resize, FaceAlign) else ""
        self._made_by = f"{__version__}:{DECODE_VERSION}:{_versions()}:{device}:{spec}{detector}"
        self._vectors: dict[tuple[str, bool], _Kept] = {}
        self._pixels: dict[str, Pixels] = {}
        self._room = 1.0  # the share of the cache that this run has not filled

    def unreadable(self, model: Any, stage: StagePlan | None, images: Sequence[Image]) -> dict[str, str]:
        """Make what a stage needs of every image; gives {path: error} of those that cannot be read.

        Where nothing is trained, `stage` is None, and what the backbone makes of them is needed.
        """
        if stage and on_pixels(model, stage):
            self._pixels, errors = self._decode(images)
            return errors
        return self._compute(halve(model, _first(model, stage)), images, copied=False).errors

    def feed(self, model: Any, stage: StagePlan | None, parts: Parts) -> Feed:
        """Give what a stage is fed with; `model`'s layers are shared by the networks in it."""
        truth = {part: self._truth(parts[part]) for part in PARTS}
        if stage and on_pixels(model, stage):
            truth["train"] = np.tile(truth["train"], len(self._changes))
            return self._photographs(model, stage, parts, truth)
        halves = halve(model, _first(model, stage))
        truth["train"] = np.repeat(truth["train"], len(self._changes))
        copied = len(self._changes) > 1
        whole = self._compute(halves, [image for part in PARTS for image in parts[part]], copied=False)
        rows = {part: whole.of(parts[part]) for part in PARTS}
        if copied:
            rows["train"] = self._compute(halves, parts["train"], copied=True).of(parts["train"])
        return Vectors(halves, rows, truth)

    def _truth(self, images: Sequence[Image]) -> Truth:
        return np.array([self._index[image.label] for image in images], np.intp)

    def _compute(self, halves: Halves, images: Sequence[Image], copied: bool) -> "_Kept":
        """Give the vectors of images, or of their copies; kept, so that a stage finds what the check has made."""
        made_by = digest(halves.trunk)
        self._vectors = {key: kept for key, kept in self._vectors.items() if key[0] == made_by}  # one trunk's at a time
        before = self._vectors.get((made_by, copied))
        if before and all(image.path in before.places for image in images):
            return before
        changes = self._changes if copied else ORIGINAL
        what = f"features by {halves.name}" + (f", {len(changes)} copies" if copied else "")
        rows = room((len(images), len(changes), halves.size), np.float32)
        cache = FeatureCache(f"{self._made_by}:{made_by}")
        some = self._kept_of(rows, cache)
        extractor = Extractor(halves.vectors, self._spec, self._root, self._hashes, cache, changes, some)
        with self._progress(what, len(images)) as advance:
            errors = extractor.extract(images, rows, advance)
        kept = _Kept(rows, {image.path: place for place, image in enumerate(images)}, errors)
        self._vectors[made_by, copied] = kept
        return kept

    def _kept_of(self, rows: Features, cache: FeatureCache) -> int:
        """Say of how many images the cache keeps what is computed: as many as it can hold beside what came before.

        More would put out what was put in first; and the next run, which begins with that, would find nothing.
        """
        images, copies, size = rows.shape
        room = cache.fits(size * rows.itemsize) // copies
        kept: int = min(images, int(room * self._room))
        self._room -= kept / max(room, 1)
        if cache.limit and kept < images:
            print(
                f"facectl: the features of {images} photographs take {rows.nbytes / 1e6:,.0f} MB, and the cache may "
                f"take {cache.limit / 1e6:,.0f} MB: those of {kept} are kept; to keep more, set FACECTL_CACHE_BYTES",
                file=sys.stderr,
            )
        return kept

    def _photographs(self, model: Any, stage: StagePlan, parts: Parts, truth: dict[Part, Truth]) -> Feed:
        wanted = [image for part in PARTS for image in parts[part] if image.path not in self._pixels]
        if wanted:
            found, errors = self._decode(wanted)
            _refuse_lost(self._root, errors)
            self._pixels |= found
        pixels = {part: [self._pixels[image.path] for image in parts[part]] for part in PARTS}
        pixels["train"] = [*pixels["train"], *self._copied(pixels["train"])]
        plan = self._augment if stage.augment else None
        return Photographs(model, trained_on_pixels(model, begins_at(model, stage.train), plan), pixels, truth, plan)

    def _decode(self, images: Sequence[Image]) -> tuple[dict[str, Pixels], dict[str, str]]:
        with self._progress("decoding photographs", len(images)) as advance:
            return decode(self._root, images, self._hashes, self._spec, advance)

    @contextmanager
    def _progress(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        with progress(what, total, self._quiet) as advance:

            def done(count: int) -> None:
                self._interrupted()
                advance(count)

            yield done

    def _copied(self, originals: Sequence[Pixels]) -> Sequence[Pixels]:
        changes = [change for name, change in self._changes if name]
        if not changes or not originals:
            return []
        rows = room((len(changes) * len(originals), *originals[0].shape), np.uint8)
        for number, image in enumerate(originals):
            rows[number :: len(originals)] = _all_changes(image, changes)
        return list(rows)


@dataclass(frozen=True)
class _Kept:
    """Vectors of images by one trunk."""

    rows: Features
    """N × copies × size."""
    places: Mapping[str, int]
    """Path → N."""
    errors: dict[str, str]
    """Path → why it could not be read."""

    def of(self, images: Sequence[Image]) -> tuple[Features, Indices]:
        """Give all vectors, flat, and which of them are the copies of `images`, image by image."""
        copies = self.rows.shape[1]
        first = np.array([self.places[image.path] for image in images], np.intp) * copies
        _refuse_lost(Path(), {image.path: self.errors[image.path] for image in images if image.path in self.errors})
        return self.rows.reshape(-1, self.rows.shape[2]), (first[:, None] + np.arange(copies)).ravel()


def _versions() -> str:
    """Name what decodes and computes: another release of it may give other values."""
    found = []
    for name in ("pillow", "pillow-heif", "tensorflow", "tf_keras"):
        with suppress(PackageNotFoundError):
            found.append(f"{name} {version(name)}")
    return ", ".join(found)


def _refuse_lost(root: Path, errors: Mapping[str, str]) -> None:
    """Raise `UsageError` for images that could be read when training began."""
    if errors:
        path, why = next(iter(errors.items()))
        raise UsageError(f"{root / path}: could be read a moment ago, and now {why}; train again")


def _all_changes(image: Pixels, changes: Sequence[Transforms]) -> Pixels:
    return apply(np.repeat(image[None], len(changes), axis=0), np.stack(changes))


def _first(model: Any, stage: StagePlan | None) -> int:
    return begins_at(model, stage.train if stage else HEAD)


def on_pixels(model: Any, stage: StagePlan) -> bool:
    """Say whether a stage runs the whole network each epoch, and not its tail on what was computed before."""
    return stage.augment or begins_at(model, stage.train) == 0
