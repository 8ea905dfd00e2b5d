"""Training: from a data folder and a recipe to a run folder."""

import os
import sys
from collections.abc import Callable
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
from facectl_runtime.labelled import Part
from facectl_runtime.sources import display_name
from facectl_runtime.spec import InputSpec, ModelSpec, OutputSpec, Provenance, encode
from facectl_trainer.backbones import Backbone, backbone
from facectl_trainer.calibrate import cross_entropy, fit_temperature, logits
from facectl_trainer.data.split import Fold
from facectl_trainer.fit import predict
from facectl_trainer.framework import Compute, plain_errors, seed_everything, use_for_training
from facectl_trainer.interrupt import interruptible
from facectl_trainer.log import Log
from facectl_trainer.material import Material
from facectl_trainer.model import PROBABILITIES, begins_at, digest, input_side, pretrained
from facectl_trainer.prepare import Divided, Gathered, check_data, divide, gather
from facectl_trainer.recipe import SCRATCH, Recipe
from facectl_trainer.run import SPEC, Calibration, Metrics, Run, read_run, write_run
from facectl_trainer.stages import Session, run_stages
from facectl_trainer.start import read_start, refuse_seen, take_over
from facectl_trainer.unfinished import SUFFIX, Unfinished, begin
from facectl_trainer.weights import Found, locate

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
    start: Path | None = None
    """A run folder whose weights to begin from, in place of pretrained ones."""
    resume: bool = False
    """Continue a training that was interrupted."""
    force: bool = False
    """Replace a run that stands at `out`, once the new one is whole."""
    report: bool = True
    """Write `report.html`."""
    split: Path | None = None
    """A file that says which images are for what, of which class; without it they are split here."""


@dataclass(frozen=True)
class Trained:
    """What training did, for a report."""

    out: Path
    metrics: Metrics
    counts: dict[Part, int]
    epochs: int
    kept: dict[str, int]
    """Of each stage, the epoch whose weights were kept; 0 where none bettered what it began with."""
    device: str
    """The one used."""
    left_out: dict[str, str]
    """Path → why."""


@dataclass(frozen=True)
class Task:
    """A job with what it was found to need."""

    job: Job
    recipe: Recipe
    """The weights found are named in it."""
    body: Backbone
    found: Found | None
    spec: InputSpec
    start: Run | None
    """Whose weights to begin from."""


@dataclass(frozen=True)
class _Ready:
    """What a task is trained with."""

    model: Any
    build: Callable[[], Any]
    """Makes the network anew, with the same first values."""
    material: Material
    gathered: Gathered
    divided: Divided
    spec: ModelSpec
    """All but its metrics."""
    begun_from: str | None
    """The run whose weights the model has taken over, and their digest."""


def train(job: Job, quiet: bool = False, verbose: bool = False) -> Trained:
    """Train a classifier and write its run folder, whole or not at all.

    Interrupted, it leaves `OUT.unfinished`, which `job.resume` continues to the result of an uninterrupted training.
    Raises `UsageError` for data that cannot be trained on, and where something stands at `job.out`.
    """
    task = check(job)
    compute = use_for_training(job.device)
    if not quiet:
        print(f"device: {compute.used} (asked for: {job.device})", file=sys.stderr)
    with (
        begin(job.out, resume=job.resume, force=job.force) as unfinished,
        interruptible() as interrupted,
        plain_errors(compute.used),
    ):
        _check_out(job)  # again: another training may have ended there since
        return _train(task, compute, unfinished, interrupted, quiet, verbose)


def check(job: Job) -> Task:
    """Find the weights, and refuse what can be refused before TensorFlow starts. Raises as `train` does."""
    _check_out(job)
    _check_text(job.data.resolve())
    _check_text(job.start or Path())
    check_data(job.data, job.recipe.data, job.split)
    body = backbone(job.recipe.backbone)
    scratch = job.recipe.weights == SCRATCH or not body.weights
    found = None if scratch else locate(body.weights, job.recipe.weights)
    name = found.weights.name if found else SCRATCH
    try:
        recipe = msgspec.structs.replace(job.recipe, weights=name)
    except ValueError as error:
        raise UsageError(f"{job.name}: {body.name} has no pretrained weights; {error}") from error
    side = input_side(body, recipe)
    start = read_start(job.start, recipe) if job.start else None
    return Task(job, recipe, body, found, InputSpec(side, side, recipe.resize), start)


