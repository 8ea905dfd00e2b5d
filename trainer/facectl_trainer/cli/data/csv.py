"""`facectl data from-csv`."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facectl_runtime.cli.options import JsonOption, QuietOption
from facectl_runtime.errors import ImageError, counted, left_out_line, one_line

if TYPE_CHECKING:
    from facectl_trainer.data.from_csv import Arranged


def from_csv(
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="A CSV with a row an image, such as ID,Class.")],
    images: Annotated[Path, typer.Option(help="The folder in which the images lie.")],
    to: Annotated[Path, typer.Option(help="The folder to make, with a folder a class in it.")],
    file_column: Annotated[
        str | None, typer.Option(metavar="NAME", help="The column of files. [default: told by its name]")
    ] = None,
    label_column: Annotated[
        str | None, typer.Option(metavar="NAME", help="The column of classes. [default: told by its name]")
    ] = None,
    classes: Annotated[str | None, typer.Option(metavar="A,B", help="Only these classes.")] = None,
    per_class: Annotated[
        str | None,
        typer.Option(
            metavar="N|TRAIN,TEST|TRAIN,VAL,TEST",
            help="Exactly so many different images of each class; several numbers make parts that share none.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of --per-class: the same seed takes the same images.")] = 0,
    link: Annotated[bool, typer.Option("--link", help="Symbolic links instead of copies.")] = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> int:
    """Make class folders of a table of labels and a folder of images.

    Exit code 3 where rows of the table could not be used.
    """
    from facectl_runtime.progress import progress
    from facectl_trainer.data.from_csv import Choice, Table, arrange, parse_per_class

    numbers = () if per_class is None else parse_per_class(per_class)
    chosen = [] if classes is None else [name.strip() for name in classes.split(",")]
    made = arrange(
        Table(table, images, file_column, label_column),
        to,
        Choice(chosen, numbers, seed),
        link,
        partial(progress, quiet=quiet),
    )
    _warn(made)
    typer.echo(_json(made, to) if json else _text(made, to))
    return 0 if made.complete else ImageError.exit_code


def _warn(made: "Arranged") -> None:
    for label, folder in made.renamed.items():
        typer.echo(f"class {one_line(label)[:100]}: its folder is {folder}", err=True)
    if made.left_out:
        typer.echo(left_out_line(made.left_out), err=True)


def _json(made: "Arranged", to: Path) -> str:
    import msgspec

    counts = made.counts if len(made.counts) > 1 else made.counts[""]
    plain = {"to": str(to), "images": counts, "renamed": made.renamed, "left_out": made.left_out}
    return msgspec.json.encode(plain).decode()


def _text(made: "Arranged", to: Path) -> str:
    from facectl_trainer.data.next_step import next_step

    lines = []
    for part, counts in made.counts.items():
        some = ", ".join(f"{one_line(label)[:40]} {count:,}" for label, count in list(counts.items())[:12])
        more = f", and {len(counts) - 12:,} more" if len(counts) > 12 else ""
        images, classes = counted(sum(counts.values()), "image"), counted(len(counts), "class", "classes")
        lines.append(f"{to / part}: {images} of {classes}: {some}{more}")
    data = to if len(made.counts) != 2 else to / "train"
    first = next(iter(made.counts.values()))
    return "\n".join([*lines, next_step(to, data, first, parted=len(made.counts) == 3)])
