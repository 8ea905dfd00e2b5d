"""Classification: from a model and sources to rows of labels with probabilities."""

from collections.abc import Callable, Generator, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import msgspec
import numpy as np

from facectl_runtime import image, picture
from facectl_runtime.devices import Device
from facectl_runtime.engines import AUTO, Engine, format_of
from facectl_runtime.engines.base import Answers, Pixels
from facectl_runtime.errors import ImageError, ModelError
from facectl_runtime.pipeline import Ahead, Decoded, answers, decode_ahead, stacked
from facectl_runtime.sources import Source
from facectl_runtime.spec import UNKNOWN, InputSpec, ModelSpec

if TYPE_CHECKING:
    from facectl_runtime.description import Description

BATCH, GPU_BATCH = 2, 32
"""Images that are answered at once, of many. On the CPU several such batches are answered at the same time, so that
whole folders are answered no faster with more (`benchmarks/folder.py`), and memory grows with them."""
_AHEAD = 4  # images that wait while the engine is opened, beside those that are being decoded
_WRITTEN = 16  # rows that may wait to be written
NO_NUMBERS = "the model's answer to it is no number; verify the model, or use one of another precision"


class Ranked(msgspec.Struct, frozen=True):
    """A label and its probability, 0 to 1."""

    label: str
    probability: float


class FaceAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is said of one face in a picture."""

    box: tuple[int, int, int, int]
    """Left, upper, right and lower, in pixels of the upright picture."""
    score: float
    """How sure the detector is that it is a face, 0 to 1; 1 where the picture was given as a face."""
    label: str
    """The likeliest label, or whom it is most alike; `unknown` below the threshold."""
    probability: float | None = None
    """Of a classifier."""
    similarity: float | None = None
    """Of an embedding: the cosine, -1 to 1."""
    top: "tuple[Ranked | Match, ...]" = ()
    """The likeliest labels, or the people most alike, best first."""


class Match(msgspec.Struct, frozen=True):
    """A person in a gallery, and how alike."""

    label: str
    similarity: float
    """Cosine, -1 to 1."""


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
    faces: tuple[FaceAnswer, ...] | None = None
    """Where faces are answered: one after the other, the surest first; `label` and what goes with it is then None."""
    age: float | None = None
    """Of a camera or a stream: seconds from when the frame came to its answer."""
    error: str | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """What the picture shows: the one label, or those of its faces."""
        if self.faces is not None:
            return tuple(face.label for face in self.faces)
        return () if self.label is None else (self.label,)


Answered = tuple[Source, Row]
Value = TypeVar("Value")
Answer = TypeVar("Answer")


class Reading(NamedTuple, Generic[Value, Answer]):
    """What is read in a picture: the whole of it, or its faces."""

    load: Callable[[Source], Value]
    """Decode a source, and bring it to the model's input. Raises `ImageError`."""
    infer: Callable[[Engine, list[Value]], Iterable[Answer]]
    """Answer what was loaded, one or more."""
    say: Callable[[Row, Answer], Row]
    """Put an answer into a row that says where it is from."""


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
    return (top[0].label if _is_known(answer, spec) else UNKNOWN), top


def _is_known(answer: Answers, spec: ModelSpec) -> bool:
    if spec.threshold is None:
        return True
    if spec.threshold.score == "max_probability":
        return bool(answer.max() >= spec.threshold.value)
    from facectl_runtime.known_scores import score

    return bool(score(spec.threshold.score, answer[None])[0] >= np.float32(spec.threshold.value))


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


def classify(
    model: Path,
    spec: ModelSpec,
    device: Device,
    sources: Iterable[Source],
    reading: Reading[Value, Answer],
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
        decoded = decoding(sources, reading.load, device, batch, live=True)
    else:
        decoded = decoding(sources, reading.load, device, batch, live=False)
        try:
            opened = reader.open(model, spec, device)
        except BaseException:
            decoded.close()
            raise
    rows = answered(decoded, opened, reading, 1 if live else opened.lanes)
    bare = rows if pictures else ((msgspec.structs.replace(source, data=None), row) for source, row in rows)
    return opened, Ahead(bare, 1 if live else _WRITTEN)


def batch_of(engine: Engine) -> int:
    """Give how many images an engine is best given at once, where there are many."""
    return engine.batch or engine.many or (GPU_BATCH if engine.device.startswith("cuda") else BATCH)


def decoding(
    sources: Iterable[Source], load: Callable[[Source], Value], device: Device, batch: Callable[[], int], *, live: bool
) -> Generator[list[Decoded[Source, Value]], None, None]:
    """Decode sources ahead of an engine's work, in lists of up to `batch`; of live ones, one when asked for."""
    if live:
        return decode_ahead(sources, load, 1, eager=True, workers=1, room=1)
    return decode_ahead(sources, load, batch, eager=True, workers=device.cores, room=_AHEAD + 2 * device.cores)


def loader(spec: InputSpec) -> Callable[[Source], Pixels]:
    """Give a function that brings a source to a model's input, and raises `ImageError` where that is not possible."""

    def load(source: Source) -> Pixels:
        try:
            return image.to_input(picture.decoded(source, spec), spec)
        except MemoryError as error:
            raise ImageError(image.TOO_MUCH) from error

    return load


def answered(
    decoded: Iterable[list[Decoded[Source, Value]]], engine: Engine, reading: Reading[Value, Answer], lanes: int
) -> Iterator[Answered]:
    """Answer decoded sources, `lanes` batches at the same time: each with its row."""
    for source, answer in answers(decoded, partial(reading.infer, engine), lanes):
        where = _where(source)
        if isinstance(answer, ImageError):
            yield source, msgspec.structs.replace(where, error=str(answer))
        else:
            yield source, reading.say(where, answer)


def _where(source: Source) -> Row:
    age = None if source.arrived is None else round(monotonic() - source.arrived, 6)
    at = None if age is None else (datetime.now(UTC) - timedelta(seconds=age)).isoformat(timespec="milliseconds")
    return Row(source.name, source.frame, source.time, at and at.replace("+00:00", "Z"), age=age)
