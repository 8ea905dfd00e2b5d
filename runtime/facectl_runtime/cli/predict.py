"""`facectl predict`."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
from facectl_runtime.errors import FacectlError, ImageError, UsageError, counted, one_line

if TYPE_CHECKING:
    from facectl_runtime.classifier import Answered
    from facectl_runtime.description import Description
    from facectl_runtime.draw import Drawing
    from facectl_runtime.save import Store
    from facectl_runtime.spec import ModelSpec


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
        str | None,
        typer.Option(metavar="5s", help="A stream, or picamera, that gives nothing for so long is lost. [default: 5s]"),
    ] = None,
    on_change: Annotated[bool, typer.Option("--on-change", help="Only answers unlike the one before.")] = False,
    save: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep the pictures there, in a folder a label; the oldest go.")
    ] = None,
    save_label: Annotated[
        list[str] | None,
        typer.Option(metavar="LABEL", help="Keep only those of this label, or of unknown; repeatable."),
    ] = None,
    save_most: Annotated[
        int | None, typer.Option(min=1, help="How many pictures --save keeps. [default: 1000]")
    ] = None,
    save_bytes: Annotated[str | None, typer.Option(metavar="1GB", help="How much --save keeps. [default: 1GB]")] = None,
    draw: Annotated[
        Path | None,
        typer.Option(
            metavar="OUT", help="Draw the answers: a picture (.jpg, .png), a video (.mp4, .mkv), or a folder."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is at --draw.")] = False,
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
    from facectl_runtime.cli.counting import Count, bar, stream_line, told
    from facectl_runtime.cli.signals import ending
    from facectl_runtime.devices import parse_device
    from facectl_runtime.output import FORMATS, About
    from facectl_runtime.sources import TIMEOUT, display_name, open_sources
    from facectl_runtime.video.selection import parse_length, parse_selection

    form = _form(json=json, jsonl=jsonl, csv=csv)
    asked, by = parse_device(device, threads), engine_asked(engine, declared_types)
    selection = parse_selection(every, start, end)
    patience = TIMEOUT if timeout is None else parse_length("--timeout", timeout)
    spec = read_spec(model, _described(labels, resize, size, scale, mean, std, channels, output))

    def warn(message: str) -> None:
        print(f"facectl: {one_line(message)}", file=sys.stderr, flush=True)

    def say(message: str) -> None:
        if not quiet:
            warn(message)

    found, streams = open_sources(
        source, exclude=exclude or [], selection=selection, retries=retries, timeout=patience, say=say
    )
    _check_heeded("a camera or a stream", streams or None, {"--retries": retries, "--timeout": timeout})
    _check_heeded(
        "--save DIR", save, {"--save-label": save_label, "--save-most": save_most, "--save-bytes": save_bytes}
    )
    _check_heeded("--draw OUT", draw, {"--force": force or None})
    drawing = _drawing(draw, source, warn, force=force)
    store = _store(spec, save, save_label or [], save_most, save_bytes, warn) if save else None
    with ExitStack() as stack:
        pictures = bool(store or drawing)
        opened, rows = classify(model, spec, asked, found, topk, by, live=bool(streams), pictures=pictures)
        if opened.no_gpu:
            say(f"the GPU is not used: {opened.no_gpu}; {opened.device} computes (facectl doctor says more)")
        count = Count(rows, streams)
        answered = _passed(iter(count), drawing, store, stack, on_change=on_change)
        advance = stack.enter_context(bar(hidden=quiet or bool(streams)))
        interrupted = stack.enter_context(ending(rows.close))
        for stream in streams:
            stack.callback(stream.close)
        about = About(display_name(model), spec, opened, str(asked), topk, streams)
        FORMATS[form](told(answered, advance), about, sys.stdout)
    if not quiet:
        print(f"{count.said()}, {opened.name} on {opened.device} (asked for: {asked})", file=sys.stderr)
        for line in [*map(stream_line, streams), *_drawn(drawing, draw)]:
            print(line, file=sys.stderr)
    if store and store.lost:
        warn(f"--save {save}: {counted(store.lost, 'picture')} could not be written")
    if interrupted():
        return INTERRUPTED
    return ImageError.exit_code if count.errors else FacectlError.exit_code if store and store.lost else 0


def _described(*words: Any) -> "Description | None":
    """Read what is said of a model of others, which hardly ever anything is."""
    if words.count(None) == len(words):
        return None
    from facectl_runtime.description import description_of

    return description_of(*words)


def _form(**asked: bool) -> str:
    """Give the name of the one output format that is asked for. Raises `UsageError` for several."""
    chosen = [name for name, wanted in asked.items() if wanted]
    if len(chosen) > 1:
        raise UsageError(f"--{' and --'.join(chosen)} exclude one another; give one")
    return chosen[0] if chosen else "table"


def _check_heeded(by: str, there: object, options: Mapping[str, object]) -> None:
    """Raise `UsageError` where an option was given for what is not there, and would change nothing."""
    given = [option for option, value in options.items() if value is not None]
    if given and there is None:
        raise UsageError(f"{given[0]} does nothing without {by}; give that too, or leave it out")


def _store(
    spec: "ModelSpec",
    folder: Path,
    labels: Sequence[str],
    most: int | None,
    size: str | None,
    say: Callable[[str], None],
) -> "Store":
    """Give where pictures are kept. Raises `UsageError`."""
    from facectl_runtime.save import MOST, MOST_BYTES, Store, parse_size
    from facectl_runtime.spec import UNKNOWN

    if UNKNOWN in labels and UNKNOWN not in spec.labels and spec.threshold is None:
        raise UsageError("--save-label unknown: the model has no threshold, so that nothing is unknown to it")
    most_bytes = MOST_BYTES if size is None else parse_size("--save-bytes", size)
    return Store(folder, spec.labels, labels, most=most or MOST, most_bytes=most_bytes, say=say)


def _drawing(out: Path | None, sources: Sequence[str], say: Callable[[str], None], *, force: bool) -> "Drawing | None":
    """Give where answers are drawn, if they are. Raises `UsageError`."""
    if out is None:
        return None
    from facectl_runtime.draw import PICTURES, Drawing
    from facectl_runtime.draw.video import VIDEOS

    if out.suffix.lower() in PICTURES | VIDEOS and (len(sources) > 1 or Path(sources[0]).is_dir()):
        raise UsageError(f"--draw {out}: holds one picture or video, and there may be several; give a folder")
    return Drawing(out, force=force, say=say)


def _drawn(drawing: "Drawing | None", out: Path | None) -> list[str]:
    """Say where the drawings are."""
    if drawing is None:
        return []
    return [one_line(f"drawn: {out}") if drawing.made else one_line(f"nothing was drawn into {out}")]


def _passed(
    answered: "Iterator[Answered]",
    drawing: "Drawing | None",
    store: "Store | None",
    stack: ExitStack,
    *,
    on_change: bool,
) -> "Iterator[Answered]":
    """Lead answers through what is asked for on their way out; what is begun there is finished with `stack`."""
    if drawing:
        from facectl_runtime.draw import drawn

        stack.callback(drawing.close)
        answered = drawn(answered, drawing)
    if on_change:
        from facectl_runtime.output import changes

        answered = changes(answered)
    if store:
        from facectl_runtime.save import saved

        answered = saved(answered, store)
    return answered
