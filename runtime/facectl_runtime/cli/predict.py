"""`facectl predict`."""

import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facectl_runtime.cli.options import (
    ChannelsOption,
    DeclaredTypesOption,
    DeviceOption,
    EngineOption,
    JsonOption,
    LabelsOption,
    MeanOption,
    ModelArgument,
    OutputOption,
    QuietOption,
    ResizeOption,
    ScaleOption,
    SizeOption,
    StdOption,
    ThreadsOption,
    engine_asked,
)
from facectl_runtime.errors import ImageError, UsageError, counted, one_line

if TYPE_CHECKING:
    from facectl_runtime.classifier import Answered
    from facectl_runtime.pipeline import Ahead
    from facectl_runtime.video.live import Live


def predict(
    model: ModelArgument,
    source: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Images, videos, folders of images, globs, - for stdin (an image, or paths one a line); or cameras "
            "and streams: 0, /dev/video0, picamera, rtsp://..., http://...",
        ),
    ],
    topk: Annotated[int, typer.Option(min=1, help="How many labels an image.")] = 1,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="Leave out what is found under such a name; repeatable.")
    ] = None,
    every: Annotated[
        str | None, typer.Option(metavar="0.5s|10", help="Of videos and streams: a frame so often, or one in so many.")
    ] = None,
    start: Annotated[str | None, typer.Option(metavar="1:30", help="Of videos: from this time on.")] = None,
    end: Annotated[str | None, typer.Option(metavar="2:00", help="Of videos: up to this time.")] = None,
    retries: Annotated[
        int | None,
        typer.Option(min=0, help="Attempts to find a lost camera or stream again. [default: for ever]"),
    ] = None,
    timeout: Annotated[
        str, typer.Option(metavar="5s", help="A camera or stream that gives nothing for so long counts as lost.")
    ] = "5s",
    on_change: Annotated[bool, typer.Option("--on-change", help="Only answers unlike the one before.")] = False,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    engine: EngineOption = "auto",
    declared_types: DeclaredTypesOption = False,
    labels: LabelsOption = None,
    resize: ResizeOption = None,
    size: SizeOption = None,
    scale: ScaleOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    channels: ChannelsOption = None,
    output: OutputOption = None,
    json: JsonOption = False,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="One JSON object an image, as soon as it is known.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Comma-separated values with a header.")] = False,
    quiet: QuietOption = False,
) -> int:
    """Name what is in images, videos, and what cameras see.

    Every image and frame gives a row, in the order of the sources; one that cannot be read gives a row with its error,
    and the exit code is then 3. Of a camera or a stream the newest frame is answered, until Ctrl-C. A file whose name
    begins with a dash goes after --.
    """
    from facectl_runtime.classifier import classify, read_spec
    from facectl_runtime.cli import INTERRUPTED
    from facectl_runtime.cli.signals import ending
    from facectl_runtime.description import description_of
    from facectl_runtime.devices import parse_device
    from facectl_runtime.output import FORMATS, About, changes
    from facectl_runtime.sources import display_name, open_sources
    from facectl_runtime.video.selection import parse_length, parse_selection

    chosen = [name for name, asked in (("json", json), ("jsonl", jsonl), ("csv", csv)) if asked]
    if len(chosen) > 1:
        raise UsageError(f"--{' and --'.join(chosen)} exclude one another; give one")
    asked, by = parse_device(device, threads), engine_asked(engine, declared_types)
    selection, patience = parse_selection(every, start, end), parse_length("--timeout", timeout)
    spec = read_spec(model, description_of(labels, resize, size, scale, mean, std, channels, output))

    def say(message: str) -> None:
        if not quiet:
            print(f"facectl: {one_line(message)}", file=sys.stderr, flush=True)

    found, streams = open_sources(
        source, exclude=exclude or [], selection=selection, retries=retries, timeout=patience, say=say
    )
    started = time.perf_counter()
    opened, rows = classify(model, spec, asked, found, topk, by, live=bool(streams))
    count = _Count(rows, streams)
    about = About(display_name(model), spec, opened, str(asked), topk, streams)
    with ending(rows.close) as interrupted:
        answered = changes(count) if on_change else count
        FORMATS[chosen[0] if chosen else "table"]((row for _, row in answered), about, sys.stdout)
    for stream in streams:
        stream.close()
    if not quiet:
        where = f"{opened.name} on {opened.device} (asked for: {asked})"
        print(f"{count.said()}, {time.perf_counter() - started:.2f} s, {where}", file=sys.stderr)
        for stream in streams:
            print(_counts(stream), file=sys.stderr)
    return INTERRUPTED if interrupted() else ImageError.exit_code if count.errors else 0


def _counts(stream: "Live") -> str:
    """Say what became of a live source's frames."""
    one = stream.counts()
    age = (
        f", age {1000 * one.age_median:.0f} ms (p95 {1000 * one.age_p95:.0f})" if one.age_median and one.age_p95 else ""
    )
    again = f"; connected again {counted(one.reconnected, 'time')}" if one.reconnected else ""
    frames = f"{counted(one.seen, 'frame')} seen, {one.answered:,} answered, {one.dropped:,} dropped"
    return f"{one.source}: {frames}{age}{again}"


class _Count:
    """Passes answers on, and counts them."""

    def __init__(self, rows: "Ahead[Answered]", streams: "Sequence[Live]") -> None:
        self._rows, self._streams = rows, {stream.name: stream for stream in streams}
        self.frames = self.images = self.errors = 0

    def __iter__(self) -> "Iterator[Answered]":
        for source, row in self._rows:
            self.errors += row.error is not None
            self.frames += callable(source.data)
            self.images += isinstance(source.data, Path | bytes)
            if row.age is not None and row.error is None:
                self._streams[row.source].has_answered(row.age)
            yield source, row
            self._rows.done()

    def said(self) -> str:
        """Say in one line what there was."""
        counts = ((self.images, "image"), (self.frames, "frame"))
        parts = [counted(number, noun) for number, noun in counts if number]
        return ", ".join(parts + ([f"{self.errors:,} could not be read"] if self.errors else [])) or "nothing"
