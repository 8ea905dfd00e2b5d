"""Training a classifier: cross-entropy, a temperature, accuracy on test."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from facectl_runtime.evaluate import Answered, evaluation, metrics
from facectl_runtime.spec import ModelSpec, OutputSpec
from facectl_trainer.calibrate import cross_entropy, fit_temperature, logits
from facectl_trainer.fit import predict
from facectl_trainer.job import Ready, Task, describe
from facectl_trainer.log import Log
from facectl_trainer.material import Material
from facectl_trainer.model import PROBABILITIES
from facectl_trainer.objective import Classes
from facectl_trainer.prepare import Divided, Gathered
from facectl_trainer.recipe import Recipe, StagePlan
from facectl_trainer.run import Calibration, Metrics, read_run, write_predictions, write_run


class Classify:
    """A classifier."""

    by_class = False

    def describe(self, task: Task, gathered: Gathered, divided: Divided, size: int) -> ModelSpec:
        """Write the spec, all but its metrics. Raises `UsageError` for a label that a spec cannot carry."""
        output = OutputSpec("probabilities", size)
        return describe(task, divided.fingerprint, task="classify", labels=gathered.labels, output=output)

    def objective(self, recipe: Recipe, seed: int) -> Callable[[StagePlan], Classes]:  # noqa: ARG002
        """Give the cross-entropy of each stage."""
        return lambda plan: Classes(recipe.balance, plan.label_smoothing)

    def test(self, task: Task, ready: Ready, folder: Path) -> Metrics:
        """Calibrate the trained network, measure it on test, and write what makes a run."""
        calibration, probabilities = _calibrate(ready.model, ready.material, task.recipe, ready.divided)
        split, labels, fold = ready.divided.split, ready.gathered.labels, task.job.fold
        images = split.parts["test"]
        truth = np.array([labels.index(image.label) for image in images])
        answered = Answered(images, truth, probabilities, [])
        test = Metrics(evaluation(answered, labels), calibration, ready.begun_from, str(fold) if fold else None)
        spec = msgspec.structs.replace(ready.spec, metrics=metrics(answered.right))
        write_run(folder, ready.model, spec, task.recipe, split, test, task.learnt)
        write_predictions(folder, answered, labels)
        return test

    def report(self, folder: Path, log: Log, quiet: bool) -> None:
        """Draw the report, and the confusion matrix for TensorBoard."""
        from facectl_trainer.reports.report import write_report

        # The model as it will be read: the trained one's layers have been put to other uses too.
        write_report(folder, read_run(folder).model(), quiet)
        log.confusion(folder)


def _calibrate(
    model: Any, material: Material, recipe: Recipe, divided: Divided
) -> tuple[Calibration, npt.NDArray[np.float32]]:
    """Fold the temperature into the model; gives what it did, and the calibrated probabilities of test."""
    feed = material.feed(model, recipe.stages[-1], {**divided.split.parts, "train": []})
    val, truth = logits(predict(feed, "val")), feed.truth["val"]
    temperature = fit_temperature(val, truth)
    last = model.get_layer(PROBABILITIES)
    last.set_weights([value / np.float32(temperature) for value in last.get_weights()])
    before, after = (cross_entropy(scores, truth) for scores in (val, val / temperature))
    return Calibration(temperature, before, after, len(truth)), predict(feed, "test")
