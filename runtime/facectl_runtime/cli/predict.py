"""`facectl predict`."""

import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from facectl_runtime.cli.options import (
    DeclaredTypesOption,
    DeviceOption,
    EngineOption,
    JsonOption,
    ModelArgument,
    QuietOption,
    engine_asked,
)
from facectl_runtime.errors import ImageError, UsageError

if TYPE_CHECKING:
    from facectl_runtime.classifier import Row


def predict(
    model: ModelArgument,
    source: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...", help="Images, folders, globs, or - for stdin (an image, or paths one a line)."
        ),
    ],
    topk: Annotated[int, typer.Option(min=1, help="How many labels an image.")] = 1,
    device: DeviceOption = "auto",
    engine: EngineOption = "auto",
    declared_types: DeclaredTypesOption = False,
    json: JsonOption = False,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="One JSON object an image, as soon as it is known.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Comma-separated values with a header.")] = False,
    quiet: QuietOption = False,
) -> int:
    """Name what is in images.

    Every image gives a row, in the order of the sources; one that cannot be read gives a row with its error, and the
    exit code is then 3. A file whose name begins with a dash goes after --.
    """
    from facectl_runtime.classifier import classify, read_spec
    from facectl_runtime.devices import parse_device
    from facectl_runtime.output import FORMATS, About
    from facectl_runtime.sources import display_name, expand

    chosen = [name for name, asked in (("json", json), ("jsonl", jsonl), ("csv", csv)) if asked]
    if len(chosen) > 1:
        raise UsageError(f"--{' and --'.join(chosen)} exclude one another; give one")
    asked, by = parse_device(device), engine_asked(engine, declared_types)
    spec = read_spec(model)
    started = time.perf_counter()
    opened, rows = classify(model, spec, asked, expand(source), topk, by)
    count = _Count(rows)
    about = About(display_name(model), spec, opened, str(asked), topk)
    FORMATS[chosen[0] if chosen else "table"](count, about, sys.stdout)
    if not quiet:
        seconds = time.perf_counter() - started
        failed = f", {count.errors} could not be read" if count.errors else ""
        images = "1 image" if count.rows == 1 else f"{count.rows} images"
        where = f"{opened.name} on {opened.device} (asked for: {asked})"
        print(f"{images}{failed}, {seconds:.2f} s, {where}", file=sys.stderr)
    return ImageError.exit_code if count.errors else 0


class _Count:
    """Passes rows on and counts them."""

    def __init__(self, rows: "Iterator[Row]") -> None:
        self._source = rows
        self.rows = self.errors = 0

    def __iter__(self) -> "Iterator[Row]":
        for row in self._source:
            self.rows += 1
            self.errors += row.error is not None
            yield row
