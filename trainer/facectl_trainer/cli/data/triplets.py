"""`facectl data triplets`."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from facectl_runtime.cli.options import QuietOption
from facectl_runtime.errors import ImageError, left_out_line, one_line


def triplets(
    to: Annotated[Path, typer.Option(help="The CSV to write: Anchor,Positive,Negative, as paths below --data.")],
    data: Annotated[Path | None, typer.Option(help="A folder with a folder of photographs a person.")] = None,
    split: Annotated[Path | None, typer.Option(help="A run's split.json: only the people of --part.")] = None,
    part: Annotated[
        str | None, typer.Option(metavar="train|val|test", help="Which part of a split. [default: test]")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="How many.")] = 400,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same triplets.")] = 0,
    quiet: QuietOption = False,
) -> int:
    """Draw triplets of photographs: two of one person, and one of another.

    The anchor's person is uniform over people. Who has one photograph is left out. With a run's split they are of its
    test part, of people whom the run was not trained on. Exit code 3 where a photograph could not be used.
    """
    from facectl_runtime.labelled import choose_images
    from facectl_runtime.progress import progress
    from facectl_trainer.data.triplets import write_triplets

    chosen = choose_images(data, split, part)
    left_out = write_triplets(chosen, to, count, seed, partial(progress, quiet=quiet))
    if left_out:
        typer.echo(left_out_line(left_out), err=True)
    after = f"facectl evaluate MODEL --data {chosen.root} --triplets {to}"
    typer.echo(one_line(f"{to} is ready: {count:,} triplets of {chosen.what}; next: {after}"))
    return ImageError.exit_code if left_out else 0