def _train(
    task: Task, compute: Compute, unfinished: Unfinished, interrupted: Callable[[], None], quiet: bool, verbose: bool
) -> Trained:
    unfinished.check(_beginning(task, compute))  # now, and not when all photographs are decoded
    ready = _make_ready(task, compute, interrupted, quiet)
    parts = ready.divided.split.parts
    unfinished.claim(_identity(task, compute, ready))
    log = Log(unfinished.folder, verbose=verbose)
    session = Session(
        task.recipe,
        ready.material,
        parts,
        compute,
        task.job.seed,
        unfinished,
        log,
        interrupted,
        quiet,
        begun=task.start is not None,
    )
    done = run_stages(ready.model, ready.build, session)
    test = _test_and_write(task, ready, unfinished.folder)
    _finish(task, ready.model, unfinished, log, quiet)
    counts = {part: len(images) for part, images in parts.items()}
    return Trained(task.job.out, test, counts, len(done.history), done.kept, compute.used, ready.gathered.left_out)


def _make_ready(task: Task, compute: Compute, interrupted: Callable[[], None], quiet: bool) -> _Ready:
    """Read the photographs and build the network, and refuse all that would end the training later."""
    job, recipe = task.job, task.recipe
    gathered = gather(job.data, recipe.data, job.seed, quiet, job.split)

    def build() -> Any:
        seed_everything(job.seed, exactly=compute.used == "cpu")
        return pretrained(task.body, recipe, task.found, len(gathered.labels), job.seed)

    with compute.strategy.scope():
        model = build()
    for stage in recipe.stages:
        begins_at(model, stage.train)
    begun_from = take_over(model, task.start, gathered.labels) if task.start else None
    _divide(task, gathered)  # what it refuses is known now, and not when all photographs are decoded
    material = Material(
        job.data,
        task.spec,
        gathered.hashes,
        gathered.labels,
        recipe.copies,
        recipe.augment,
        compute.used,
        interrupted,
        quiet,
    )
    gathered = gathered.without(material.unreadable(model, recipe.stages[0], gathered.images))
    divided, spec = _divide(task, gathered)
    return _Ready(model, build, material, gathered, divided, spec, begun_from)


def _divide(task: Task, gathered: Gathered) -> tuple[Divided, ModelSpec]:
    """Split the photographs, and describe the model. Raises `UsageError` for what cannot be trained or described."""
    job = task.job
    divided = divide(gathered, task.recipe.split, job.seed, job.fold)
    if task.start:
        refuse_seen(task.start, divided, job.seed)
    return divided, _describe(task, gathered, divided)


def _test_and_write(task: Task, ready: _Ready, folder: Path) -> Metrics:
    """Calibrate the trained network, measure it on test, and write what makes a run."""
    calibration, probabilities = _calibrate(ready.model, ready.material, task.recipe, ready.divided)
    split, labels, fold = ready.divided.split, ready.gathered.labels, task.job.fold
    images = split.parts["test"]
    truth = np.array([labels.index(image.label) for image in images])
    answered = Answered(images, truth, probabilities, [])
    test = Metrics(evaluation(answered, labels), calibration, ready.begun_from, str(fold) if fold else None)
    spec = msgspec.structs.replace(ready.spec, metrics=metrics(answered.right))
    learnt = task.start.learnt if task.start else None
    write_run(folder, ready.model, spec, task.recipe, split, answered, test, learnt)
    return test


def _finish(task: Task, model: Any, unfinished: Unfinished, log: Log, quiet: bool) -> None:
    """Draw the report, and make a run folder of all of it."""
    log.board.graph(model)
    if task.job.report:
        from facectl_trainer.reports.report import write_report

        # The model as it will be read: this one's layers have been put to other uses too.
        write_report(unfinished.folder, read_run(unfinished.folder).model(), quiet)
        log.confusion(unfinished.folder)
    log.board.close()
    unfinished.finish(task.job.out, replace=task.job.force)


