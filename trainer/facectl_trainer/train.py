"""Training: from a data folder and a recipe to a run folder."""

import os
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import numpy as np

from facectl_runtime.devices import Device
from facectl_runtime.errors import UsageError
from facectl_runtime.evaluate import Answered, evaluation, metrics
from facectl_runtime.files import scratch_beside, swap_in
from facectl_runtime.labelled import Part, Split
from facectl_runtime.progress import progress
from facectl_runtime.spec import InputSpec, ModelSpec, OutputSpec, Provenance, encode
from facectl_trainer import fit
from facectl_trainer.backbones import Backbone, backbone
from facectl_trainer.data.split import Fold
from facectl_trainer.framework import use_device
from facectl_trainer.model import HEAD, assemble
from facectl_trainer.prepare import Prepared, prepare
from facectl_trainer.recipe import Recipe
from facectl_trainer.run import SPEC, Calibration, Metrics, write_run
from facectl_trainer.weights import locate

PACKAGES = ("facectl", "tensorflow", "tf_keras", "numpy", "pillow")


@dataclass(frozen=True)
class Job:
    """What to train."""

    name: str
    """The recipe's name."""
    recipe: Recipe
    data: Path
    out: Path
    device: Device
    seed: int = 0
    fold: Fold | None = None
    force: bool = False
    """Replace a run that stands at `out`, once the new one is whole."""


@dataclass(frozen=True)
class Trained:
    """What training did, for a report."""

    out: Path
    metrics: Metrics
    counts: dict[Part, int]
    epochs: int
    left_out: dict[str, str]
    """Path → why."""


def train(job: Job, quiet: bool = False) -> Trained:
    """Train a classifier and write its run folder, whole or not at all.

    Raises `UsageError` for data that cannot be trained on, and where something stands at `job.out`.
    """
    _check_out(job)
    body = backbone(job.recipe.backbone)
    used = use_device(job.device)
    weights = locate(body.weights)
    if not quiet:
        print(f"device: {used} (asked for: {job.device})", file=sys.stderr)
    spec = InputSpec(body.width, body.height, job.recipe.resize)
    data = prepare(job.data, body, weights, spec, job.recipe.split, job.seed, job.fold, quiet)
    described = _describe(job, body, spec, data)
    plan = job.recipe.head
    with progress("training, epochs", plan.epochs, quiet) as advance:
        head, history = fit.fit_head(
            data.arrays("train"), data.arrays("val"), len(data.labels), plan, job.seed, advance
        )
    calibration = _calibrate(head, data)
    head = head.cooled(calibration.temperature)
    answered = _answer(head, data)
    test = Metrics(evaluation(answered, data.labels), calibration)
    described = msgspec.structs.replace(described, metrics=metrics(answered.right))
    _write(job, _with_head(body, weights, head), described, data.split, history, test)
    counts = {part: len(images) for part, images in data.split.parts.items()}
    return Trained(job.out, test, counts, len(history), data.left_out)


def _check_out(job: Job) -> None:
    """Refuse a place that the run could not take, before any work is done."""
    if job.out.exists() and not job.force:
        raise UsageError(
            f"{job.out}: already there; give another --out, or --force to replace it when the new run is done"
        )
    if job.out.exists() and not (job.out / SPEC).is_file():
        raise UsageError(f"{job.out}: not a run folder, and --force replaces nothing else; give another --out")
    place = next(folder for folder in job.out.absolute().parents if folder.exists())
    if not (place.is_dir() and os.access(place, os.W_OK)):
        raise UsageError(f"{job.out}: cannot be written; give another place with --out")
    try:
        msgspec.convert(job.out.name, get_type_hints(ModelSpec, include_extras=True)["name"])
    except msgspec.ValidationError as error:
        raise UsageError(
            f"{job.out}: its last part becomes the model's name, in which letters a to z, digits, '.', '_' and '-' are "
            "allowed, 100 at most, a letter or digit first; give another --out"
        ) from error


def _calibrate(head: fit.Head, data: Prepared) -> Calibration:
    features, truth = data.arrays("val")
    logits = head.logits(features)
    temperature = fit.fit_temperature(logits, truth)
    before, after = fit.cross_entropy(logits, truth), fit.cross_entropy(logits / temperature, truth)
    return Calibration(temperature, before, after, len(truth))


def _answer(head: fit.Head, data: Prepared) -> Answered:
    features, truth = data.arrays("test")
    probabilities = np.exp(fit.log_softmax(head.logits(features))).astype(np.float32)
    return Answered(data.split.parts["test"], truth, probabilities, [])


def _with_head(body: Backbone, weights: Path, head: fit.Head) -> Any:
    model = assemble(body, len(head.bias), weights)
    model.get_layer(HEAD).set_weights([head.kernel, head.bias])
    return model


def _describe(job: Job, body: Backbone, spec: InputSpec, data: Prepared) -> ModelSpec:
    """Write the spec, all but its metrics. Raises `UsageError` for a label that a spec cannot carry."""
    try:
        return msgspec.json.decode(encode(_spec(job, body, spec, data)), type=ModelSpec)
    except (ValueError, msgspec.ValidationError) as error:
        raise UsageError(f"{job.data}: {error}; rename the folder") from error


def _spec(job: Job, body: Backbone, spec: InputSpec, data: Prepared) -> ModelSpec:
    return ModelSpec(
        name=job.out.name,
        task="classify",
        precision="fp32",
        labels=data.labels,
        input=spec,
        output=OutputSpec("probabilities", len(data.labels)),
        provenance=Provenance(
            recipe=job.name,
            seed=job.seed,
            data_fingerprint=data.fingerprint,
            backbone=body.name,
            weights_sha256=body.weights.sha256,
            weights_licence=body.weights.licence,
            packages={name: version(name) for name in PACKAGES},
            created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        ),
    )


def _write(job: Job, model: Any, spec: ModelSpec, parts: Split, history: list[dict[str, float]], test: Metrics) -> None:
    with scratch_beside(job.out) as scratch:
        folder = scratch / job.out.name
        folder.mkdir()
        write_run(folder, model, spec, job.recipe, parts, history, test)
        swap_in(folder, job.out, replace=job.force)
