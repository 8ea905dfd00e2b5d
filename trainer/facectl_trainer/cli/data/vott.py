"""`facectl data from-vott`."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facectl_runtime.cli.options import JsonOption, QuietOption
from facectl_runtime.errors import ImageError, counted, left_out_line, one_line

if TYPE_CHECKING:
    from facectl_trainer.data.crops import Cut


def from_vott(
    vott: Annotated[
        Path,
        typer.Argument(metavar="VOTT", help="What VoTT exported as JSON, its .vott file, or the folder of either."),
    ],
    to: Annotated[Path, typer.Option(help="The folder to make, with a folder of crops for each tag.")],
    images: Annotated[
        Path | None, typer.Option(help="The folder that holds the photographs. [default: that of the JSON]")
    ] = None,
    square: Annotated[
        bool, typer.Option("--square", help="Grow each region to a square, as far as its picture reaches.")
    ] = False,
    margin: Annotated[
        float,
        typer.Option(metavar="SHARE", help="Add so much of a region's width and height on each side, such as 0.2."),
    ] = 0.0,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> int:
    """Cut what was tagged in VoTT out of its photographs, into a folder for each tag.

    Crops are PNG, and a region with several tags gives one under each. Exit code 3 where a region with a tag gave
    none.
    """
    from facectl_runtime.progress import progress
    from facectl_trainer.data.crops import Shape, cut_crops, left_out_lines

    cut = cut_crops(vott, images, to, Shape(square, margin), partial(progress, quiet=quiet))
    for tag, folder in cut.renamed.items():
        typer.echo(f"tag {one_line(tag)[:100]}: its folder is {folder}", err=True)
    if cut.left_out:
        typer.echo(left_out_line(left_out_lines(cut.left_out)), err=True)
    typer.echo(_json(cut, to) if json else _text(cut, to))
    return ImageError.exit_code if cut.left_out else 0


def _json(cut: "Cut", to: Path) -> str:
    import msgspec

    return msgspec.json.encode({"to": str(to), **msgspec.to_builtins(cut)}).decode()


def _text(cut: "Cut", to: Path) -> str:
    from facectl_trainer.data.next_step import next_step

    some = ", ".join(f"{one_line(tag)[:40]} {count:,}" for tag, count in list(cut.crops.items())[:12])
    more = f", and {len(cut.crops) - 12:,} more" if len(cut.crops) > 12 else ""
    made = f"{counted(sum(cut.crops.values()), 'crop')} of {counted(cut.pictures, 'picture')}"
    lines = [f"{to}: {made}: {some}{more}"]
    if cut.several_tags:
        lines.append(f"regions with several tags, and a crop under each: {cut.several_tags:,}")
    if cut.untagged:
        lines.append(f"regions without a tag, and without a crop: {cut.untagged:,}")
    return "\n".join([*lines, next_step(to, to, cut.crops)])
