"""`facectl data shapes`."""

from pathlib import Path
from typing import Annotated

import typer

from facectl_runtime.cli.options import QuietOption


def shapes(
    to: Annotated[Path, typer.Option(help="The folder to make, with train, val and test in it.")],
    count: Annotated[int, typer.Option(min=20, help="Pictures of each kind.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same pictures.")] = 0,
    quiet: QuietOption = False,
) -> None:
    """Draw an ellipse or a rectangle on crops of the photographs that scikit-learn ships.

    The crops for testing come from regions of the photographs that are never trained on.
    """
    from facectl_runtime.progress import progress
    from facectl_trainer.data.shapes import KINDS, write_shapes

    with progress("drawing", count * len(KINDS), quiet) as advance:
        write_shapes(to, count, seed, advance)
    typer.echo(f"{to} is ready; next: facectl train shapes --data {to}")
