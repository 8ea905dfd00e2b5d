"""What a run folder says of its training and its test, read for a report."""

import csv
import io
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from facectl_runtime.errors import ModelError
from facectl_runtime.faces.pairs import index_people
from facectl_runtime.labelled import Image
from facectl_trainer.run import EMBEDDINGS, EmbedMetrics, Metrics, Run, read_embeddings, read_run

HISTORY, PREDICTIONS, METRICS = "history.csv", "predictions.csv", "metrics.json"
_T = TypeVar("_T")


@dataclass(frozen=True)
class Epoch:
    """A row of `history.csv`; NaN where a number is not there."""

    stage: str
    epoch: int
    """From 1 on, through all stages."""
    rate: float
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float
    val_spread: float = math.nan
    """Of an embedding alone; see `triplets.spread`."""


@dataclass(frozen=True)
class Predictions:
    """A classifier's answers on the test images."""

    images: list[Image]
    truth: npt.NDArray[np.intp]
    """N indices into the labels."""
    probabilities: npt.NDArray[np.float64]
    """N × classes, calibrated."""

    @property
    def predicted(self) -> npt.NDArray[np.intp]:
        """N indices of the likeliest class."""
        return np.asarray(self.probabilities.argmax(axis=1))


@dataclass(frozen=True)
class Results:
    """Everything in a run folder but the model."""

    run: Run
    history: list[Epoch]
    predictions: Predictions
    metrics: Metrics


@dataclass(frozen=True)
class Embedded:
    """Everything in the run folder of an embedding but the model."""

    run: Run
    history: list[Epoch]
    """Empty where nothing was trained."""
    images: list[Image]
    """The N test images."""
    embeddings: npt.NDArray[np.float32]
    """N × d, L2 norm 1."""
    who: npt.NDArray[np.int32]
    """N indices into `people`."""
    people: list[str]
    metrics: EmbedMetrics


def read_results(folder: Path) -> Results:
    """Read a run folder. Raises `ModelError` where a file of it is missing or damaged."""
    run = read_run(folder)
    labels = run.spec.labels
    return Results(run, read_history(folder), read_predictions(folder, labels), read_metrics(folder, labels))


def read_embedded(folder: Path) -> Embedded:
    """Read the run folder of an embedding. Raises `ModelError` where a file of it is missing or damaged."""
    run = read_run(folder)
    images, embeddings = run.split.parts.get("test", []), read_embeddings(run)
    labels = [image.label for image in images]
    try:
        who = index_people(embeddings, labels)
    except ValueError as error:
        raise ModelError(f"{folder / EMBEDDINGS}: {error}; train again") from error
    metrics = _read_metrics(folder, EmbedMetrics)
    return Embedded(run, read_history(folder), images, embeddings, who, sorted(set(labels)), metrics)


def read_history(folder: Path) -> list[Epoch]:
    """Read `history.csv`. Raises `ModelError`."""
    path = folder / HISTORY
    try:
        return [_epoch(row) for row in csv.DictReader(io.StringIO(_text(path)))]
    except (ValueError, TypeError, csv.Error) as error:
        raise ModelError(f"{path}: not a history of training ({error}); train again") from error


def read_predictions(folder: Path, labels: tuple[str, ...]) -> Predictions:
    """Read `predictions.csv`: path, label, then the probability of each of `labels`. Raises `ModelError`."""
    path = folder / PREDICTIONS
    try:
        header, *rows = csv.reader(io.StringIO(_text(path)))
        if tuple(header[2:]) != labels or not rows:
            raise ValueError("its columns are not the run's classes" if rows else "it has no rows")
        index = {label: number for number, label in enumerate(labels)}
        truth = np.array([index[row[1]] for row in rows])
        probabilities = np.array([row[2:] for row in rows], np.float64)
    except KeyError as error:
        raise ModelError(f"{path}: {error} is no class of the run; train again") from error
    except (ValueError, IndexError, csv.Error) as error:
        raise ModelError(f"{path}: not the predictions of this run ({error}); train again") from error
    return Predictions([Image(row[0], row[1]) for row in rows], truth, probabilities)


def read_metrics(folder: Path, labels: tuple[str, ...]) -> Metrics:
    """Read `metrics.json` of a classifier. Raises `ModelError`."""
    metrics = _read_metrics(folder, Metrics)
    if metrics.test.labels != labels:
        raise ModelError(f"{folder / METRICS}: its classes are not those of spec.json; train again")
    return metrics


def _read_metrics(folder: Path, kind: type[_T]) -> _T:
    path = folder / METRICS
    try:
        return msgspec.json.decode(_text(path), type=kind)
    except msgspec.MsgspecError as error:
        raise ModelError(f"{path}: not the metrics of a run ({error}); train again") from error


def _epoch(row: dict[str, str]) -> Epoch:
    numbers = {field.name: float(row.get(field.name) or "nan") for field in fields(Epoch) if field.type is float}
    return Epoch(stage=row.get("stage") or "training", epoch=int(row["epoch"]), **numbers)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}; train again") from error
    except UnicodeDecodeError as error:
        raise ModelError(f"{path}: not UTF-8 text; train again") from error
