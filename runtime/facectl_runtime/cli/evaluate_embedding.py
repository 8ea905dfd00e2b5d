"""`facectl evaluate` of a model that embeds."""

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from facectl_runtime.cli.evaluate import encoded
from facectl_runtime.cli.hashed import read_contents, say_flattery
from facectl_runtime.errors import ImageError, UsageError, counted, left_out_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from facectl_runtime.devices import Device
    from facectl_runtime.faces.evaluate import EmbeddingEvaluation
    from facectl_runtime.labelled import Chosen


def evaluate_embedding(
    model: Path,
    data: Path | None,
    split: Path | None,
    part: str | None,
    pairs: Path | None,
    triplets: Path | None,
    margin: float | None,
    device: "Device",
    engine: str,
    json: bool,
    quiet: bool,
) -> int:
    """Measure how well an embedding tells people apart, print it, and give the exit code. Raises `UsageError`."""
    from facectl_runtime.faces.embedder import open_embedder
    from facectl_runtime.progress import progress

    if margin is not None and not triplets:
        raise UsageError("--margin is of the loss of --triplets; give that too, or leave it out")
    margin = 0.2 if margin is None else margin
    if not 0 <= margin < math.inf:
        raise UsageError(f"--margin {margin:g} is no margin; give 0 or more, such as 0.2")
    if pairs and triplets:
        raise UsageError("--pairs and --triplets exclude one another; give one")
    if (pairs or triplets) and (split or part):
        option = "--split" if split else "--part"
        raise UsageError(f"{pairs or triplets} says which photographs are compared; leave {option} out")
    listed = pairs or triplets
    chosen, measure = _of_list(pairs, triplets, data, margin) if listed else _of_people(model, data, split, part)
    chosen = chosen if listed else read_contents(chosen, quiet=quiet)
    chosen = say_flattery([model], chosen, quiet=quiet, listed=listed is not None)
    embedder = open_embedder(model, device, engine)
    with progress(f"evaluating on {embedder.engine.device}", len(chosen.images), quiet) as advance:
        result = measure(embedder, chosen=chosen, cores=device.cores, advance=advance)
    if not quiet:
        by = f"{embedder.engine.name} on {embedder.engine.device} (asked for: {device})"
        print(f"{chosen.what}; {by}", file=sys.stderr)
    typer.echo(encoded(model, embedder.engine, device, result) if json else _text(result))
    return ImageError.exit_code if result.unreadable else 0


def _of_list(
    pairs: Path | None, triplets: Path | None, data: Path | None, margin: float
) -> "tuple[Chosen, Callable[..., EmbeddingEvaluation]]":
    """Give the photographs that a file of pairs or triplets needs, and what measures them. Raises `UsageError`."""
    from functools import partial

    from facectl_runtime.faces.evaluate import evaluate_pairs, evaluate_triplets, images_of, listed

    file = pairs or triplets
    assert file
    if data is None:
        raise UsageError(f"{file}: give --data, the folder that its paths begin in")
    decided = listed(file, data, triplets=triplets is not None)
    of_triplets = partial(evaluate_triplets, pairs=decided, margin=margin)
    return images_of(decided, data), of_triplets if triplets else partial(evaluate_pairs, pairs=decided)


def _of_people(
    model: Path, data: Path | None, split: Path | None, part: str | None
) -> "tuple[Chosen, Callable[..., EmbeddingEvaluation]]":
    """Give photographs of people, all pairs of which are compared. Raises `UsageError`."""
    from facectl_runtime.faces.evaluate import evaluate_people
    from facectl_runtime.labelled import choose_images
    from facectl_runtime.learnt import own_split

    return choose_images(data, split or own_split(model, data), part), evaluate_people


def _text(result: "EmbeddingEvaluation") -> str:
    from facectl_runtime.faces.measured import described

    people = "" if result.people is None else f" of {counted(result.people, 'person', 'people')}"
    lines = [described(result.verification), f"{counted(result.photographs, 'photograph')}{people}"]
    if result.triplet_loss is not None:
        lines.insert(
            1,
            f"triplet loss {result.triplet_loss:.4f} at margin {result.margin:g}; the positive is the nearer in "
            f"{result.in_order:.1%}",
        )
    if result.unreadable:
        lines.append(left_out_line(result.unreadable))
    return "\n".join(lines)