def _check_out(job: Job) -> None:
    """Refuse a place that the run could not take, before any work is done."""
    if job.out.name.endswith(SUFFIX):
        raise UsageError(f"{job.out}: {SUFFIX} is how trainings in progress are called; give another --out")
    is_run = (job.out / SPEC).is_file()
    if is_run and not job.force:
        done = ", and its training is done: there is nothing to continue" if job.resume else ""
        raise UsageError(
            f"{job.out}: already there{done}; give another --out, or --force to replace it when the new run is done"
        )
    if not is_run and os.path.lexists(job.out) and not _is_room(job.out):
        raise UsageError(f"{job.out}: already there and not a run folder, which is never replaced; give another --out")
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


def _is_room(out: Path) -> bool:
    """Say whether a folder is empty, and a finished run can be renamed to it."""
    return out.is_dir() and not out.is_symlink() and not out.is_mount() and not any(out.iterdir())


def _check_text(path: Path) -> None:
    """Refuse a path that no file of a run could name."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{display_name(str(path))}: its path is not UTF-8; rename the folder") from error


def _beginning(task: Task, compute: Compute) -> dict[str, Any]:
    """Say what a checkpoint belongs to, as far as it is known before the photographs are."""
    return {
        "recipe": msgspec.to_builtins(msgspec.structs.replace(task.recipe, about="")),
        "name": task.job.name,
        "seed": task.job.seed,
        "fold": task.job.fold and str(task.job.fold),
        "device": f"{compute.used.partition(':')[0]}{', half precision' if compute.half else ''}",
        "versions": {name: version(name) for name in PACKAGES},
    }


def _identity(task: Task, compute: Compute, ready: _Ready) -> dict[str, Any]:
    """Say what a checkpoint belongs to."""
    return {
        **_beginning(task, compute),
        "data": ready.divided.fingerprint,
        "split": msgspec.to_builtins(ready.divided.split.parts),
        "first weights": digest(ready.model),
    }


def _calibrate(
    model: Any, material: Material, recipe: Recipe, divided: Divided
) -> tuple[Calibration, np.ndarray[Any, np.dtype[np.float32]]]:
    """Fold the temperature into the model; gives what it did, and the calibrated probabilities of test."""
    feed = material.feed(model, recipe.stages[-1], {**divided.split.parts, "train": []})
    val, truth = logits(predict(feed, "val")), feed.truth["val"]
    temperature = fit_temperature(val, truth)
    last = model.get_layer(PROBABILITIES)
    last.set_weights([value / np.float32(temperature) for value in last.get_weights()])
    before, after = (cross_entropy(scores, truth) for scores in (val, val / temperature))
    return Calibration(temperature, before, after, len(truth)), predict(feed, "test")


def _describe(task: Task, gathered: Gathered, divided: Divided) -> ModelSpec:
    """Write the spec, all but its metrics. Raises `UsageError` for a label that a spec cannot carry."""
    try:
        return msgspec.json.decode(encode(_spec(task, gathered, divided)), type=ModelSpec)
    except (ValueError, msgspec.ValidationError) as error:
        raise UsageError(f"{task.job.data}: {error}; rename the class") from error


def _spec(task: Task, gathered: Gathered, divided: Divided) -> ModelSpec:
    return ModelSpec(
        name=task.job.out.name,
        task="classify",
        precision="fp32",
        labels=gathered.labels,
        input=task.spec,
        output=OutputSpec("probabilities", len(gathered.labels)),
        provenance=Provenance(
            recipe=task.job.name,
            seed=task.job.seed,
            data_fingerprint=divided.fingerprint,
            backbone=task.body.name,
            weights_sha256=task.found.sha256 if task.found else None,
            weights_licence=task.found.weights.licence if task.found else None,
            packages={name: version(name) for name in PACKAGES},
            created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        ),
    )
