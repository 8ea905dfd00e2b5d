"""Options that several commands share, defined once."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from facectl_runtime.errors import UsageError, did_you_mean


def _among(*values: str) -> Callable[[str], list[str]]:
    """Give what a shell's Tab key offers."""

    def complete(incomplete: str) -> list[str]:
        return [value for value in values if value.startswith(incomplete)]

    return complete


_ENGINES = ("auto", "coreml", "reference")
# Whether it can be read is said by who reads it, with the exit code of a model that cannot be used.
ModelArgument = Annotated[
    Path, typer.Argument(metavar="MODEL", help="An exported file or a run folder.", readable=False)
]
DeviceOption = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="auto|cpu|cuda[:N]",
        help="Where to compute; cuda never becomes cpu unasked.",
        autocompletion=_among("auto", "cpu", "cuda"),
    ),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        "--threads",
        metavar="N",
        help="Threads to compute and decode with; as many as there are usable cores if left out.",
    ),
]
EngineOption = Annotated[
    str,
    typer.Option(
        "--engine",
        metavar="auto|coreml|reference",
        help="Of an .mlpackage: Core ML on a Mac, or ONNX Runtime in its place, which auto takes elsewhere.",
        autocompletion=_among(*_ENGINES),
    ),
]
DeclaredTypesOption = Annotated[
    bool,
    typer.Option(
        "--declared-types",
        help="Of an .mlpackage run by reference: round each value to the type that the program declares for it.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")]
SourceArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE...",
        help="Images, videos, folders of images, globs, - for stdin (an image, or paths one a line); or cameras "
        "and streams: 0, /dev/video0, picamera, rtsp://..., http://...",
    ),
]
ExcludeOption = Annotated[
    list[str] | None,
    typer.Option("--exclude", metavar="PATTERN", help="Leave out what is found under such a name; repeatable."),
]
EveryOption = Annotated[
    str | None,
    typer.Option("--every", metavar="0.5s|10", help="Of videos and streams: a frame so often, or one in so many."),
]
StartOption = Annotated[str | None, typer.Option("--start", metavar="1:30", help="Of videos: from this time on.")]
EndOption = Annotated[str | None, typer.Option("--end", metavar="2:00", help="Of videos: up to this time.")]
RetriesOption = Annotated[
    int | None,
    typer.Option("--retries", min=0, help="Attempts to find a lost camera or stream again. [default: for ever]"),
]
TimeoutOption = Annotated[
    str | None,
    typer.Option(
        "--timeout", metavar="5s", help="A stream, or picamera, that gives nothing for so long is lost. [default: 5s]"
    ),
]
OnChangeOption = Annotated[bool, typer.Option("--on-change", help="Only answers unlike the one before.")]
SaveOption = Annotated[
    Path | None,
    typer.Option("--save", metavar="DIR", help="Keep the pictures there, in a folder a label; the oldest go."),
]
SaveLabelOption = Annotated[
    list[str] | None,
    typer.Option("--save-label", metavar="LABEL", help="Keep only those of this label, or of unknown; repeatable."),
]
SaveMostOption = Annotated[
    int | None, typer.Option("--save-most", min=1, help="How many pictures --save keeps. [default: 1000]")
]
SaveBytesOption = Annotated[
    str | None, typer.Option("--save-bytes", metavar="1GB", help="How much --save keeps. [default: 1GB]")
]
DrawOption = Annotated[
    Path | None,
    typer.Option(
        "--draw", metavar="OUT", help="Draw the answers: a picture (.jpg, .png), a video (.mp4, .mkv), or a folder."
    ),
]
ForceDrawOption = Annotated[bool, typer.Option("--force", help="Replace what is at --draw.")]
JsonlOption = Annotated[bool, typer.Option("--jsonl", help="One JSON object an image, as soon as it is known.")]
CsvOption = Annotated[bool, typer.Option("--csv", help="Comma-separated values with a header.")]
LabelsOption = Annotated[
    Path | None,
    typer.Option(
        "--labels", metavar="FILE", help="Of a model of others: its labels in output order, one a line or a JSON list."
    ),
]
ResizeOption = Annotated[
    str | None,
    typer.Option(
        "--resize",
        metavar="squash|center_crop[:FRACTION]|letterbox",
        help="Of a model of others: how a picture becomes its input. [default: squash]",
        autocompletion=_among("squash", "center_crop", "letterbox"),
    ),
]
SizeOption = Annotated[
    str | None, typer.Option("--size", metavar="WxH", help="Of a model of others whose graph leaves the size open.")
]
ScaleOption = Annotated[
    float | None,
    typer.Option(
        "--scale",
        help="Of a model of others: what pixels are divided by, before --mean and --std. [default: 255; for a graph of "
        "8 bits, pixels as they are]",
    ),
]
MeanOption = Annotated[
    str | None,
    typer.Option("--mean", metavar="A,B,C", help="Of a model of others: subtracted, a channel each. [default: 0]"),
]
StdOption = Annotated[
    str | None,
    typer.Option("--std", metavar="A,B,C", help="Of a model of others: divided by, a channel each. [default: 1]"),
]
ChannelsOption = Annotated[
    str | None,
    typer.Option(
        "--channels",
        metavar="rgb|bgr",
        help="Of a model of others: their order. [default: rgb]",
        autocompletion=_among("rgb", "bgr"),
    ),
]
OutputOption = Annotated[
    str | None,
    typer.Option(
        "--output",
        metavar="auto|probabilities|logits",
        help="Of a model of others: what it gives. [default: auto, found out]",
        autocompletion=_among("auto", "probabilities", "logits"),
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no summary on stderr.")]


def engine_asked(engine: str, declared_types: bool) -> str:
    """Give the name of the engine that `--engine` and `--declared-types` ask for together. Raises `UsageError`."""
    if engine not in _ENGINES:
        raise UsageError(f"--engine {engine!r} is not known{did_you_mean(engine, _ENGINES)}; use {', '.join(_ENGINES)}")
    if not declared_types:
        return engine
    if engine == "coreml":
        raise UsageError("--declared-types is of the reference engine, and Core ML has its own types; leave one out")
    return "declared-types"
