"""`facectl data fetch`."""

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facectl_runtime.cli.options import JsonOption, QuietOption
from facectl_runtime.errors import UsageError, one_line

if TYPE_CHECKING:
    from facectl_trainer.data.public_sets import PublicSet


def fetch(
    name: Annotated[str | None, typer.Argument(metavar="SET", help="lfw or caltech101.", show_default=False)] = None,
    to: Annotated[Path | None, typer.Option(help="The folder to make, with a folder a class in it.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="Show the sets there are, with their terms.")] = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Fetch a public set of photographs, ready for training.

    Its terms are shown first, and its digest is checked. A download that broke off goes on where it was when the
    command is run again; the archive is removed in the end.
    """
    import msgspec

    from facectl_trainer.data.fetch import fetch as fetch_set
    from facectl_trainer.data.public_sets import PUBLIC_SETS, public_set
    from facectl_trainer.data.tree import check_new

    if list_:
        rows = [_about(found) for found in PUBLIC_SETS.values()]
        typer.echo(msgspec.json.format(msgspec.json.encode(rows)).decode() if json else _table(rows))
        return
    if name is None:
        raise UsageError(f"which set? there are {', '.join(PUBLIC_SETS)}; --list shows their terms")
    wanted = public_set(name)
    if to is None:
        raise UsageError(f"--to is missing: give the folder to make, such as --to photos/{name}")
    check_new(to.expanduser())  # before the terms, so that a refusal is one line
    typer.echo(f"{wanted.title}\n  source: {wanted.page}\n  terms: {wanted.terms}", err=True)
    done = fetch_set(wanted, to.expanduser(), quiet)
    if json:
        about = _about(wanted) | {"to": str(to), "images": done.images, "classes": done.classes}
        typer.echo(msgspec.json.format(msgspec.json.encode(about)).decode())
    else:
        typer.echo(one_line(f"{to}: {done.images:,} photographs in {done.classes:,} folders, one a class"))
        typer.echo(one_line(f"next: facectl train {wanted.recipe} --data {quote(str(to))}"))


def _about(found: "PublicSet") -> dict[str, Any]:
    """Describe a set, as `--json` gives it."""
    return {
        "set": found.name,
        "title": found.title,
        "page": found.page,
        "terms": found.terms,
        "images": found.images,
        "classes": found.classes,
        "url": found.archive.url,
        "size": found.archive.size or None,
        "sha256": found.archive.sha256,
    }


def _table(rows: list[dict[str, Any]]) -> str:
    from facectl_runtime.output import columns

    head = ("set", "photographs", "classes", "MB")
    cells = [
        (row["set"], f"{row['images']:,}", f"{row['classes']:,}", f"{(row['size'] or 0) / 1e6:.0f}") for row in rows
    ]
    first, *lines = columns([head, *cells], right=(1, 2, 3)).splitlines()
    about = [f"{line}\n  {row['title']}\n  {row['terms']}" for line, row in zip(lines, rows, strict=True)]
    return "\n".join((first, *about))
