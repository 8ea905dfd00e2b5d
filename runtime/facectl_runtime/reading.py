"""From a model and sources to rows: sources are decoded while the engine is opened, and answered as they come."""

from collections.abc import Callable, Generator, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Generic, NamedTuple, TypeVar

import msgspec

from facectl_runtime.devices import Device
from facectl_runtime.engines import AUTO, Engine, format_of
from facectl_runtime.errors import ImageError
from facectl_runtime.pipeline import Ahead, Decoded, answers, decode_ahead
from facectl_runtime.rows import Answered, Row
from facectl_runtime.sources import Source
from facectl_runtime.spec import ModelSpec

BATCH, GPU_BATCH = 2, 32
"""Images that are answered at once, of many. On the CPU several such batches are answered at the same time, so that
whole folders are answered no faster with more (`benchmarks/folder.py`), and memory grows with them."""
_AHEAD = 4  # images that wait while the engine is opened, beside those that are being decoded
_WRITTEN = 16  # rows that may wait to be written
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


def answer_sources(
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
