"""What a model is trained for: the steps in which a classifier and an embedding differ."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from facectl_runtime.spec import ModelSpec
from facectl_trainer.job import Ready, Task
from facectl_trainer.log import Log
from facectl_trainer.objective import Objective
from facectl_trainer.prepare import Divided, Gathered
from facectl_trainer.recipe import Recipe, StagePlan
from facectl_trainer.run import EmbedMetrics, Metrics


class Goal(Protocol):
    """The steps that differ."""

    @property
    def by_class(self) -> bool:
        """Whether whole classes are kept from training, and not some images of each."""

    def describe(self, task: Task, gathered: Gathered, divided: Divided, size: int) -> ModelSpec:
        """Write the spec, all but what only the trained network says; `size` is of the output. Raises `UsageError`."""

    def objective(self, recipe: Recipe, seed: int) -> Callable[[StagePlan], Objective]:
        """Give what each stage makes smaller."""

    def test(self, task: Task, ready: Ready, folder: Path) -> Metrics | EmbedMetrics:
        """Measure the trained network on test, and write what makes a run."""

    def report(self, folder: Path, log: Log, quiet: bool) -> None:
        """Draw the report into a run folder."""


def goal_of(recipe: Recipe) -> Goal:
    """Give what a recipe trains for."""
    if recipe.embed:
        from facectl_trainer.embed import Embed

        return Embed()
    from facectl_trainer.classify import Classify

    return Classify()
