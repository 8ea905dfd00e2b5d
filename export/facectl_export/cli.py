"""`facectl export`."""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facectl_runtime.cli.options import JsonOption, QuietOption
from facectl_runtime.errors import UsageError, did_you_mean, one_line

if TYPE_CHECKING:
    from facectl_export.measured import Export, Exported
    from facectl_export.order import Order

_ON_THE_PAGE_ALONE = ("runs from", "MB zipped", "weights ≤ 8 bits, %", "p95")  # a terminal has no room for everything


def export(
    run: Annotated[
        Path | None, typer.Argument(metavar="RUN", help="A run folder that `facectl train` wrote.", show_default=False)
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The folder to put the files into. [default: RUN/export]")] = None,
    formats: Annotated[
        str, typer.Option("--format", metavar="onnx,tflite,coreml|all", help="File formats, comma-separated.")
    ] = "onnx",
    quantize: Annotated[
        str, typer.Option(metavar="fp32,fp16,int8,…|all", help="Precisions, comma-separated; --list shows them.")
    ] = "fp32",
    list_: Annotated[bool, typer.Option("--list", help="Show which files there can be, and why not others.")] = False,
    batch: Annotated[
        str | None,
        typer.Option(metavar="N|dynamic", help="Images at once. [default: dynamic in ONNX, 1 in TFLite and Core ML]"),
    ] = None,
    opset: Annotated[int, typer.Option(min=13, max=18, help="Of ONNX.")] = 18,
    ios: Annotated[int, typer.Option(min=15, max=18, help="Of Core ML: the least iOS that shall run it.")] = 16,
    calibrate: Annotated[
        str,
        typer.Option(
            metavar="auto|minmax|percentile|entropy",
            help="How int8 files find the ranges of activations; auto: of three ways, what is nearest on val.",
        ),
    ] = "auto",
    calibration_images: Annotated[
        int, typer.Option(min=1, help="Training images, evenly of all classes, that set those ranges.")
    ] = 512,
    keep_float: Annotated[
        str,
        typer.Option(
            metavar="auto|none|LAYER,…",
            help="Layers of int8 files that stay float; auto: those that quantization hurts most, if val needs it.",
        ),
    ] = "auto",
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Of each fine-tuning: int8-qat, pruned, clustered. [default: 1, 3, 1]"),
    ] = None,
    allow_degraded: Annotated[
        str, typer.Option(metavar="PRECISION,…|all", help="Let these out though they fall short; they say so.")
    ] = "",
    data: Annotated[Path | None, typer.Option(help="Where the run's photographs lie now, if they were moved.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the export of another network.")] = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Turn a run into files that are proved to answer alike.

    Every file that can run here is compared with the trained model on the run's test split. One that falls short is
    named, nothing is replaced, and the exit code is 5. Beside the files stand report.html, MODEL_CARD.md and
    SHA256SUMS. Files of an earlier export of the same run stay, save those that are made anew.
    """
    if list_:
        _list(json)
        return
    from facectl_export import bundle
    from facectl_export.calibration import METHODS
    from facectl_export.choice import cells, precisions_named
    from facectl_export.export import GateFailureError, export
    from facectl_export.formats import Settings
    from facectl_export.order import Order

    if run is None:
        raise UsageError("which run? give a folder that `facectl train` wrote, or --list")
    if calibrate not in METHODS:
        known = ", ".join(METHODS)
        raise UsageError(f"--calibrate {calibrate!r} is not known{did_you_mean(calibrate, METHODS)}; use {known}")
    order = Order(
        run=run,
        out=out or run / "export",
        cells=cells(formats, quantize),
        settings=Settings(_batch(batch), opset, ios),
        method=calibrate,
        calibration_images=calibration_images,
        keep_float=keep_float if keep_float in ("auto", "none") else [word.strip() for word in keep_float.split(",")],
        epochs=epochs,
        degraded=frozenset(precisions_named(allow_degraded, "--allow-degraded")),
        data=data,
        force=force,
        quiet=quiet,
    )
    had = bundle.calibrated(order.out)
    try:
        done = export(order)
    except GateFailureError as failure:
        typer.echo(_text(failure.export), err=True)
        raise
    _show(done, order, json, had)


def _batch(text: str | None) -> int | str | None:
    """Read `--batch`: a number, `dynamic` (None), or what is best (`default`)."""
    if text is None or text == "dynamic":
        return None if text else "default"
    if text.isascii() and text.isdigit() and 1 <= int(text) <= 64:
        return int(text)
    raise UsageError(f"--batch {text!r}: use a number of images, 1 to 64, or dynamic")


def _show(done: "Export", order: "Order", json: bool, had: Collection[str]) -> None:
    """Say what was made; `had` names the files that carried a threshold before."""
    import msgspec

    from facectl_export.reports.table import remarks

    for line in remarks(done):
        typer.echo(line, err=True)
    if lost := [row.file for row in _made(done, order) if row.file in had]:
        again = f"facectl faces calibrate {' '.join(str(order.out / name) for name in lost)} --data PHOTOS"
        no_more = f"{', '.join(lost)} {'has' if len(lost) == 1 else 'have'} no threshold any more"
        typer.echo(one_line(f"{no_more}: it was measured for what stood in that place; run {again}"), err=True)
    if json:
        typer.echo(msgspec.json.encode({"out": str(order.out), **msgspec.to_builtins(done)}).decode())
        return
    typer.echo(_text(done))
    typer.echo(f"look at {order.out / 'report.html'}")
    typer.echo(f"next: {_next(done, order)}")


def _next(done: "Export", order: "Order") -> str:
    """Say what to try: the fastest of the files asked for, or Xcode where none of them runs here."""
    made = _made(done, order)
    if timed := [(row.latency.median, row.file) for row in made if row.latency]:
        file = order.out / min(timed)[1]
        embeds = done.task == "embed"
        return f"facectl faces calibrate {file} --data PHOTOS" if embeds else f"facectl predict {file} IMAGE..."
    return f"put {order.out / made[-1].file} into an Xcode project"


def _made(done: "Export", order: "Order") -> "list[Exported]":
    asked = {(cell.format, cell.precision) for cell in order.cells}
    return [row for row in done.files if (row.format, row.precision) in asked]


def _text(done: "Export") -> str:
    """Give a row a file."""
    from facectl_export.reports.table import columns as cells_of
    from facectl_runtime.output import columns

    header, rows = cells_of(done)
    shown = [place for place, name in enumerate(header) if name not in _ON_THE_PAGE_ALONE]
    table = [tuple(row[place] or "–" for place in shown) for row in (header, *rows)]
    laid_out = columns(table, right=range(2, len(shown)))
    if all(row.comparison is None for row in done.files):
        return laid_out
    return f"{laid_out}\ncompared with the trained model on {done.n_test} test images"


def _list(json: bool) -> None:
    import msgspec

    from facectl_export.choice import refusals, rows
    from facectl_export.precision import PRECISIONS
    from facectl_runtime.output import columns

    if json:
        typer.echo(msgspec.json.encode(PRECISIONS).decode())
        return
    typer.echo(columns([tuple(row) for row in rows()]))
    typer.echo("\n" + "\n".join(f"no {line}" for line in refusals()))
