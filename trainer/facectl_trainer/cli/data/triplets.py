"""`facectl data triplets`."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from facectl_runtime.cli.options import QuietOption
from facectl_runtime.errors import ImageError, left_out_line


def triplets(
    data: Annotated[Path, typer.Option(help="A folder with a folder of photographs a person.")],
    to: Annotated[Path, typer.Option(help="The CSV to write: Anchor,Positive,Negative, as paths below --data.")],
    count: Annotated[int, typer.Option(min=1, help="How many.")] = 400,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same triplets.")] = 0,
    quiet: QuietOption = False,
) -> int:
    """Draw triplets of photographs: two of one person, and one of another.

    The anchor's person is uniform over people. Who has one photograph is left out. Exit code 3 where a photograph
    could not be used.
    """
    from facectl_runtime.progress import progress
    from facectl_trainer.data.triplets import write_triplets

    left_out = write_triplets(data, to, count, seed, partial(progress, quiet=quiet))
    if left_out:
        typer.echo(left_out_line(left_out), err=True)
    typer.echo(
        f"{to} is ready: {count:,} triplets of {data}; next: facectl evaluate MODEL --data {data} --triplets {to}"
    )
    return ImageError.exit_code if left_out else 0
