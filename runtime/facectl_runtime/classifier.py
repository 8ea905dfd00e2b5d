"""Classification: what a classifier says of a picture."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from facectl_runtime import image, picture
from facectl_runtime.engines import format_of
from facectl_runtime.engines.base import Answers, Pixels
from facectl_runtime.errors import ImageError, ModelError
from facectl_runtime.pipeline import stacked
from facectl_runtime.reading import Reading
from facectl_runtime.rows import NO_NUMBERS, Ranked, Row
from facectl_runtime.sources import Source
from facectl_runtime.spec import UNKNOWN, InputSpec, ModelSpec

if TYPE_CHECKING:
    from facectl_runtime.description import Description


def whole(spec: ModelSpec, topk: int) -> Reading[Pixels, Answers]:
    """Read each picture as one, and name it."""

    def say(where: Row, answer: Answers) -> Row:
        if not np.isfinite(answer).all():
            return msgspec.structs.replace(where, error=NO_NUMBERS)
        label, top = named(answer, spec, topk)
        return msgspec.structs.replace(where, label=label, probability=top[0].probability, top=top)

    return Reading(loader(spec.input), lambda engine, pixels: stacked(engine)(pixels), say)


def named(answer: Answers, spec: ModelSpec, topk: int) -> tuple[str, tuple[Ranked, ...]]:
    """Give the label of one answer, or `unknown` below the threshold, and the likeliest labels."""
    order = np.argsort(-answer, kind="stable")[:topk]
    top = tuple(Ranked(spec.labels[index], round(float(answer[index]), 6)) for index in order)
    return (top[0].label if is_known(answer, spec) else UNKNOWN), top


def is_known(answer: Answers, spec: ModelSpec) -> bool:
    """Tell whether one answer reaches the model's threshold; without one, every answer does."""
    if spec.threshold is None:
        return True
    from facectl_runtime.threshold.accepted import is_accepted

    if spec.threshold.score == "max_probability":
        return is_accepted(answer.max(), spec.threshold.value)
    from facectl_runtime.threshold.known_scores import score

    return is_accepted(score(spec.threshold.score, answer[None])[0], spec.threshold.value)


def read_spec(model: Path, description: "Description | None" = None) -> ModelSpec:
    """Read the spec of a classifier, or make that of one of others, which `description` is of.

    Raises `ModelError` where there is none or its task is another; with a description, what `foreign.describe` does.
    """
    if description is not None and description.asked:
        from facectl_runtime.foreign import describe

        return describe(model, description)
    spec = format_of(model).read_spec(model)
    if spec.task != "classify":
        raise ModelError(
            f"{model}: its task is {spec.task}; this command needs a model whose task is classify (facectl faces takes "
            "those that embed)"
        )
    return spec


def loader(spec: InputSpec) -> Callable[[Source], Pixels]:
    """Give a function that brings a source to a model's input, and raises `ImageError` where that is not possible."""

    def load(source: Source) -> Pixels:
        try:
            return image.to_input(picture.decoded(source, spec), spec)
        except MemoryError as error:
            raise ImageError(image.TOO_MUCH) from error

    return load
