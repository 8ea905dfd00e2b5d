"""`facectl data split`."""

from contextlib import ExitStack
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Annotated

import typer

from facectl_runtime.cli.options import JsonOption, QuietOption
from facectl_runtime.errors import UsageError, left_out_line, one_line

if TYPE_CHECKING:
    from facectl_trainer.data.make_split import Made


def split(
    data: Annotated[Path, typer.Argument(metavar="DIR", help="A folder with one folder of images a class.")],
    to: Annotated[Path, typer.Option(metavar="FILE", help="The split file to write, such as split.json.")],
    labels: Annotated[
        str | None, typer.Option(metavar="CSV", help="A table of file names and classes, inside the data folder.")
    ] = None,
    test: Annotated[
        str, typer.Option(metavar="SHARE|COUNT", help="To test on: a share of each class, or so many images of each.")
    ] = "0.2",
    val: Annotated[str, typer.Option(metavar="SHARE|COUNT", help="To choose by while training, likewise.")] = "0.15",
    group_by: Annotated[
        str | None,
        typer.Option(
            metavar="PATTERN|CSV:COLUMN",
            help="Keep together what belongs together: a regular expression whose first parentheses find the group in "
            "the path, such as '(burst[0-9]+)'; or a column of a table inside the data folder.",
        ),
    ] = None,
    near: Annotated[
        bool, typer.Option("--near", help="Keep near duplicates together: each photograph is read.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="The same seed splits the same contents alike.")] = 0,
    folders: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Copy the photographs too, into DIR/train, val and test.")
    ] = None,
    link: Annotated[bool, typer.Option("--link", help="With --folders: symbolic links instead of copies.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the split file that is there.")] = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Say once which photographs are to train on, to choose by and to test on.

    Each class is split alike, by the content of its photographs and a seed: neither names nor order matter, and copies
    stay together. The photographs stay where they are; `facectl train RECIPE --split FILE` takes the file.
    """
    from facectl_runtime.progress import progress
    from facectl_trainer.data.make_split import Rules, make_split, write_folders, write_split
    from facectl_trainer.data.split import parse_amounts
    from facectl_trainer.data.tree import check_apart, check_new
    from facectl_trainer.prepare import gather
    from facectl_trainer.recipe import DataPlan
    from facectl_trainer.reports.output import check_out, check_writable

    rules = Rules(*parse_amounts(test, val), seed, group_by, near)
    if link and not folders:
        raise UsageError("--link is of --folders; give both, or leave it out")
    check_out(to, force, "--to")
    check_writable(to, "--to")
    if folders:
        check_new(folders, "--folders")
        check_apart(folders, data, "--folders")
    shown = partial(progress, quiet=quiet)
    made = make_split(gather(data, DataPlan(labels=labels), seed, quiet), rules, shown)
    with ExitStack() as undo:
        if folders:
            write_folders(made.split, folders, link, shown)
            undo.callback(rmtree, folders, ignore_errors=True)
        write_split(made.split, to)
        undo.pop_all()
    if made.left_out:
        typer.echo(left_out_line(made.left_out), err=True)
    typer.echo(_json(made, to) if json else _text(made, to))


def _json(made: "Made", to: Path) -> str:
    import msgspec

    return msgspec.json.encode({"to": str(to), "images": made.counts(), "left_out": made.left_out}).decode()


def _text(made: "Made", to: Path) -> str:
    from facectl_runtime.output import columns

    counts = made.counts()
    labels = sorted({label for some in counts.values() for label in some})
    rows = [("class", *counts)]
    rows += [(one_line(label)[:40], *(f"{some.get(label, 0):,}" for some in counts.values())) for label in labels[:30]]
    if len(labels) > 30:
        rows.append((f"and {len(labels) - 30:,} more", *("" for _ in counts)))
    rows.append(("all", *(f"{sum(some.values()):,}" for some in counts.values())))
    return f"{columns(rows, right=(1, 2, 3))}\n{to} is ready; next: facectl train zoo --split {to}"
