"""`facectl data`: one module a command."""

import typer

from facectl_trainer.cli.data.check import check
from facectl_trainer.cli.data.csv import from_csv
from facectl_trainer.cli.data.fetch import fetch
from facectl_trainer.cli.data.search import search
from facectl_trainer.cli.data.shapes import shapes
from facectl_trainer.cli.data.split import split
from facectl_trainer.cli.data.triplets import triplets
from facectl_trainer.cli.data.vott import from_vott

app = typer.Typer(
    help="Make folders of photographs that can be trusted.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
app.command()(check)
app.command()(from_csv)
app.command()(from_vott)
app.command()(fetch)
app.command()(search)
app.command()(shapes)
app.command()(split)
app.command()(triplets)


@app.callback()
def data() -> None:
    """Make folders of photographs that can be trusted, and change nothing that is there."""
