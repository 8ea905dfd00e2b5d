"""`facectl verify`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from facectl_runtime.cli.options import DeclaredTypesOption, DeviceOption, EngineOption, JsonOption, engine_asked
from facectl_runtime.devices import parse_device
from facectl_runtime.errors import DeviceError, FacectlError, GateError, MissingExtraError, NoEngineError, one_line

_NOT_RUN = (DeviceError, MissingExtraError, NoEngineError)


def verify(
    model: Annotated[list[Path], typer.Argument(metavar="MODEL...", help="Exported files.", readable=False)],
    device: DeviceOption = "auto",
    engine: EngineOption = "auto",
    declared_types: DeclaredTypesOption = False,
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

    asked, by = parse_device(device), engine_asked(engine, declared_types)
    rows, codes = [], []
    for path in model:
        row: dict[str, Any] = {"model": display_name(path), "device_requested": str(asked)}
        try:
            one = replay(path, asked, by)
            row |= {**msgspec.structs.asdict(one), "passed": one.passed}
            codes.append(0 if one.passed else GateError.exit_code)
        except FacectlError as error:
            more = " (it was not run; no damage was found in it)" if isinstance(error, _NOT_RUN) else ""
            row |= {"passed": False, "error": f"{error}{more}"}
            codes.append(error.exit_code)
        rows.append(row)
    if json:
        typer.echo(msgspec.json.encode(rows).decode())
    else:
        if table := [_cells(row) for row in rows if "error" not in row]:
            typer.echo(columns(table))
        for row in rows:
            if "error" in row:
                typer.echo(one_line(f"facectl: {row['error']}"), err=True)
    # A file that answers otherwise is what was looked for: it is not lost among those that could not be asked.
    return GateError.exit_code if GateError.exit_code in codes else next(filter(None, codes), 0)


def _cells(row: dict[str, Any]) -> tuple[str, str, str, str]:
    if not row["intact"]:
        return "FAILED", row["model"], "its graph is not the one that was exported: copy or export it again", "not run"
    found = f"{row['images']} images, largest |Δ| {row['largest']:.2g}, tolerance {row['tolerance']:g}"
    return "ok" if row["passed"] else "FAILED", row["model"], found, f"{row['engine']} on {row['device']}"
