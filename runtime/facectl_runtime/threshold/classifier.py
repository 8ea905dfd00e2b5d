"""The threshold of a classifier, from what it answers to images of its classes and of other things."""

from collections.abc import Callable
from typing import NamedTuple

import msgspec
import numpy as np

from facectl_runtime import image
from facectl_runtime.engines import Engine
from facectl_runtime.engines.base import Answers
from facectl_runtime.errors import UsageError, did_you_mean, left_out_clause
from facectl_runtime.evaluate import answer_each, labelled_loader
from facectl_runtime.labelled import Chosen
from facectl_runtime.rows import NO_NUMBERS
from facectl_runtime.sources import display_name
from facectl_runtime.spec import ModelSpec
from facectl_runtime.threshold.calibrated import Calibrated
from facectl_runtime.threshold.classes import calibrate_scores
from facectl_runtime.threshold.known_scores import SCORES, Separation, score, separation

AUTO = "auto"


class OfClasses(msgspec.Struct, frozen=True):
    """The threshold of a classifier, and how each score tells known images from unknown ones."""

    calibrated: Calibrated
    scores: dict[str, Separation]
    left_out: dict[str, str]
    """Path → why."""


def check_score(kind: str) -> None:
    """Refuse what is no score of a classifier. Raises `UsageError`."""
    if kind not in (names := (AUTO, *SCORES)):
        raise UsageError(f"--score {kind!r} is not known{did_you_mean(kind, names)}; use {', '.join(names)}")


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
    a key of `SCORES`, or `auto` for the one that tells them apart best. Raises `UsageError`, as `calibrate_scores` does
    and where none of the images can be used.
    """
    check_score(kind)
    mine, others = (_answered(engine, spec, chosen, advance, cores) for chosen in (known, unknown))
    kinds = SCORES if kind == AUTO else (kind,)
    known_scores, unknown_scores = (
        {name: score(name, side.probabilities) for name in kinds} for side in (mine, others)
    )
    likeliest = (spec.labels[number] for number in mine.probabilities.argmax(axis=1))
    right = np.array([one == true for one, true in zip(likeliest, mine.labels, strict=True)])
    left_out = mine.left_out | others.left_out
    try:
        found = calibrate_scores(known_scores, right, unknown_scores, far, others.labels, folds, seed)
    except UsageError as error:
        raise UsageError(f"{error}{left_out_clause(left_out)}") from error
    separations = {name: separation(known_scores[name], unknown_scores[name]) for name in kinds}
    return OfClasses(found, separations, left_out)


class _Answered(NamedTuple):
    labels: list[str]
    """Of those that were answered."""
    probabilities: Answers
    """N × classes, finite."""
    left_out: dict[str, str]
    """Path → why."""


def _answered(
    engine: Engine, spec: ModelSpec, chosen: Chosen, advance: Callable[[int], None], cores: int | None
) -> _Answered:
    """Answer images, and leave out what cannot be read or answered with numbers. Raises `UsageError` if that is all."""
    load = labelled_loader(chosen.root, chosen.hashes, lambda data: image.load(data, spec.input))
    images, answers, unreadable = answer_each(engine, chosen.images, load, advance, cores)
    finite = np.isfinite(answers).all(axis=1)
    if not finite.any():
        why = unreadable[0][1] if unreadable else NO_NUMBERS
        raise UsageError(f"{chosen.root}: none of its {len(chosen.images)} images can be used ({why})")
    unreadable += [(display_name(images[number].path), NO_NUMBERS) for number in np.flatnonzero(~finite)]
    labels = [images[number].label for number in np.flatnonzero(finite)]
    return _Answered(labels, answers[finite], {str(chosen.root / path): why for path, why in unreadable})
