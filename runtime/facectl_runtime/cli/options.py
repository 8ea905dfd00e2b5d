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
