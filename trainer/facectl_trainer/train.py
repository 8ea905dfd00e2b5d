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
from facectl_trainer.unfinished import Unfinished, begin
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


@dataclass(frozen=True)
class Trained:
    """What training did, for a report."""

    out: Path
    metrics: Metrics
    counts: dict[Part, int]
    epochs: int
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
        return _train(task, compute, unfinished, interrupted, quiet, verbose)


def check(job: Job) -> Task:
    """Find the weights, and refuse what can be refused before TensorFlow starts. Raises as `train` does."""
    _check_out(job)
    check_data(job.data, job.recipe.data)
    body = backbone(job.recipe.backbone)
    scratch = job.recipe.weights == SCRATCH or not body.weights
    found = None if scratch else locate(body.weights, job.recipe.weights)
    name = found.weights.name if found else SCRATCH
    try:
        recipe = msgspec.structs.replace(job.recipe, weights=name)
    except ValueError as error:
        raise UsageError(f"{job.name}: {body.name} has no pretrained weights; {error}") from error
    side = input_side(body, recipe)
    start = _begin_from(job.start, recipe) if job.start else None
    return Task(job, recipe, body, found, InputSpec(side, side, recipe.resize), start)


def _train(
    task: Task, compute: Compute, unfinished: Unfinished, interrupted: Callable[[], None], quiet: bool, verbose: bool
) -> Trained:
    ready = _make_ready(task, compute, quiet)
    parts = ready.divided.split.parts
    unfinished.claim(_identity(task, ready))
    log = Log(unfinished.folder, verbose=verbose)
    session = Session(task.recipe, ready.material, parts, compute, task.job.seed, unfinished, log, interrupted, quiet)
    history = run_stages(ready.model, ready.build, session)
    test = _test_and_write(task, ready, unfinished.folder)
    _finish(task, ready.model, unfinished, log, quiet)
    counts = {part: len(images) for part, images in parts.items()}
    return Trained(task.job.out, test, counts, len(history), compute.used, ready.gathered.left_out)


def _make_ready(task: Task, compute: Compute, quiet: bool) -> _Ready:
    """Read the photographs and build the network, and refuse all that would end the training later."""
    job, recipe = task.job, task.recipe
    gathered = gather(job.data, recipe.data, job.seed, quiet)

    def build() -> Any:
        seed_everything(job.seed, exactly=compute.used == "cpu")
        return pretrained(task.body, recipe, task.found, len(gathered.labels), job.seed)

    with compute.strategy.scope():
        model = build()
    for stage in recipe.stages:
        begins_at(model, stage.train)
    if task.start:
        _take_over(model, task.start, gathered.labels)
    divide(gathered, recipe.split, job.seed, job.fold)  # too few images of a class are known now, and not an hour later
    material = Material(
        job.data, task.spec, gathered.hashes, gathered.labels, recipe.copies, recipe.augment, compute.used, quiet
    )
    gathered = gathered.without(material.unreadable(model, recipe.stages[0], gathered.images))
    divided = divide(gathered, recipe.split, job.seed, job.fold)
    if task.start:
        _refuse_seen(task.start, divided, job.seed)
    return _Ready(model, build, material, gathered, divided, _describe(task, gathered, divided))


def _test_and_write(task: Task, ready: _Ready, folder: Path) -> Metrics:
    """Calibrate the trained network, measure it on test, and write what makes a run."""
    calibration, probabilities = _calibrate(ready.model, ready.material, task.recipe, ready.divided)
    split, labels, start = ready.divided.split, ready.gathered.labels, task.start
    images = split.parts["test"]
    truth = np.array([labels.index(image.label) for image in images])
    answered = Answered(images, truth, probabilities, [])
    begun_from = f"{start.folder}, {digest(start.model())}" if start else None
    test = Metrics(evaluation(answered, labels), calibration, begun_from)
    spec = msgspec.structs.replace(ready.spec, metrics=metrics(answered.right))
    write_run(folder, ready.model, spec, task.recipe, split, answered, test)
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


def _begin_from(start: Path, recipe: Recipe) -> Run:
    """Read the run to begin from. Raises `UsageError` where it is of another network."""
    run = read_run(start)
    same = ("backbone", "features", "head", "side", "weights")
    if other := [key for key in same if getattr(run.recipe, key) != getattr(recipe, key)]:
        raise UsageError(f"--from {start}: it has another {', '.join(other)} than this recipe; change the recipe")
    return run


def _take_over(model: Any, start: Run, labels: tuple[str, ...]) -> None:
    """Take a run's weights. Raises `UsageError` where it is of other classes."""
    if start.spec.labels != labels:
        raise UsageError(
            f"--from {start.folder}: it was trained on other classes ({', '.join(start.spec.labels[:5])} …)"
        )
    model.set_weights(start.model().get_weights())


def _refuse_seen(start: Run, divided: Divided, seed: int) -> None:
    """Raise `UsageError` where the weights to begin from have seen what would be tested on."""
    parts, hashes = start.split.parts, start.split.hashes
    learnt = [image for part, images in parts.items() if part != "test" for image in images]
    seen = {hashes.get(image.path) for image in learnt}
    test = divided.split.parts["test"]
    if met := sum(divided.split.hashes[image.path] in seen for image in test):
        raise UsageError(
            f"--from {start.folder}: it was trained on {met} of the {len(test)} test images of seed {seed}; "
            f"give --seed {start.spec.provenance.seed}, its own, and the same --fold"
        )


def _identity(task: Task, ready: _Ready) -> dict[str, Any]:
    """Say what a checkpoint belongs to."""
    divided = ready.divided
    return {
        "recipe": msgspec.to_builtins(task.recipe),
        "name": task.job.name,
        "seed": task.job.seed,
        "data": divided.fingerprint,
        "split": msgspec.to_builtins(divided.split.parts),
        "first weights": digest(ready.model),
        "versions": {name: version(name) for name in PACKAGES},
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
    before, after = cross_entropy(val, truth), cross_entropy(val / temperature, truth)
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
