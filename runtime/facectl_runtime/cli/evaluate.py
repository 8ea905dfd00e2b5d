"""`facectl evaluate`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facectl_runtime.cli.hashed import say_flattery
from facectl_runtime.cli.options import (
    DeclaredTypesOption,
    DeviceOption,
    EngineOption,
    JsonOption,
    ModelArgument,
    QuietOption,
    ThreadsOption,
    engine_asked,
)
from facectl_runtime.errors import ImageError, left_out_line

if TYPE_CHECKING:
    from facectl_runtime.devices import Device
    from facectl_runtime.engines import Engine
    from facectl_runtime.evaluate import Evaluation, Withheld


def evaluate(
    model: ModelArgument,
    data: Annotated[Path | None, typer.Option(help="A folder with one folder of images a class.")] = None,
    split: Annotated[
        Path | None, typer.Option(help="A run's split.json: only the images of --part. A run folder uses its own.")
    ] = None,
    part: Annotated[
        str | None, typer.Option(metavar="train|val|test", help="Which part of a split. [default: test]")
    ] = None,
    pairs: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Of an embedding: pairs below --data, as in LFW's pairs.txt.")
    ] = None,
    triplets: Annotated[
        Path | None, typer.Option(metavar="CSV", help="Of an embedding: triplets, as of `facectl data triplets`.")
    ] = None,
    margin: Annotated[float | None, typer.Option(help="Of the loss of --triplets. [default: 0.2]")] = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    engine: EngineOption = "auto",
    declared_types: DeclaredTypesOption = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> int:
    """Measure accuracy on labelled images, or how well an embedding tells people apart.

    With its 95 % interval, precision and recall per class, and the confusion matrix. A run folder is measured on the
    test part of its own split; --data says where those photographs lie now. What has changed since a split was made is
    left out. Images that a model was trained on flatter it: give an exported file --split RUN/split.json, or
    photographs of another day.
    """
    from facectl_runtime.devices import parse_device
    from facectl_runtime.engines import format_of
    from facectl_runtime.errors import UsageError
    from facectl_runtime.evaluate import answer_labelled, evaluation, withheld
    from facectl_runtime.labelled import choose_images
    from facectl_runtime.learnt import own_split
    from facectl_runtime.progress import progress

    asked, by = parse_device(device, threads), engine_asked(engine, declared_types)
    spec = format_of(model).read_spec(model)
    if spec.task == "embed":
        from facectl_runtime.cli.evaluate_embedding import evaluate_embedding

        return evaluate_embedding(model, data, split, part, pairs, triplets, margin, asked, by, json, quiet)
    if pairs or triplets or margin is not None:
        option = "--pairs" if pairs else "--triplets" if triplets else "--margin"
        raise UsageError(f"{option} is of an embedding, and {model} is a classifier; leave it out")
    chosen = choose_images(data, split or own_split(model, data), part)
    chosen = say_flattery([model], chosen, quiet=quiet)
    opened = format_of(model, by).open(model, spec, asked)
    with progress(f"evaluating on {opened.device}", len(chosen.images), quiet) as advance:
        answered = answer_labelled(
            opened, spec.input, spec.labels, chosen.root, chosen.images, advance, chosen.hashes, asked.cores
        ).finite()
    result = evaluation(answered, spec.labels, withheld(answered, spec))
    if opened.no_gpu and not quiet:
        print(f"the GPU is not used: {opened.no_gpu} (facectl doctor says more)", file=sys.stderr)
    if not quiet:
        print(f"{chosen.what}; {opened.name} on {opened.device} (asked for: {asked})", file=sys.stderr)
    if json:
        typer.echo(encoded(model, opened, asked, result))
    else:
        typer.echo(_text(result))
    return ImageError.exit_code if result.unreadable else 0


def encoded(model: Path, opened: "Engine", asked: "Device", result: Any) -> str:
    """Give a result as JSON, with what it was computed by."""
    import msgspec

    from facectl_runtime.sources import display_name

    about = {
        "model": display_name(model),
        "engine": opened.name,
        "device": opened.device,
        "device_requested": str(asked),
    }
    return msgspec.json.encode({**about, **msgspec.to_builtins(result)}).decode()


def _text(result: "Evaluation") -> str:
    from facectl_runtime.output import columns

    low, high = result.interval
    headline = f"accuracy {result.accuracy:.4f}, 95 % interval {low:.4f} to {high:.4f}, n = {result.n}"
    if result.withheld:
        headline += f"\n{_withheld(result.withheld, result.n)}"
    per_class: list[tuple[str, ...]] = [("class", "precision", "recall", "F1", "n")]
    per_class += [
        (
            label,
            *(("–" if value is None else f"{value:.3f}") for value in (one.precision, one.recall, one.f1)),
            str(one.n),
        )
        for label, one in result.per_class.items()
    ]
    parts = [
        headline,
        columns(per_class, right=(1, 2, 3, 4)),
        "confusion (row: true, column: predicted)\n" + _confusion(result),
    ]
    if result.unreadable:
        parts.append(left_out_line(result.unreadable))
    return "\n\n".join(parts)


def _withheld(withheld: "Withheld", n: int) -> str:
    of = f"; {withheld.right} of them would be right" if withheld.count else ""
    given = "" if withheld.accuracy is None else f"; accuracy of the others {withheld.accuracy:.4f}"
    return f"below the threshold of {withheld.threshold:.4f}, unknown: {withheld.count} of {n}{of}{given}"


def _confusion(result: "Evaluation") -> str:
    from facectl_runtime.output import columns

    numbers = [str(number) for number in range(len(result.labels))]
    rows = [("", "", *numbers)]
    rows += [
        (label, number, *(str(count) if count else "·" for count in counts))
        for label, number, counts in zip(result.labels, numbers, result.confusion, strict=True)
    ]
    return columns(rows, right=range(1, len(numbers) + 2))
