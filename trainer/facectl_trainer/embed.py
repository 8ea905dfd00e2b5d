"""Training an embedding: triplets, and all pairs of people that it has not seen."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from facectl_runtime.faces.measured import measure_people
from facectl_runtime.spec import InputSpec, ModelSpec, OutputSpec
from facectl_trainer.fit import predict
from facectl_trainer.job import Ready, Task, describe
from facectl_trainer.log import Log
from facectl_trainer.model import EMBEDDING, digest
from facectl_trainer.prepare import Divided, Gathered
from facectl_trainer.recipe import Recipe, StagePlan
from facectl_trainer.run import EmbedMetrics, write_embeddings, write_run
from facectl_trainer.triplets import Triplets


class Embed:
    """An embedding."""

    by_class = True

    def describe(self, task: Task, gathered: Gathered, divided: Divided, size: int) -> ModelSpec:  # noqa: ARG002
        """Write the spec, all but the `embedding_id`, which the trained network decides."""
        return describe(
            task,
            divided.fingerprint,
            task="embed",
            labels=(),
            output=OutputSpec("embedding", size),
            embedding_id=EMBEDDING,
        )

    def objective(self, recipe: Recipe, seed: int) -> Callable[[StagePlan], Triplets]:
        """Give the margin between people, the same in every stage."""
        assert recipe.embed
        triplets = Triplets(recipe.embed, seed)
        return lambda _: triplets

    def test(self, task: Task, ready: Ready, folder: Path) -> EmbedMetrics:
        """Compare all pairs of test photographs, and write what makes a run."""
        last = task.recipe.stages[-1] if task.recipe.stages else None
        split, fold = ready.divided.split, task.job.fold
        images = split.parts["test"]
        feed = ready.material.feed(ready.model, last, {"train": [], "val": [], "test": images})
        embeddings, people = predict(feed, "test"), [image.label for image in images]
        measured = measure_people(embeddings, people, task.job.seed)
        test = EmbedMetrics(measured, len(set(people)), ready.begun_from, str(fold) if fold else None)
        spec = msgspec.structs.replace(ready.spec, embedding_id=embedding_id(ready.model, task.body.name, task.spec))
        write_run(folder, ready.model, spec, task.recipe, split, test, task.learnt)
        write_embeddings(folder, embeddings)
        return test

    def report(self, folder: Path, log: Log, quiet: bool) -> None:
        """Draw the report, and show the embeddings in TensorBoard."""
        from facectl_trainer.reports.embedding import write_report

        write_report(folder, log, quiet)


def embedding_id(model: Any, backbone: str, spec: InputSpec) -> str:
    """Name the space that embeddings lie in: the network's layers and values, and how photographs become its input.

    Two runs of one name are two spaces, and one run copied elsewhere is still one.
    """
    content = f"{digest(model)} {msgspec.json.encode(spec).decode()}"
    return f"{backbone}/{EMBEDDING}/{hashlib.sha256(content.encode()).hexdigest()[:16]}"
