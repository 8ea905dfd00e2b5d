"""The Python interface: a model in memory, and what it says of pictures."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from facectl_runtime import image
from facectl_runtime.classifier import read_spec, whole
from facectl_runtime.description import Description
from facectl_runtime.devices import Device
from facectl_runtime.engines import Engine, format_of
from facectl_runtime.engines.base import Pixels
from facectl_runtime.errors import ImageError, UsageError, reason
from facectl_runtime.pipeline import Ahead, Decoded, decode_ahead
from facectl_runtime.reading import answered, batch_of, decoding
from facectl_runtime.rows import Answered, Row
from facectl_runtime.sources import TIMEOUT, Source, display_name, open_sources
from facectl_runtime.spec import ModelSpec
from facectl_runtime.video.selection import parse_selection

if TYPE_CHECKING:
    from facectl_runtime.video.live import Live, LiveCounts

Picture = str | Path | bytes | Image.Image | npt.NDArray[np.uint8]
"""The path of an image file, what is in one, a Pillow image, or uint8 RGB, height × width × 3."""


_WAITING = 8  # rows that may wait to be asked for


class Model:
    """A model that is ready to answer; `facectl_runtime.load` gives one. Threads may share it."""

    def __init__(self, path: Path, device: Device, description: Description | None = None) -> None:
        """Open a model. Raises as `facectl_runtime.load` does."""
        self._device = device
        self.spec: ModelSpec = read_spec(path, description)
        """What the file says of itself: labels, input, accuracy, where it comes from."""
        self._engine: Engine = format_of(path).open(path, self.spec, device)

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in the order of the outputs."""
        return self.spec.labels

    @property
    def engine(self) -> str:
        """What computes the answers, such as `onnxruntime 1.31.1`."""
        return self._engine.name

    @property
    def device(self) -> str:
        """The device used: `cpu` or `cuda:N`."""
        return self._engine.device

    def predict(self, images: Picture | Iterable[Picture], *, topk: int = 1) -> list[Row]:
        """Name what is in pictures: one picture, several, or an array uint8 N × height × width × 3.

        Gives a row for each, in their order, with its `topk` likeliest labels. Raises `ImageError` for the first that
        cannot be read; `stream` goes on and gives a row with an error.
        """
        sources = [_source(number, one) for number, one in enumerate(_several(images))]
        rows, lanes = [], self._engine.lanes if len(sources) > 1 else 1
        reading = whole(self.spec, _counted(topk))
        for _, row in answered(self._decoded(sources, reading.load), self._engine, reading, lanes):
            if row.error is not None:
                raise ImageError(f"{row.source}: {row.error}")
            rows.append(row)
        return rows

    def stream(
        self,
        *words: str | Path,
        topk: int = 1,
        every: str | None = None,
        start: str | None = None,
        end: str | None = None,
        exclude: Iterable[str] = (),
        retries: int | None = None,
        timeout: float = TIMEOUT,
        say: Callable[[str], None] = lambda _: None,
    ) -> "Rows":
        """Name what is in files, folders, globs, videos, or what cameras and streams see: `facectl predict`'s words.

        Rows come as they are known; what cannot be read gives one with an error. Of a camera or a stream the newest
        frame is answered whenever a row is asked for, and the rows have no end. The options are those of the command
        line, `timeout` in seconds; `say` is told what is lost and found. Raises `UsageError`, and `MissingExtraError`
        where PyAV is needed and not here; while rows are asked for, also `ModelError` where the engine fails.
        """
        for name, given in {"a word": words, "every": [every], "start": [start], "end": [end]}.items():
            if wrong := [one for one in given if not isinstance(one, str | Path | None)]:
                raise TypeError(f"{name} is {wrong[0]!r}; give a text, such as 'clip.mp4' and every='0.5s'")
        if "-" in words:
            raise UsageError(
                "- is standard input, which is the program's own; give the paths that come there, as they come"
            )
        if isinstance(exclude, str):
            raise TypeError(f"exclude is {exclude!r}; give a list of patterns")
        if not (isinstance(timeout, int | float) and timeout > 0):
            raise TypeError(f"timeout is {timeout!r}; give seconds, more than 0")
        if retries is not None and not (isinstance(retries, int) and retries >= 0):
            raise TypeError(f"retries is {retries!r}; give 0 or more, or None for ever")
        selection, number = parse_selection(every, start, end), _counted(topk)
        found, streams = open_sources(
            [str(word) for word in words],
            exclude=list(exclude),
            selection=selection,
            retries=retries,
            timeout=timeout,
            say=say,
        )
        return Rows(self._answers(found, number, live=bool(streams)), streams)

    def _answers(self, sources: Iterable[Source], topk: int, *, live: bool) -> Iterator[Answered]:
        """Answer sources, of which none is looked at before the first answer is asked for."""
        engine = self._engine
        reading = whole(self.spec, topk)
        decoded = decoding(sources, reading.load, self._device, lambda: batch_of(engine), live=live)
        yield from answered(decoded, engine, reading, 1 if live else engine.lanes)

    def _decoded(
        self, sources: list[Source], load: Callable[[Source], Pixels]
    ) -> Iterable[list[Decoded[Source, Pixels]]]:
        """Decode what was given: one in this thread, several on every core."""
        if len(sources) > 1:
            return decode_ahead(sources, load, batch_of(self._engine), eager=False, workers=self._device.cores)
        try:
            return [[(source, load(source)) for source in sources]]
        except ImageError as error:
            return [[(sources[0], error)]]


