"""`facectl verify`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from facectl_runtime.cli.options import DeviceOption, JsonOption
from facectl_runtime.devices import parse_device
from facectl_runtime.errors import GateError, MissingExtraError, ModelError, NoEngineError, one_line


def verify(
    model: Annotated[list[Path], typer.Argument(metavar="MODEL...", help="Exported files.")],
    device: DeviceOption = "auto",
    json: JsonOption = False,
) -> int:
    """Replay a file's golden images on this machine.

    They lie inside the file, with the answers that it gave when it was exported. Exit code 5 where one differs by more
    than the file's own tolerance.
    """
    import msgspec

    from facectl_runtime.output import columns
    from facectl_runtime.sources import display_name
    from facectl_runtime.verify import replay

    asked = parse_device(device)
    rows, code = [], 0
    for path in model:
        row: dict[str, Any] = {"model": display_name(path), "device_requested": str(asked)}
        try:
            one = replay(path, asked)
            row |= {**asdict(one), "passed": one.passed}
        except (NoEngineError, MissingExtraError) as error:
            row |= {"passed": False, "error": f"{error} (it was not run; no damage was found in it)"}
            code = error.exit_code
        except ModelError as error:
            row |= {"passed": False, "error": str(error)}
            code = error.exit_code
        rows.append(row)
        code = code or (0 if row["passed"] else GateError.exit_code)
    if json:
        typer.echo(msgspec.json.encode(rows).decode())
    else:
        if table := [_cells(row) for row in rows if "error" not in row]:
            typer.echo(columns(table))
        for row in rows:
            if "error" in row:
                typer.echo(one_line(f"facectl: {row['error']}"), err=True)
    return code


def _cells(row: dict[str, Any]) -> tuple[str, str, str, str]:
    if not row["intact"]:
        return "FAILED", row["model"], "its graph is not the one that was exported: copy or export it again", "not run"
    found = f"{row['images']} images, largest |Δ| {row['largest']:.2g}, tolerance {row['tolerance']:g}"
    return "ok" if row["passed"] else "FAILED", row["model"], found, f"{row['engine']} on {row['device']}"
