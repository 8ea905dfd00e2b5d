"""`facectl export`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facectl_runtime.cli.options import JsonOption, QuietOption

if TYPE_CHECKING:
    from facectl_export.export import Exported


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder that `facectl train` wrote.")],
    out: Annotated[Path | None, typer.Option(help="The folder to put the files into. [default: RUN/export]")] = None,
    formats: Annotated[str, typer.Option("--format", help="File formats: onnx.")] = "onnx",
    quantize: Annotated[str, typer.Option(metavar="fp32,int8", help="Precisions, comma-separated.")] = "fp32",
    data: Annotated[Path | None, typer.Option(help="Where the run's photographs lie now, if they were moved.")] = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Turn a run into files that are proved to answer alike.

    Every file is compared with the trained model on the run's test split. One that falls short is named, nothing is
    replaced, and the exit code is 5.
    """
    import dataclasses

    import msgspec

    from facectl_export.export import GateFailureError, export, parse_formats, parse_precisions

    parse_formats(formats)
    try:
        done = export(run, out or run / "export", parse_precisions(quantize), data, quiet)
    except GateFailureError as failure:
        typer.echo(_text(failure.compared), err=True)
        raise
    if json:
        rows = [{**dataclasses.asdict(one), "path": str(one.path), "comparison": one.comparison} for one in done]
        typer.echo(msgspec.json.encode(rows).decode())
    else:
        typer.echo(_text(done))
        typer.echo(f"next: facectl predict {done[-1].path} IMAGE...")


def _text(done: "list[Exported]") -> str:
    from facectl_runtime.output import columns

    rows = [("file", "MB", "top-1", "agreement [95 %]", "largest |Δp|", "mean |Δp|", "KL", "drop in top-1 [95 %]")]
    for one in done:
        c = one.comparison
        (agreement_low, agreement_high), (drop_low, drop_high) = c.agreement_interval, c.drop_interval
        rows.append(
            (
                one.path.name,
                f"{one.size / 1e6:.2f}",
                f"{c.accuracy:.4f}",
                f"{c.agreement:.4f} [{agreement_low:.3f}, {agreement_high:.3f}]",
                f"{c.largest:.2g}",
                f"{c.mean:.2g}",
                f"{c.kl:.2g}",
                f"{c.drop:+.4f} [{drop_low:+.3f}, {drop_high:+.3f}]",
            )
        )
    return f"{columns(rows, right=range(1, len(rows[0])))}\ncompared with the trained model on {c.n} test images"
