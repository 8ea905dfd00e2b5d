"""Classification: from a model and sources to rows of labels with probabilities."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import numpy as np

from facectl_runtime import image
from facectl_runtime.devices import Device
from facectl_runtime.engines import AUTO, Engine, format_of
from facectl_runtime.engines.base import Answers, Pixels
from facectl_runtime.errors import ImageError, ModelError
from facectl_runtime.pipeline import answers, decode_ahead
from facectl_runtime.sources import Source
from facectl_runtime.spec import UNKNOWN, ModelSpec

BATCH = 8


class Ranked(msgspec.Struct, frozen=True):
    """A label and its probability, 0 to 1."""

    label: str
    probability: float


class Row(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is said of one image: an answer, or an error."""

    source: str
    label: str | None = None
    """The likeliest label, or `unknown` below the model's threshold."""
    probability: float | None = None
    top: tuple[Ranked, ...] = ()
    """The likeliest labels, best first."""
    error: str | None = None


def read_spec(model: Path, task: str = "classify") -> ModelSpec:
    """Read a model's spec. Raises `ModelError` where there is none or its task is another."""
    spec = format_of(model).read_spec(model)
    if spec.task != task:
        raise ModelError(f"{model}: its task is {spec.task}; this command needs a model whose task is {task}")
    return spec


def classify(
    model: Path, spec: ModelSpec, device: Device, sources: Iterable[Source], topk: int, engine: str = AUTO
) -> tuple[Engine, Iterator[Row]]:
    """Open `model` while the first sources are decoded, and give the engine and the rows, in the sources' order."""

    def load(source: Source) -> Pixels:
        if source.data is None:
            raise ImageError(source.error)
        return image.load(source.data, spec.input)

    decoded = decode_ahead(sources, load, BATCH, eager=True)
    try:
        opened = format_of(model, engine).open(model, spec, device)
    except BaseException:
        decoded.close()
        raise
    return opened, (_row(source, answer, spec, topk) for source, answer in answers(decoded, opened))


def _row(source: Source, answer: Answers | ImageError, spec: ModelSpec, topk: int) -> Row:
    if isinstance(answer, ImageError):
        return Row(source.name, error=str(answer))
    order = np.argsort(-answer, kind="stable")[:topk]
    top = tuple(Ranked(spec.labels[index], round(float(answer[index]), 6)) for index in order)
    known = spec.threshold is None or answer[order[0]] >= spec.threshold.value
    return Row(source.name, top[0].label if known else UNKNOWN, top[0].probability, top)
