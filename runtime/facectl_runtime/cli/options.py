"""Options that several commands share, defined once."""

from pathlib import Path
from typing import Annotated

import typer

ModelArgument = Annotated[Path, typer.Argument(metavar="MODEL", help="An exported file or a run folder.")]
DeviceOption = Annotated[
    str, typer.Option("--device", metavar="auto|cpu|cuda[:N]", help="Where to compute; cuda never becomes cpu unasked.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no summary on stderr.")]
