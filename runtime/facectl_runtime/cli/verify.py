"""`facectl verify`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from facectl_runtime.cli.options import DeviceOption, JsonOption
from facectl_runtime.devices import parse_device
from facectl_runtime.errors import GateError


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
    replays = [(display_name(path), replay(path, asked)) for path in model]
    if json:
        rows = [
            {"model": name, **asdict(one), "passed": one.passed, "device_requested": str(asked)}
            for name, one in replays
        ]
        typer.echo(msgspec.json.encode(rows).decode())
    else:
        table = [
            (
                "ok" if one.passed else "FAILED",
                name,
                f"{one.images} images, largest |Δ| {one.largest:.2g}, tolerance {one.tolerance:g}",
                f"{one.engine} on {one.device}",
            )
            for name, one in replays
        ]
        typer.echo(columns(table))
    return 0 if all(one.passed for _, one in replays) else GateError.exit_code
