"""Models that can be compared, and what they answer on the same images."""

from collections.abc import Callable, Sequence
from itertools import zip_longest
from pathlib import Path

import msgspec
import numpy as np

from facectl_runtime.devices import Device
from facectl_runtime.engines import Engine, format_of
from facectl_runtime.errors import ModelError, UsageError
from facectl_runtime.evaluate import Answered, answer_labelled, metrics
from facectl_runtime.labelled import Chosen
from facectl_runtime.metrics import wilson
from facectl_runtime.spec import Metrics, ModelSpec


class Opened(msgspec.Struct, frozen=True):
    """A model that is ready to answer."""

    path: Path
    spec: ModelSpec
    engine: Engine


class Agreement(msgspec.Struct, frozen=True):
    """How far a model answers as the first one does."""

    share: float
    """Of the images: those with the same likeliest class."""
    interval: tuple[float, float]
    """95 % Wilson score interval."""
    n: int
    largest: float
    """Largest |Δp| over images and classes."""


class Quality(msgspec.Struct, frozen=True):
    """What a model answers on labelled images."""

    accuracy: Metrics
    agreement: Agreement | None
    """None for the first model, which the others are held against."""


def open_all(paths: Sequence[Path], device: Device, labelled: bool) -> list[Opened]:
    """Make models ready to answer, all specs read before the first is opened.

    Raises `ModelError` for one that cannot be used, an embedder too where `labelled` images are to be answered;
    `UsageError` for one given twice, and for those of other classes or another task than the first; `DeviceError`.
    """
    places = [path.resolve() for path in paths]
    if twice := [path for number, path in enumerate(paths) if places[number] in places[:number]]:
        raise UsageError(f"{twice[0]}: given twice; give each model once")
    specs = [format_of(path).read_spec(path) for path in paths]
    for path, spec in zip(paths, specs, strict=True):
        _check_alike(paths[0], specs[0], path, spec)
    if labelled and specs[0].task != "classify":
        raise ModelError(
            f"{paths[0]}: its task is {specs[0].task}, and accuracy is of classifiers; leave out --data and --split"
        )
    return [
        Opened(path, spec, format_of(path).open(path, spec, device)) for path, spec in zip(paths, specs, strict=True)
    ]


def _check_alike(first: Path, wanted: ModelSpec, path: Path, spec: ModelSpec) -> None:
    """Raise `UsageError` where two models do not answer the same question."""
    if spec.task != wanted.task:
        raise UsageError(f"{path}: its task is {spec.task}, that of {first} {wanted.task}; compare models of one task")
    for number, (mine, theirs) in enumerate(zip_longest(spec.labels, wanted.labels), 1):
        if mine != theirs:
            here, there = (repr(label) if label else "missing" for label in (mine, theirs))
            raise UsageError(
                f"{path}: label {number} is {here}, and {there} in {first}; compare models of the same classes in the "
                "same order"
            )


def answer_all(
    opened: Sequence[Opened], chosen: Chosen, cores: int, advance: Callable[[float], None]
) -> tuple[list[Quality], dict[str, str]]:
    """Have every model answer the same images, decoded on `cores` cores; `advance` is told of each answer.

    Gives what each answers, and the images left out with the reason. Raises `UsageError` for labels that they have not.
    """
    all_answered = [
        answer_labelled(
            one.engine, one.spec.input, one.spec.labels, chosen.root, chosen.images, advance, chosen.hashes, cores
        )
        for one in opened
    ]
    first, *others = all_answered
    held = [None, *(agreement(first, other) for other in others)]
    left_out = {name: why for answered in all_answered for name, why in answered.unreadable}
    return [
        Quality(metrics(answered.right), agrees) for answered, agrees in zip(all_answered, held, strict=True)
    ], left_out


def agreement(first: Answered, other: Answered) -> Agreement:
    """Compare the answers of two models on the images that both have answered."""
    rows = {image.path: row for image, row in zip(first.images, first.probabilities, strict=True)}
    pairs = [
        (rows[image.path], row)
        for image, row in zip(other.images, other.probabilities, strict=True)
        if image.path in rows
    ]
    before, after = (np.stack(side) for side in zip(*pairs, strict=True))
    same = before.argmax(axis=1) == after.argmax(axis=1)
    hits, n = int(same.sum()), len(same)
    return Agreement(hits / n, wilson(hits, n), n, float(np.abs(before - after).max()))
