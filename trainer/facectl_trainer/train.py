"""Training: from a data folder and a recipe to a run folder."""

import os
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

from facectl_runtime.errors import UsageError
from facectl_runtime.faces.detect import locate as locate_detector
from facectl_runtime.sources import display_name
from facectl_runtime.spec import ModelSpec
from facectl_trainer.backbones import backbone
from facectl_trainer.framework import Compute, plain_errors, seed_everything, use_for_training
from facectl_trainer.goal import Goal, goal_of
from facectl_trainer.interrupt import interruptible
from facectl_trainer.job import PACKAGES, Job, Ready, Task, Trained
from facectl_trainer.log import Log
from facectl_trainer.material import Material
from facectl_trainer.model import begins_at, digest, input_side, pretrained
from facectl_trainer.prepare import Divided, Gathered, check_data, divide, gather
from facectl_trainer.recipe import SCRATCH, AlignPlan
from facectl_trainer.run import SPEC
from facectl_trainer.stages import Session, run_stages
from facectl_trainer.start import read_start, refuse_known, refuse_seen, take_over
from facectl_trainer.unfinished import SUFFIX, Unfinished, begin
from facectl_trainer.weights import locate


def train(job: Job, quiet: bool = False, verbose: bool = False) -> Trained:
    """Train a classifier or an embedding, and write its run folder, whole or not at all.

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
    if isinstance(recipe.resize, AlignPlan):
        locate_detector()
    start = read_start(job.start, recipe) if job.start else None
    return Task(job, recipe, body, found, recipe.input(side), start)


def _train(
    task: Task, compute: Compute, unfinished: Unfinished, interrupted: Callable[[], None], quiet: bool, verbose: bool
) -> Trained:
    unfinished.check(_beginning(task, compute))  # now, and not when all photographs are decoded
    goal = goal_of(task.recipe)
    ready = _make_ready(task, goal, compute, interrupted, quiet)
    parts = ready.divided.split.parts
    unfinished.claim(_identity(task, compute, ready))
    log = Log(unfinished.folder, verbose=verbose)
    session = Session(
        task.recipe,
        goal.objective(task.recipe, task.job.seed),
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
    test = goal.test(task, ready, unfinished.folder)
    _finish(task, goal, ready.model, unfinished, log, quiet)
    counts = {part: len(images) for part, images in parts.items()}
    return Trained(task.job.out, test, counts, len(done.history), done.kept, compute.used, ready.gathered.left_out)


def _make_ready(task: Task, goal: Goal, compute: Compute, interrupted: Callable[[], None], quiet: bool) -> Ready:
    """Read the photographs and build the network, and refuse all that would end the training later."""
    job, recipe = task.job, task.recipe
    gathered = gather(job.data, recipe.data, job.seed, quiet, job.split, by_class=goal.by_class)

    def build() -> Any:
        seed_everything(job.seed, exactly=compute.used == "cpu")
        return pretrained(task.body, recipe, task.found, len(gathered.labels), job.seed)

    with compute.strategy.scope():
        model = build()
    for stage in recipe.stages:
        begins_at(model, stage.train)
    begun_from = take_over(model, task.start, gathered.labels) if task.start else None
    _divide(task, goal, gathered, model)  # what it refuses is known now, and not when all photographs are decoded
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
    first = recipe.stages[0] if recipe.stages else None
    gathered = gathered.without(material.unreadable(model, first, gathered.images))
    divided, spec = _divide(task, goal, gathered, model)
    return Ready(model, build, material, gathered, divided, spec, begun_from)


def _divide(task: Task, goal: Goal, gathered: Gathered, model: Any) -> tuple[Divided, ModelSpec]:
    """Split the photographs, and describe the model. Raises `UsageError` for what cannot be trained or described."""
    job = task.job
    divided = divide(gathered, task.recipe.split, job.seed, job.fold)
    if task.start:
        refuse_seen(task.start, divided, job.seed)
        if goal.by_class:
            refuse_known(task.start, divided)
    return divided, goal.describe(task, gathered, divided, model.output_shape[-1])


def _finish(task: Task, goal: Goal, model: Any, unfinished: Unfinished, log: Log, quiet: bool) -> None:
    """Draw the report, and make a run folder of all of it."""
    log.board.graph(model)
    if task.job.report:
        goal.report(unfinished.folder, log, quiet)
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


def _identity(task: Task, compute: Compute, ready: Ready) -> dict[str, Any]:
    """Say what a checkpoint belongs to."""
    return {
        **_beginning(task, compute),
        "data": ready.divided.fingerprint,
        "split": msgspec.to_builtins(ready.divided.split.parts),
        "first weights": digest(ready.model),
    }
