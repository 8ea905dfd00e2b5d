"""Classification: from a model and sources to rows of labels with probabilities."""

from collections.abc import Callable, Generator, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from facectl_runtime import image
from facectl_runtime.devices import Device
from facectl_runtime.engines import AUTO, Engine, format_of
from facectl_runtime.engines.base import Answers, Pixels
from facectl_runtime.errors import ImageError, ModelError
from facectl_runtime.pipeline import Ahead, Decoded, answers, decode_ahead
from facectl_runtime.sources import Source
from facectl_runtime.spec import UNKNOWN, InputSpec, ModelSpec

if TYPE_CHECKING:
    from facectl_runtime.description import Description

BATCH, GPU_BATCH = 2, 32
"""Images that are answered at once, of many. On the CPU several such batches are answered at the same time, so that
whole folders are answered no faster with more (`benchmarks/folder.py`), and memory grows with them."""
_AHEAD = 4  # images that wait while the engine is opened, beside those that are being decoded
_WRITTEN = 16  # rows that may wait to be written
_NO_NUMBERS = "the model's answer to it is no number; verify the model, or use one of another precision"


class Ranked(msgspec.Struct, frozen=True):
    """A label and its probability, 0 to 1."""

    label: str
    probability: float


class Row(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is said of one image: an answer, or an error."""

    source: str
    frame: int | None = None
    """The number of the frame in its video or stream, from 0."""
    time: float | None = None
    """Of a video: seconds from its beginning."""
    at: str | None = None
    """Of a camera or a stream: when the frame came, UTC, ISO 8601."""
    label: str | None = None
    """The likeliest label, or `unknown` below the model's threshold."""
    probability: float | None = None
    top: tuple[Ranked, ...] = ()
    """The likeliest labels, best first."""
    age: float | None = None
    """Of a camera or a stream: seconds from when the frame came to its answer."""
    error: str | None = None


Answered = tuple[Source, Row]


def read_spec(model: Path, description: "Description | None" = None) -> ModelSpec:
    """Read the spec of a classifier, or make that of one of others, which `description` is of.

    Raises `ModelError` where there is none or its task is another; with a description, what `foreign.describe` does.
    """
    if description is not None and description.asked:
        from facectl_runtime.foreign import describe

        return describe(model, description)
    spec = format_of(model).read_spec(model)
    if spec.task != "classify":
        raise ModelError(f"{model}: its task is {spec.task}; this command needs a model whose task is classify")
    return spec


def classify(
    model: Path,
    spec: ModelSpec,
    device: Device,
    sources: Iterable[Source],
    topk: int,
    engine: str = AUTO,
    *,
    live: bool = False,
    pictures: bool = False,
) -> tuple[Engine, Ahead[Answered]]:
    """Open `model` while the first sources are decoded, and give the engine and the rows, in the sources' order.

    With `live`, `sources` gives the newest frame whenever it is asked, and is asked only when that can be answered at
    once. Sources come without their `data`, and so without what holds a frame in memory, unless `pictures` are asked
    for. `done` of what is given has to be called for each row that was dealt with.
    """
    reader = format_of(model, engine)

    def batch() -> int:
        return batch_of(opened)  # it is asked for once the engine is open

    if live:  # a frame that waited for the model would be old
        opened = reader.open(model, spec, device)
        decoded = decoding(sources, spec.input, device, batch, live=True)
    else:
        decoded = decoding(sources, spec.input, device, batch, live=False)
        try:
            opened = reader.open(model, spec, device)
        except BaseException:
            decoded.close()
            raise
    rows = answered(decoded, opened, spec, topk, 1 if live else opened.lanes)
    bare = rows if pictures else ((msgspec.structs.replace(source, data=None), row) for source, row in rows)
    return opened, Ahead(bare, 1 if live else _WRITTEN)


def batch_of(engine: Engine) -> int:
    """Give how many images an engine is best given at once, where there are many."""
    return engine.batch or engine.many or (GPU_BATCH if engine.device.startswith("cuda") else BATCH)


def decoding(
    sources: Iterable[Source], spec: InputSpec, device: Device, batch: Callable[[], int], *, live: bool
) -> Generator[list[Decoded[Source]], None, None]:
    """Decode sources ahead of an engine's work, in lists of up to `batch`; of live ones, one when asked for."""
    load = loader(spec)
    if live:
        return decode_ahead(sources, load, 1, eager=True, workers=1, room=1)
    return decode_ahead(sources, load, batch, eager=True, workers=device.cores, room=_AHEAD + 2 * device.cores)


def loader(spec: InputSpec) -> Callable[[Source], Pixels]:
    """Give a function that brings a source to a model's input, and raises `ImageError` where that is not possible."""

    def load(source: Source) -> Pixels:
        if source.data is None:
            raise ImageError(source.error)
        try:
            picture = source.data() if callable(source.data) else image.decode(source.data, spec)
            return image.to_input(picture, spec)
        except MemoryError as error:
            raise ImageError(image.TOO_MUCH) from error

    return load


def answered(
    decoded: Iterable[list[Decoded[Source]]], engine: Engine, spec: ModelSpec, topk: int, lanes: int
) -> Iterator[Answered]:
    """Answer decoded sources, `lanes` batches at the same time: each with its row."""
    for source, answer in answers(decoded, engine, lanes):
        yield source, _row(source, answer, spec, topk)


def _row(source: Source, answer: Answers | ImageError, spec: ModelSpec, topk: int) -> Row:
    age = None if source.arrived is None else round(monotonic() - source.arrived, 6)
    at = None if age is None else (datetime.now(UTC) - timedelta(seconds=age)).isoformat(timespec="milliseconds")
    where = Row(source.name, source.frame, source.time, at and at.replace("+00:00", "Z"), age=age)
    if isinstance(answer, ImageError):
        return msgspec.structs.replace(where, error=str(answer))
    if not np.isfinite(answer).all():
        return msgspec.structs.replace(where, error=_NO_NUMBERS)
    order = np.argsort(-answer, kind="stable")[:topk]
    top = tuple(Ranked(spec.labels[index], round(float(answer[index]), 6)) for index in order)
    known = spec.threshold is None or answer[order[0]] >= spec.threshold.value
    label = top[0].label if known else UNKNOWN
    return msgspec.structs.replace(where, label=label, probability=top[0].probability, top=top)
