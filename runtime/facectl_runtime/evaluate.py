"""Evaluation of a classifier on labelled images."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from facectl_runtime import image
from facectl_runtime.classifier import is_known
from facectl_runtime.engines import Engine
from facectl_runtime.engines.base import Pixels
from facectl_runtime.errors import ImageError, UsageError, counted, few
from facectl_runtime.labelled import CHANGED, Image
from facectl_runtime.metrics import confusion, precision_recall_f1, wilson
from facectl_runtime.pipeline import answers, decode_ahead, stacked
from facectl_runtime.reading import batch_of
from facectl_runtime.rows import NO_NUMBERS
from facectl_runtime.sources import display_name
from facectl_runtime.spec import InputSpec, Metrics, ModelSpec


class Answered(msgspec.Struct, frozen=True):
    """Labelled images with a classifier's answers."""

    images: list[Image]
    truth: npt.NDArray[np.intp]
    """N indices into the labels."""
    probabilities: npt.NDArray[np.float32]
    """N × classes."""
    unreadable: list[tuple[str, str]]
    """(path, error) of the images left out."""

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """N booleans: whether the likeliest class is the true one."""
        return np.asarray(self.probabilities.argmax(axis=1) == self.truth)

    def finite(self) -> "Answered":
        """Leave out the images whose answer is no number. Raises `UsageError` where that is all of them."""
        usable = np.isfinite(self.probabilities).all(axis=1)
        if not usable.any():
            raise UsageError(f"none of {counted(len(self.images), 'image')} can be used ({NO_NUMBERS})")
        left_out = [(display_name(self.images[number].path), NO_NUMBERS) for number in np.flatnonzero(~usable)]
        images = [self.images[number] for number in np.flatnonzero(usable)]
        return Answered(images, self.truth[usable], self.probabilities[usable], self.unreadable + left_out)


class PerClass(msgspec.Struct, frozen=True):
    """Measures of one class, 0 to 1; None where nothing was predicted as it, or nothing of it is there."""

    precision: float | None
    recall: float | None
    f1: float | None
    n: int


class Withheld(msgspec.Struct, frozen=True):
    """What a model's threshold withholds: images whose answer is `unknown`."""

    threshold: float
    count: int
    right: int
    """How many of them would have been answered right."""
    accuracy: float | None
    """Of the images that are given a class; None where none is."""


class Evaluation(msgspec.Struct, frozen=True):
    """What `facectl evaluate --json` prints."""

    accuracy: float
    n: int
    interval: tuple[float, float]
    """95 % Wilson score interval."""
    per_class: dict[str, PerClass]
    labels: tuple[str, ...]
    confusion: list[list[int]]
    """A row for the true class, a column for the predicted one, in the order of `labels`."""
    unreadable: dict[str, str] = {}
    """Path to error, of images that were left out."""
    withheld: Withheld | None = None
    """Of a model with a threshold; all else is measured by the likeliest class, as if it had none."""


def answer_labelled(
    engine: Engine,
    spec: InputSpec,
    labels: Sequence[str],
    root: Path,
    images: Sequence[Image],
    advance: Callable[[int], None],
    hashes: Mapping[str, str] | None = None,
    cores: int | None = None,
) -> Answered:
    """Answer every image; one whose content is not that of `hashes` (path → SHA-256) is left out.

    Images are decoded on `cores` cores, all that are usable for None.

    Raises `UsageError` for a label that the model does not have, and where none can be read.
    """
    index = {label: number for number, label in enumerate(labels)}
    if unknown := sorted({item.label for item in images} - set(index)):
        raise UsageError(
            f"the data has classes that the model has not: {few(unknown)}; it has {few(labels)}; leave the others out"
        )

    load = labelled_loader(root, hashes or {}, lambda data: image.load(data, spec))
    kept, rows, unreadable = answer_each(engine, images, load, advance, cores)
    if not kept:
        raise UsageError(f"{root}: none of its {len(images)} images can be used ({unreadable[0][1]})")
    return Answered(kept, np.array([index[item.label] for item in kept]), rows, unreadable)


def labelled_loader(
    root: Path, hashes: Mapping[str, str], read: Callable[[bytes], Pixels]
) -> Callable[[Image], Pixels]:
    """Give a function that loads an image below `root`, a file's bytes being brought to pixels by `read`.

    It raises `ImageError` where that does, and where the content is not that of `hashes` (path → SHA-256).
    """

    def load(item: Image) -> Pixels:
        data = image.read(root / item.path)
        pixels = read(data)
        recorded = hashes.get(item.path)
        if recorded and hashlib.sha256(data).hexdigest() != recorded:
            raise ImageError(CHANGED)
        return pixels

    return load


def answer_each(
    engine: Engine,
    images: Sequence[Image],
    load: Callable[[Image], Pixels],
    advance: Callable[[int], None],
    cores: int | None = None,
) -> tuple[list[Image], npt.NDArray[np.float32], list[tuple[str, str]]]:
    """Answer images; give those that could be loaded, their answers N × size, and (path, error) of the others."""
    kept, rows, unreadable = [], [], []
    decoded = decode_ahead(images, load, batch_of(engine), eager=True, workers=cores)
    for item, answer in answers(decoded, stacked(engine), engine.lanes):
        if isinstance(answer, ImageError):
            unreadable.append((display_name(item.path), str(answer)))
        else:
            kept.append(item)
            rows.append(answer)
        advance(1)
    return kept, np.stack(rows) if rows else np.empty((0, 0), np.float32), unreadable


def evaluation(answered: Answered, labels: Sequence[str], withheld: Withheld | None = None) -> Evaluation:
    """Measure answers."""
    table = confusion(answered.truth, answered.probabilities.argmax(axis=1), len(labels))
    measured = metrics(answered.right)
    per_class = {
        label: PerClass(*values, n=int(count))
        for label, values, count in zip(labels, precision_recall_f1(table), table.sum(axis=1), strict=True)
    }
    return Evaluation(
        measured.accuracy,
        measured.n,
        measured.interval,
        per_class,
        tuple(labels),
        table.tolist(),
        dict(answered.unreadable),
        withheld,
    )


def withheld(answered: Answered, spec: ModelSpec) -> Withheld | None:
    """Count what a classifier's threshold withholds; None where it has none."""
    if spec.threshold is None:
        return None
    known = np.array([is_known(row, spec) for row in answered.probabilities])
    right, given = answered.right, int(known.sum())
    accuracy = int(right[known].sum()) / given if given else None
    return Withheld(spec.threshold.value, len(known) - given, int(right[~known].sum()), accuracy)


def metrics(right: npt.NDArray[np.bool_]) -> Metrics:
    """Give the accuracy with its count and interval; `right` is N booleans."""
    hits, n = int(right.sum()), len(right)
    return Metrics(hits / n, n, wilson(hits, n))
