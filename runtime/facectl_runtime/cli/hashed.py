"""Labelled images with their contents, before models are measured on them: what flatters one is said."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from facectl_runtime.errors import one_line

if TYPE_CHECKING:
    from facectl_runtime.labelled import Chosen


def read_contents(chosen: "Chosen", *, quiet: bool) -> "Chosen":
    """Give images with the content hashes of all that can be read."""
    from facectl_runtime.copies import hashed
    from facectl_runtime.progress import progress

    with progress("reading photographs", len(chosen.images), quiet) as advance:
        return hashed(chosen, advance)


def say_flattery(models: Sequence[Path], chosen: "Chosen", *, quiet: bool, listed: bool = False) -> "Chosen":
    """Say on stderr which models have met the images before; gives those, with their contents where that needs them.

    `listed`: a file of pairs or triplets says which images they are, and not a split.
    """
    from facectl_runtime.learnt import flattery, is_known

    if any(map(is_known, models)) and any(image.path not in chosen.hashes for image in chosen.images):
        chosen = read_contents(chosen, quiet=quiet)
    for model in models:
        if warning := flattery(model, chosen):
            how = "list its test part (facectl data triplets --split" if listed else "take its test part (--split"
            typer.echo(one_line(f"facectl: {model}: {warning}; {how} RUN/split.json), or other photographs"), err=True)
    return chosen