class Rows(Iterator[Row]):
    """Rows as they come; `close`, or the end of a `with`, stops what reads and answers for them."""

    def __init__(self, answers: Iterable[Answered], streams: "Sequence[Live]") -> None:
        self._streams = {stream.name: stream for stream in streams}
        # What is asked for ahead would be old by the time that it is wanted.
        self._ahead = Ahead(answers, 0 if streams else _WAITING)

    def __next__(self) -> Row:
        self._ahead.done()
        _, row = next(self._ahead)
        if row.age is not None and row.error is None:
            self._streams[row.source].has_answered(row.age)
        return row

    def counts(self) -> "list[LiveCounts]":
        """Give what became of the frames of each live source so far."""
        return [stream.counts() for stream in self._streams.values()]

    def close(self) -> None:
        """End the rows, also for a thread that waits for the next."""
        self._ahead.close()
        for stream in self._streams.values():
            stream.close()

    def __enter__(self) -> "Rows":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_ahead"):
            self.close()


def _several(images: Picture | Iterable[Picture]) -> Iterable[Picture]:
    single = isinstance(images, str | Path | bytes | Image.Image) or (
        isinstance(images, np.ndarray) and images.ndim < 4
    )
    return [images] if single else images  # type: ignore[list-item,return-value]  # what mypy cannot tell by ndim


def _source(number: int, given: Any) -> Source:
    """Make a source of a picture. Raises `TypeError` for what is none."""
    name = f"images[{number}]"
    if isinstance(given, str | Path):
        return Source(display_name(given), Path(given))
    if isinstance(given, bytes):
        return Source(name, given)
    if isinstance(given, Image.Image):
        return _of_pillow(name, given)
    if isinstance(given, np.ndarray):
        return Source(name, lambda: given)
    raise TypeError(
        f"{name} is of type {type(given).__name__}; give a path, bytes, a Pillow image, or uint8 RGB height × width × 3"
    )


def _of_pillow(name: str, given: Image.Image) -> Source:
    """Read the pixels here: Pillow does so when they are first asked for, and not in several threads at once."""
    try:
        given.load()
    except Exception as error:  # whatever Pillow's readers raise of a damaged file
        return Source(name, None, f"the picture is damaged ({reason(error)}); save it again as JPEG or PNG")
    return Source(name, partial(image.to_rgb, given))


def _counted(topk: int) -> int:
    if topk < 1:
        raise UsageError(f"topk is {topk}; use 1 or more")
    return topk
