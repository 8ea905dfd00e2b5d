"""The stages of a recipe, one after the other, from a checkpoint where there is one."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from facectl_runtime.errors import counted
from facectl_runtime.progress import progress
from facectl_trainer.fit import Hooks, Position, Task, fit_stage
from facectl_trainer.framework import Compute
from facectl_trainer.log import Log
from facectl_trainer.material import Material, Parts, on_pixels
from facectl_trainer.model import begins_at, unfreeze
from facectl_trainer.objective import Objective
from facectl_trainer.recipe import SCRATCH, Recipe, StagePlan
from facectl_trainer.steps import Steps
from facectl_trainer.unfinished import Unfinished


@dataclass(frozen=True)
class Session:
    """One training: what is trained, on what, by what."""

    recipe: Recipe
    objective: Callable[[StagePlan], Objective]
    """What a stage makes smaller."""
    material: Material
    parts: Parts
    compute: Compute
    seed: int
    unfinished: Unfinished
    log: Log
    interrupted: Callable[[], None]
    """Raises the `KeyboardInterrupt` that has struck, if any."""
    quiet: bool
    begun: bool = False
    """Whether the network comes from an earlier run."""


def run_stages(model: Any, rebuilt: Callable[[], Any], session: Session) -> Position:
    """Train `model` in place, and give where it stands in the end.

    `rebuilt` makes another of the same layers, for training in half precision.
    """
    position = session.unfinished.position()
    session.log.begin(position.history)
    if position.history:
        session.unfinished.restore(model, None)
        if not session.quiet:
            print(f"going on after {counted(len(position.history), 'epoch')}", file=sys.stderr)
    for index in range(position.stage, len(session.recipe.stages)):
        plan = session.recipe.stages[index]
        half = session.compute.half and on_pixels(model, plan)
        with _half_precision() if half else nullcontext(), session.compute.strategy.scope():
            network = rebuilt() if half else model
            if half:
                network.set_weights(model.get_weights())
            _run_stage(network, position, session)
        if half:
            model.set_weights(network.get_weights())
        position = Position(stage=index + 1, history=position.history, kept=position.kept)
        session.unfinished.save(model, None, position, [], now=True)
    return position


def _run_stage(network: Any, position: Position, session: Session) -> None:
    recipe = session.recipe
    plan, name = recipe.stages[position.stage], stage_names(recipe.stages)[position.stage]
    unfreeze(network, begins_at(network, plan.train), batch_norm=recipe.weights == SCRATCH)
    feed = session.material.feed(network, plan, session.parts)
    objective = session.objective(plan)
    steps = Steps(feed.trained, plan, objective, session.compute.strategy)
    best = session.unfinished.restore(network, steps.optimizer) if position.epoch else None

    def epoch_done(position: Position, best: list[Any]) -> None:
        session.unfinished.save(network, steps.optimizer, position, best)
        session.log.epoch(position.history)

    with progress(f"stage {name}, epochs", plan.epochs, session.quiet) as advance:
        advance(position.epoch)

        def batch_done(share: float) -> None:
            session.interrupted()
            advance(share)

        hooks = Hooks(batch_done, epoch_done)
        task = Task(name, objective, session.seed, fitted=position.stage > 0 or session.begun)
        fit_stage(feed, plan, task, steps, position, best, hooks)


def stage_names(stages: Sequence[StagePlan]) -> list[str]:
    """Name stages by what they train; a name that came before is numbered."""
    trained = [plan.train for plan in stages]
    before = [trained[:index].count(name) for index, name in enumerate(trained)]
    return [f"{name} {count + 1}" if count else name for name, count in zip(trained, before, strict=True)]


@contextmanager
def _half_precision() -> Iterator[None]:
    """Build networks that compute in float16 and keep their values in float32 (Micikevicius et al. 2018)."""
    from tf_keras import mixed_precision

    before = mixed_precision.global_policy()
    mixed_precision.set_global_policy("mixed_float16")
    try:
        yield
    finally:
        mixed_precision.set_global_policy(before)
