"""Beginning from an earlier run: its weights, and what they have seen already."""

from pathlib import Path
from typing import Any

import msgspec

from facectl_runtime.errors import UsageError, one_line
from facectl_runtime.labelled import Part
from facectl_trainer.model import digest
from facectl_trainer.prepare import Divided
from facectl_trainer.recipe import Recipe
from facectl_trainer.run import Run, read_run


def read_start(start: Path, recipe: Recipe) -> Run:
    """Read the run to begin from. Raises `UsageError` where it is of another network."""
    run = read_run(start)
    same = ("backbone", "features", "head", "side", "weights")
    other = [key for key in same if getattr(run.recipe, key) != getattr(recipe, key)]
    if _layers(run.recipe) != _layers(recipe):
        other.append("embed")
    if other:
        theirs = ", ".join(f"{key} {_short(getattr(run.recipe, key))}" for key in other)
        raise UsageError(f"--from {start}: it has another {', '.join(other)} than asked for; use its own ({theirs})")
    return run


def _layers(recipe: Recipe) -> object:
    return recipe.embed and recipe.embed.layers


def _few(labels: tuple[str, ...]) -> str:
    return ", ".join(labels[:5]) + (", …" if len(labels) > 5 else "")


def _short(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def take_over(model: Any, start: Run, labels: tuple[str, ...]) -> str:
    """Take a run's weights, and give what they are. Raises `UsageError` where it is of other classes."""
    if start.spec.labels and start.spec.labels != labels:
        raise UsageError(
            f"--from {start.folder}: it was trained on other classes ({_few(start.spec.labels)}) than are here "
            f"({_few(labels)}); give a folder of its classes, or leave --from out"
        )
    taken = start.model()
    model.set_weights(taken.get_weights())
    return f"{start.folder}, {digest(taken)}"


def refuse_known(start: Run, divided: Divided) -> None:
    """Raise `UsageError` where the weights to begin from know people whom an embedding would be tested on."""
    people = {image.label for part in ("val", "test") for image in divided.split.parts[part]}
    if met := sorted(people & start.learnt.people):
        raise UsageError(
            f"--from {start.folder}: it was trained on {len(met)} of the people to choose by or to test on, such as "
            f"{one_line(met[0])[:100]}; give --seed {start.spec.provenance.seed}, its own, and the same data and split"
        )


def refuse_seen(start: Run, divided: Divided, seed: int) -> None:
    """Raise `UsageError` where the weights to begin from have seen what would be tested on, or steered by."""
    learnt = start.learnt
    must_be_new: dict[Part, frozenset[str]] = {"test": learnt.fitted | learnt.steered, "val": learnt.fitted}
    for part, seen in must_be_new.items():
        images = divided.split.parts[part]
        if met := sum(divided.split.hashes[image.path] in seen for image in images):
            raise UsageError(
                f"--from {start.folder}: it was trained on {met} of the {len(images)} {part} images of seed {seed}; "
                f"give --seed {start.spec.provenance.seed}, its own, and the same data, split and --fold"
            )
