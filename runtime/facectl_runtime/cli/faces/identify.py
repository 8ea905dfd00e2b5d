"""`facectl faces identify`."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facectl_runtime.cli.faces.cuts import cut_otherwise, threshold_otherwise
from facectl_runtime.cli.faces.options import DetectOption, FaceModelOption, GalleryArgument, ThresholdOption
from facectl_runtime.cli.options import (
    CsvOption,
    DeclaredTypesOption,
    DeviceOption,
    DrawOption,
    EndOption,
    EngineOption,
    EveryOption,
    ExcludeOption,
    ForceDrawOption,
    JsonlOption,
    JsonOption,
    OnChangeOption,
    QuietOption,
    RetriesOption,
    SaveBytesOption,
    SaveLabelOption,
    SaveMostOption,
    SaveOption,
    SourceArgument,
    StartOption,
    ThreadsOption,
    TimeoutOption,
    engine_asked,
)
from facectl_runtime.errors import UsageError, one_line

if TYPE_CHECKING:
    from facectl_runtime.spec import Threshold

_TEMPLATES = ("all", "mean")
_NAMED = 0.1  # strangers who may be taken for somebody before that is worth a word


def identify(
    gallery: GalleryArgument,
    source: SourceArgument,
    model: FaceModelOption,
    topk: Annotated[int, typer.Option(min=1, help="How many people a face.")] = 1,
    threshold: ThresholdOption = None,
    templates: Annotated[
        str, typer.Option(metavar="all|mean", help="Compare with all photographs of a person, or with their mean.")
    ] = "all",
    detect: DetectOption = True,
    exclude: ExcludeOption = None,
    every: EveryOption = None,
    start: StartOption = None,
    end: EndOption = None,
    retries: RetriesOption = None,
    timeout: TimeoutOption = None,
    on_change: OnChangeOption = False,
    save: SaveOption = None,
    save_label: SaveLabelOption = None,
    save_most: SaveMostOption = None,
    save_bytes: SaveBytesOption = None,
    draw: DrawOption = None,
    force: ForceDrawOption = False,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    engine: EngineOption = "auto",
    declared_types: DeclaredTypesOption = False,
    json: JsonOption = False,
    jsonl: JsonlOption = False,
    csv: CsvOption = False,
    quiet: QuietOption = False,
) -> int:
    """Say who is in images, videos, and before cameras.

    Every face is compared with everyone in the gallery: the most alike is the answer, or `unknown` below the threshold.
    A picture without a face is said to have none. Sources and outputs are those of `facectl predict`.
    """
    from facectl_runtime.cli.answering import Answering, Options, answer
    from facectl_runtime.devices import parse_device
    from facectl_runtime.faces.embedder import read_spec, threshold_of
    from facectl_runtime.faces.gallery import Gallery
    from facectl_runtime.faces.read import by_people, faces_in
    from facectl_runtime.sources import display_name

    asked, by = parse_device(device, threads), engine_asked(engine, declared_types)
    if templates not in _TEMPLATES:
        raise UsageError(f"--templates {templates!r} is not known; use {' or '.join(_TEMPLATES)}")
    spec = read_spec(model)
    least = threshold_of(model, spec, threshold)
    with Gallery.open(gallery, spec.embedding_id, spec.output.size) as opened:
        known = opened.templates(templates)  # type: ignore[arg-type]  # one of the two
        found_by = opened.found_by()
    if not known.names:
        raise UsageError(f"{gallery}: nobody is enrolled; run facectl faces enroll {gallery} NAME IMAGE... first")
    if not quiet:
        own = spec.threshold if threshold is None else None
        lines = _differing(gallery, found_by, model, own.found_by if own else None, detect=detect)
        for line in (*lines, *_named_strangers(model, own, known.columns.shape[1])):
            typer.echo(one_line(f"facectl: {line}"), err=True)
    options = Options(
        exclude=exclude,
        every=every,
        start=start,
        end=end,
        retries=retries,
        timeout=timeout,
        on_change=on_change,
        save=save,
        save_label=save_label,
        save_most=save_most,
        save_bytes=save_bytes,
        draw=draw,
        force=force,
        json=json,
        jsonl=jsonl,
        csv=csv,
        quiet=quiet,
    )
    reading = faces_in(spec.input, by_people(known, least, topk), detect=detect)
    answering = Answering(
        model,
        spec,
        asked,
        by,
        reading,
        known.names,
        can_be_unknown=True,
        topk=topk,
        measure="similarity",
        faces=True,
        more={"gallery": display_name(gallery), "threshold": least},
    )
    return answer(answering, source, options)


def _differing(
    gallery: Path, found_by: Sequence[str], model: Path, threshold_by: str | None, *, detect: bool
) -> Iterator[str]:
    """Say which faces were cut out otherwise than those asked about will be."""
    if differ := cut_otherwise(found_by, detect=detect):
        less = "they look less alike than they are; enrol anew"
        yield f"{gallery}: it has faces {differ[0]}, and these are {differ[1]}: {less}"
    if said := threshold_otherwise(threshold_by, detect=detect):
        yield f"{model}: {said}"


def _named_strangers(model: Path, threshold: "Threshold | None", count: int) -> Iterator[str]:
    """Say where so many embeddings are enrolled that strangers often pass for one: Boole's inequality is the bound."""
    rate = max(threshold.false_accept_rate, threshold.asked or 0) if threshold else 0  # measured, it may be 0
    if rate * count > _NAMED:
        yield (
            f"{model}: its threshold takes one of {1 / rate:,.0f} pairs of different people for one person, and a "
            f"stranger is compared with {count:,} embeddings: up to about {min(1, rate * count):.0%} of strangers will "
            f"be named; calibrate it with --far {_rounded_down(_NAMED / count):g} or less"
        )


def _rounded_down(rate: float) -> float:
    """Give a rate to one digit, not above it."""
    unit = 10.0 ** math.floor(math.log10(rate))
    return math.floor(rate / unit * (1 + 1e-9)) * unit
