"""A job of training: what is asked for, what was found to be needed, and what it is trained with."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from facectl_runtime.devices import Device
from facectl_runtime.errors import UsageError
from facectl_runtime.faces.detect import DETECTOR
from facectl_runtime.installed import installed, onnxruntimes
from facectl_runtime.labelled import Part
from facectl_runtime.spec import InputSpec, ModelSpec, Provenance, encode
from facectl_trainer.backbones import Backbone
from facectl_trainer.data.split import Fold
from facectl_trainer.material import Material
from facectl_trainer.prepare import Divided, Gathered
from facectl_trainer.recipe import AlignPlan, Recipe
from facectl_trainer.run import EmbedMetrics, Learnt, Metrics, Run
from facectl_trainer.weights import Found

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
    metrics: Metrics | EmbedMetrics
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

    @property
    def learnt(self) -> Learnt | None:
        """What its weights had learnt before."""
        return self.start.learnt if self.start else None


@dataclass(frozen=True)
class Ready:
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


def describe(asked: Task, fingerprint: str, **about: Any) -> ModelSpec:
    """Write the spec of a run, all but its metrics; `about` is what differs from task to task.

    Raises `UsageError` for a label that a spec cannot carry.
    """
    try:
        spec = ModelSpec(
            name=asked.job.out.name,
            precision="fp32",
            input=asked.spec,
            provenance=_provenance(asked, fingerprint),
            **about,
        )
        return msgspec.json.decode(encode(spec), type=ModelSpec)
    except (ValueError, msgspec.ValidationError) as error:
        raise UsageError(f"{asked.job.data}: {error}; rename the class") from error


def _provenance(task: Task, fingerprint: str) -> Provenance:
    return Provenance(
        recipe=task.job.name,
        seed=task.job.seed,
        data_fingerprint=fingerprint,
        backbone=task.body.name,
        weights_sha256=task.found.sha256 if task.found else None,
        weights_licence=task.found.weights.licence if task.found else None,
        packages=_packages(task),
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )


def _packages(task: Task) -> dict[str, str]:
    """Name what made the model; where faces are aligned, also what finds them."""
    found = {name: version(name) for name in PACKAGES}
    if isinstance(task.recipe.resize, AlignPlan):
        found |= {DETECTOR.name: DETECTOR.sha256[:12], **{name: installed()[name] for name in onnxruntimes()}}
    return found
