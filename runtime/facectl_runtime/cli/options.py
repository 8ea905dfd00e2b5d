"""Options that several commands share, defined once."""

from pathlib import Path
from typing import Annotated

import typer

from facectl_runtime.errors import UsageError, did_you_mean

ModelArgument = Annotated[Path, typer.Argument(metavar="MODEL", help="An exported file or a run folder.")]
DeviceOption = Annotated[
    str, typer.Option("--device", metavar="auto|cpu|cuda[:N]", help="Where to compute; cuda never becomes cpu unasked.")
]
EngineOption = Annotated[
    str,
    typer.Option(
        "--engine",
        metavar="auto|coreml|reference",
        help="Of an .mlpackage: Core ML on a Mac, or ONNX Runtime in its place, which auto takes elsewhere.",
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
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no summary on stderr.")]


_ENGINES = ("auto", "coreml", "reference")


def engine_asked(engine: str, declared_types: bool) -> str:
    """Give the name of the engine that `--engine` and `--declared-types` ask for together. Raises `UsageError`."""
    if engine not in _ENGINES:
        raise UsageError(f"--engine {engine!r} is not known{did_you_mean(engine, _ENGINES)}; use {', '.join(_ENGINES)}")
    if not declared_types:
        return engine
    if engine == "coreml":
        raise UsageError("--declared-types is of the reference engine, and Core ML has its own types; leave one out")
    return "declared-types"
