"""A threshold for a model: chosen and measured for this very file, and put into its spec."""

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
from msgspec.structs import replace

from facectl_runtime import image, sums
from facectl_runtime.engines import Engine, format_of
from facectl_runtime.engines.base import Answers
from facectl_runtime.errors import ModelError, UsageError, did_you_mean
from facectl_runtime.evaluate import answer_each, labelled_loader
from facectl_runtime.known_scores import SCORES, Separation, score, separation
from facectl_runtime.labelled import Chosen, Image
from facectl_runtime.rows import NO_NUMBERS
from facectl_runtime.spec import ModelSpec
from facectl_runtime.threshold import Calibrated, calibrate_scores

AUTO = "auto"


class OfClasses(msgspec.Struct, frozen=True):
    """The threshold of a classifier, and how each score tells known images from unknown ones."""

    calibrated: Calibrated
    scores: dict[str, Separation]
    left_out: dict[str, str]
    """Path → why."""


def calibrate_classes(
    engine: Engine,
    spec: ModelSpec,
    known: Chosen,
    unknown: Chosen,
    far: float,
    kind: str,
    folds: int,
    seed: int,
    advance: Callable[[int], None],
    cores: int | None,
) -> OfClasses:
    """Choose what a classifier's answers have to reach, so that at most `far` of the images of other things do.

    `known`: images of its classes; `unknown`: of other things, whose labels are the groups that stay together. `kind`:
    a key of `SCORES`, or `auto` for the one that tells them apart best (AUROC). Raises `UsageError`.
    """
    check_score(kind)
    sides = []
    left_out: dict[str, str] = {}
    for chosen in (known, unknown):
        load = labelled_loader(chosen.root, chosen.hashes, lambda data: image.load(data, spec.input))
        images, answers, unreadable = answer_each(engine, chosen.images, load, advance, cores)
        unreadable += [
            (each.path, NO_NUMBERS) for each, row in zip(images, answers, strict=True) if not _is_number(row)
        ]
        images = [each for each, row in zip(images, answers, strict=True) if _is_number(row)]
        answers = answers[np.isfinite(answers).all(axis=1)] if len(answers) else answers
        if not images:
            raise UsageError(f"{chosen.root}: none of its {len(chosen.images)} images can be used")
        left_out |= {str(chosen.root / path): why for path, why in unreadable}
        sides.append((images, answers))
    (images, probabilities), (others, others_probabilities) = sides
    right = np.array([spec.labels[row.argmax()] == each.label for row, each in zip(probabilities, images, strict=True)])
    found = {
        name: separation(score(name, probabilities), score(name, others_probabilities))
        for name in (SCORES if kind == AUTO else [kind])
    }
    best = max(found, key=lambda name: round(found[name].auroc, 6))  # of equals the first, the plainest
    calibrated = calibrate_scores(
        best,
        score(best, probabilities),
        right,
        score(best, others_probabilities),
        far,
        [each.label for each in others],
        folds,
        seed,
    )
    return OfClasses(calibrated, found, left_out)


def _is_number(row: Answers) -> bool:
    return bool(np.isfinite(row).all())


def unknown_images(images: Sequence[Image], labels: Sequence[str]) -> tuple[list[Image], list[Image]]:
    """Part images into those of a model's classes and those of others."""
    known = [each for each in images if each.label in labels]
    return known, [each for each in images if each.label not in labels]


def check_score(kind: str) -> None:
    """Refuse what is no score of a classifier. Raises `UsageError`."""
    if kind not in (names := (AUTO, *SCORES)):
        raise UsageError(f"--score {kind!r} is not known{did_you_mean(kind, names)}; use {', '.join(names)}")


def check_signable(model: Path) -> None:
    """Refuse a model into which no threshold can be put. Raises `ModelError`."""
    if format_of(model).sign is None:
        raise ModelError(f"{model}: a threshold cannot be put into such a model; use an .onnx, .tflite or a run folder")


def sign(model: Path, calibrated: Calibrated, measured: ModelSpec | None = None) -> ModelSpec:
    """Put a threshold into a model's spec, and the checksums beside it up to date.

    `measured`: the spec as it was when measuring began. Raises `ModelError`, also where it is another model by now.
    """
    check_signable(model)
    reader = format_of(model)
    spec = reader.read_spec(model)
    if measured and (spec.graph_sha256, spec.provenance) != (measured.graph_sha256, measured.provenance):
        raise ModelError(f"{model}: became another model while it was measured; calibrate it again")
    assert reader.sign is not None
    signed = replace(spec, threshold=calibrated.threshold())
    summed = sums.holds(model)
    reader.sign(model, signed)
    if summed:
        sums.renew(model)
    return signed
