"""Training: from a data folder and a recipe to a run folder."""

import os
import sys
from collections import Counter
from collections.abc import Sequence
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
from facectl_runtime.labelled import PARTS, Image, Part, Split, class_folders, content_hash, presplit
from facectl_runtime.progress import progress
from facectl_runtime.sources import display_name
from facectl_runtime.spec import InputSpec, ModelSpec, OutputSpec, Provenance, encode
from facectl_trainer import fit
from facectl_trainer.backbones import Backbone, backbone
from facectl_trainer.data.cache import FeatureCache
from facectl_trainer.data.split import Fold, conflicts, fingerprint, split
from facectl_trainer.features import Features, extract
from facectl_trainer.framework import use_device
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


@dataclass(frozen=True)
class _Data:
    split: Split
    fingerprint: str
    labels: tuple[str, ...]
    features: dict[str, Features]
    left_out: dict[str, str]

    def arrays(self, part: Part) -> tuple[Features, fit.Truth]:
        """Give (N × d features, N class indices) of a part."""
        images = self.split.parts[part]
        return np.stack([self.features[i.path] for i in images]), np.array([self.labels.index(i.label) for i in images])


def train(job: Job, quiet: bool = False) -> Trained:
    """Train a classifier and write its run folder, whole or not at all.

    Raises `UsageError` for data that cannot be trained on, and where something stands at `job.out`.
    """
    _check_out(job)
    body = backbone(job.recipe.backbone)
    weights = locate(body.weights)
    used = use_device(job.device)
    if not quiet:
        print(f"device: {used} (asked for: {job.device})", file=sys.stderr)
    spec = InputSpec(body.width, body.height, job.recipe.resize)
    data = _prepare(job, body, weights, spec, quiet)
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
    _write(job, _assemble(body, weights, head), described, data.split, history, test)
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


def _prepare(job: Job, body: Backbone, weights: Path, spec: InputSpec, quiet: bool) -> _Data:
    """List, hash, decode and split the images; those that cannot be used are left out and named."""
    given = presplit(job.data)
    if given and job.fold:
        raise UsageError(f"{job.data}: split already into train, val and test; leave --fold out")
    images = [image for part in given.values() for image in part] if given else class_folders(job.data)
    if len(labels := sorted({image.label for image in images})) < 2:
        raise UsageError(f"{job.data}: only one class, {labels[0]}; a classifier needs two or more folders")
    hashes, left_out = _hash(job.data, images)
    images = [image for image in images if image.path in hashes]
    twice = {image.path: "the same picture stands under two labels" for image in conflicts(images, hashes)}
    left_out |= twice
    images = [image for image in images if image.path not in twice]
    cache = FeatureCache(f"{body.name}:{body.weights.sha256}:{spec}")
    with progress(f"features by {body.name}", len(images), quiet) as advance:
        features, unreadable = extract(lambda: body.build(weights), spec, job.data, images, hashes, cache, advance)
    left_out |= unreadable
    images = [image for image in images if image.path in features]
    _check_classes(job.data, labels, images)
    if given:
        parts = {part: [image for image in chosen if image.path in features] for part, chosen in given.items()}
        _check_classes(job.data / "train", labels, parts["train"])
        if empty := [part for part in PARTS if not parts[part]]:
            raise UsageError(f"{job.data / empty[0]}: none of its images can be used; add some")
    else:
        plan = job.recipe.split
        parts = split(images, hashes, test=plan.test, val=plan.val, seed=job.seed, fold=job.fold)
    kept = {image.path: hashes[image.path] for image in images}
    return _Data(
        Split(str(job.data.resolve()), parts, kept), fingerprint(images, hashes), tuple(labels), features, left_out
    )


def _hash(data: Path, images: Sequence[Image]) -> tuple[dict[str, str], dict[str, str]]:
    """Give ({path: SHA-256}, {path: why it has none})."""
    hashes, left_out = {}, {}
    for item in images:
        path = data / item.path
        try:
            item.path.encode()  # split.json could not hold it
            if path.is_file():
                hashes[item.path] = content_hash(path)
            else:
                left_out[item.path] = "is not a file, or a link to nothing; give an image file"
        except UnicodeEncodeError:
            left_out[display_name(item.path)] = "its name is not UTF-8; rename it"
        except OSError as error:
            left_out[item.path] = f"cannot be read: {error.strerror}; check its permissions"
    return hashes, left_out


def _check_classes(data: Path, labels: list[str], images: list[Image]) -> None:
    counts = Counter(image.label for image in images)
    if empty := [label for label in labels if not counts[label]]:
        raise UsageError(f"{data}: no readable images in the class {', '.join(empty)}; add some, or remove the folder")


def _calibrate(head: fit.Head, data: _Data) -> Calibration:
    features, truth = data.arrays("val")
    logits = head.logits(features)
    temperature = fit.fit_temperature(logits, truth)
    before, after = fit.cross_entropy(logits, truth), fit.cross_entropy(logits / temperature, truth)
    return Calibration(temperature, before, after, len(truth))


def _answer(head: fit.Head, data: _Data) -> Answered:
    features, truth = data.arrays("test")
    probabilities = np.exp(fit.log_softmax(head.logits(features))).astype(np.float32)
    return Answered(data.split.parts["test"], truth, probabilities, [])


def _assemble(body: Backbone, weights: Path, head: fit.Head) -> Any:
    """Join backbone and head into one flat Keras model: uint8 pixels → probabilities."""
    import tf_keras

    features = body.build(weights)
    last = tf_keras.layers.Dense(len(head.bias), activation="softmax", name="probabilities")
    model = tf_keras.Model(features.input, last(features.output), name=body.name)
    last.set_weights([head.kernel, head.bias])
    return model


def _describe(job: Job, body: Backbone, spec: InputSpec, data: _Data) -> ModelSpec:
    """Write the spec, all but its metrics. Raises `UsageError` for a label that a spec cannot carry."""
    try:
        return msgspec.json.decode(encode(_spec(job, body, spec, data)), type=ModelSpec)
    except (ValueError, msgspec.ValidationError) as error:
        raise UsageError(f"{job.data}: {error}; rename the folder") from error


def _spec(job: Job, body: Backbone, spec: InputSpec, data: _Data) -> ModelSpec:
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
        swap_in(folder, job.out)
