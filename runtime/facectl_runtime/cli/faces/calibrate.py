"""`facectl faces calibrate`."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from facectl_runtime.cli.faces.options import DetectOption
from facectl_runtime.cli.options import DeviceOption, JsonOption, QuietOption, ThreadsOption
from facectl_runtime.errors import ImageError, UsageError, counted, describe, left_out_line, one_line

if TYPE_CHECKING:
    from facectl_runtime.devices import Device
    from facectl_runtime.labelled import Chosen
    from facectl_runtime.spec import ModelSpec
    from facectl_runtime.threshold.calibrated import Calibrated

_FAR_OF_FACES, _FAR_OF_CLASSES = 1e-3, 1e-2
_POOR = 0.3  # false-reject rate that is worth a word
_NOT_SUMMED = "SHA256SUMS beside it did not fit it before, and stays as it is; export again to have it right"
_WORDS = {
    True: (("pair of two people", "pairs of two people"), ("pair of one person", "pairs of one person")),
    False: (("unknown image", "unknown images"), ("known image answered right", "known images answered right")),
}
"""Whether faces are meant → what false accepts and false rejects are counted of: one, several."""


class _Asked(NamedTuple):
    far: float | None
    score: str
    folds: int | None
    seed: int
    detect: bool
    device: "Device"
    progress: Callable[[str, int], AbstractContextManager[Callable[[float], None]]]
    say: Callable[[str], None]


class _Measured(NamedTuple):
    calibrated: "Calibrated"
    more: dict[str, Any]
    """What else is said of it in JSON."""
    left_out: dict[str, str]
    """Path → why, of images."""


Measure = Callable[[], _Measured]


def calibrate(
    models: Annotated[
        list[Path], typer.Argument(metavar="MODEL...", help="Exported files or run folders.", readable=False)
    ],
    data: Annotated[
        Path | None, typer.Option(help="A folder with a folder a person; of a classifier, with a folder a class.")
    ] = None,
    split: Annotated[Path | None, typer.Option(help="A run's split.json: only the images of --part.")] = None,
    part: Annotated[
        str | None, typer.Option(metavar="train|val|test", help="Which part of a split. [default: val]")
    ] = None,
    unknown: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Of a classifier: images of other things; without, the classes it has not."),
    ] = None,
    far: Annotated[
        float | None,
        typer.Option(help="The false-accept rate. [default: 0.001 of faces, 0.01 of a classifier]"),
    ] = None,
    score: Annotated[
        str,
        typer.Option(
            metavar="auto|NAME", help="Of a classifier: max_probability, margin, negative_entropy; or the best of them."
        ),
    ] = "auto",
    folds: Annotated[
        int | None,
        typer.Option(
            min=2, max=100, help="Folds of people to measure the rates in. [default: 10, or as many as people]"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides the folds.")] = 0,
    detect: DetectOption = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only measure; leave the models as they are.")] = False,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> int:
    """Find the threshold below which the answer is `unknown`, at a stated false-accept rate, and keep it in the model.

    Of faces: of so many pairs of photographs of different people, one is taken for one person. Of a classifier: of so
    many images of other things, one is taken for one of its classes. The rates are measured in folds, on people (or
    groups of unknown images) that had no part in choosing the threshold, for each file by itself. Of a run that was
    trained on --data, and of what was exported from it, the val part alone is used.
    """
    from functools import partial

    from facectl_runtime.devices import parse_device
    from facectl_runtime.progress import progress
    from facectl_runtime.threshold.sign import check_signable

    def say(line: str) -> None:
        if not quiet:
            typer.echo(one_line(line), err=True)

    if far is not None and not 0 < far < 1:
        raise UsageError(f"--far {far:g} is no rate; give one above 0 and below 1, such as 0.001")
    on, shown = parse_device(device, threads), partial(progress, quiet=quiet)
    asked = _Asked(far, score, folds, seed, detect, on, shown, say)
    measures = {model: _measure(model, data, split, part, unknown, asked) for model in models}
    if not dry_run:
        for model in measures:
            check_signable(model)
    left_out = _measured(measures, dry_run=dry_run, json=json)
    if not dry_run:
        say(f"kept in {'its spec' if len(measures) == 1 else f'the specs of {len(measures)} models'}")
    if left_out:
        say(left_out_line(left_out))
    return ImageError.exit_code if left_out else 0


def _measured(measures: "Mapping[Path, Measure]", *, dry_run: bool, json: bool) -> dict[str, str]:
    """Measure each model, say and keep what was found; give path → why of the images left out."""
    import msgspec

    from facectl_runtime.engines import format_of
    from facectl_runtime.sources import display_name
    from facectl_runtime.threshold.sign import sign

    found: list[dict[str, Any]] = []
    left_out: dict[str, str] = {}
    before = {model: format_of(model).read_spec(model) for model in measures}
    try:
        for model, measure in measures.items():
            calibrated, more, missing = measure()
            left_out |= missing
            found.append({"model": display_name(model), **msgspec.to_builtins(calibrated), **more})
            if not json:
                typer.echo(one_line(f"{display_name(model)}: {_line(calibrated)}"))
            if calibrated.frr >= _POOR:
                _warn(model, _withheld(calibrated))
            if not dry_run and not sign(model, calibrated, before[model]):
                _warn(model, _NOT_SUMMED)
    finally:  # what was measured is said, whether or not it could be kept
        if json and found:
            typer.echo(msgspec.json.encode({"results": found, "left_out": left_out}).decode())
    return left_out


def _measure(
    model: Path, data: Path | None, split: Path | None, part: str | None, unknown: Path | None, asked: _Asked
) -> "Measure":
    """Give a function that measures a model. Raises `UsageError` where that cannot be done, which takes no time."""
    from facectl_runtime.engines import format_of
    from facectl_runtime.labelled import choose_images, presplit, split_learnt

    spec = format_of(model).read_spec(model)
    split = split or split_learnt(model, data)  # what it was trained on would flatter it
    parted = split or (data and presplit(data))  # a threshold is chosen, and nothing is on the test part
    chosen = choose_images(data, split, part or ("val" if parted else None))
    if spec.task == "embed":
        if unknown:
            raise UsageError("--unknown is of a classifier; of faces, the other people in --data are the unknown ones")
        if asked.score != "auto":
            raise UsageError("--score is of a classifier; of faces, it is the cosine; leave it out")
        return _of_faces(model, chosen, asked)
    if not asked.detect:
        raise UsageError(f"--no-detect is of faces, and {model} is a classifier; leave it out")
    return _of_classes(model, spec, chosen, data, unknown, asked)


def _of_faces(model: Path, chosen: "Chosen", asked: _Asked) -> "Measure":
    from facectl_runtime.faces.detect import shared_detector
    from facectl_runtime.threshold.faces import calibrate_embeddings, check_people
    from facectl_runtime.threshold.folds import FOLDS

    far, people = asked.far or _FAR_OF_FACES, [image.label for image in chosen.images]
    folds = asked.folds or max(3, min(FOLDS, len(set(people))))
    try:
        check_people(people, far, folds)
    except UsageError as error:
        raise UsageError(f"{chosen.what}: {error}") from error
    if asked.detect:
        shared_detector()

    def measure() -> _Measured:
        from facectl_runtime.faces.embedder import embed, open_embedder

        asked.say(f"{model.name}: {chosen.what}")
        embedder = open_embedder(model, asked.device)
        with asked.progress(f"faces by {model.name}", len(chosen.images)) as advance:
            found = embed(embedder, chosen, advance, asked.device.cores, detect=asked.detect)
        try:
            calibrated = calibrate_embeddings(found.embeddings, found.people, far, folds, asked.seed)
        except UsageError as error:
            n = f"{len(found.left_out):,} of {len(chosen.images):,} photographs were left out"
            why = f"; {n} ({describe(found.left_out)})" if found.left_out else ""
            raise UsageError(f"{chosen.what}: {error}{why}") from error
        return _Measured(calibrated, {}, found.left_out)

    return measure


def _of_classes(
    model: Path, spec: "ModelSpec", chosen: "Chosen", data: Path | None, unknown: Path | None, asked: _Asked
) -> "Measure":
    import msgspec

    from facectl_runtime.labelled import class_folders, presplit
    from facectl_runtime.threshold.classes import check_counts
    from facectl_runtime.threshold.classifier import calibrate_classes, check_score, unknown_images
    from facectl_runtime.threshold.folds import FOLDS

    known, others = unknown_images(chosen.images, spec.labels)
    if not others and unknown is None and data is not None and presplit(data) is None:
        # A split has the model's own classes alone; what else lies beside them was no part of it.
        others = unknown_images(class_folders(data), spec.labels)[1]
    if not known:
        raise UsageError(
            f"{chosen.root}: none of its images are of the model's classes, so that right answers cannot be counted; "
            f"it has {', '.join(spec.labels[:10])}{'…' if len(spec.labels) > 10 else ''}"
        )
    if unknown is None and not others:
        raise UsageError(
            f"{chosen.root}: all its images are of the model's classes; give images of other things with --unknown DIR"
        )
    strangers = _grouped(unknown) if unknown else msgspec.structs.replace(chosen, images=others, hashes={})
    mine, far = msgspec.structs.replace(chosen, images=known), asked.far or _FAR_OF_CLASSES
    check_score(asked.score)
    groups = [image.label for image in strangers.images]
    folds = asked.folds or max(2, min(FOLDS, len(set(groups)), len(known)))
    check_counts(len(known), groups, far, folds)

    def measure() -> _Measured:
        from facectl_runtime.engines import format_of

        asked.say(f"{model.name}: {chosen.what}")
        engine = format_of(model).open(model, spec, asked.device)
        with asked.progress(f"images by {model.name}", len(known) + len(strangers.images)) as advance:
            found = calibrate_classes(
                engine, spec, mine, strangers, far, asked.score, folds, asked.seed, advance, asked.device.cores
            )
        return _Measured(found.calibrated, {"scores": msgspec.to_builtins(found.scores)}, found.left_out)

    return measure


def _grouped(folder: Path) -> "Chosen":
    """List images of other things, those of one folder below being a group. Raises `UsageError`."""
    from facectl_runtime.labelled import Chosen, Image
    from facectl_runtime.sources import images_below

    if not folder.is_dir():
        raise UsageError(f"--unknown {folder}: no such folder; give one of images of other things")
    # A folder in it may be a link, as one of --data may.
    groups = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    images = [Image(str(path.relative_to(folder)), group.name) for group in groups for path in images_below(group)]
    images += [Image(path.name, path.name) for path in images_below(folder) if path.parent == folder]
    if not images:
        raise UsageError(f"--unknown {folder}: no images in it; give images of other things")
    return Chosen(folder, images, f"all images of {folder}", {})


def _warn(model: Path, line: str) -> None:
    typer.echo(one_line(f"facectl: {model}: {line}"), err=True)


def _withheld(found: "Calibrated") -> str:
    what = "of one person's photographs" if found.score == "cosine" else "of what it names rightly"
    return f"{found.frr:.0%} {what} will be unknown; take another model, or ask for a greater --far"


def _line(found: "Calibrated") -> str:
    """Say a threshold, and how often it goes wrong, on one line."""
    strangers, known = _WORDS[found.score == "cosine"]
    far_low, far_high = found.far_interval
    frr_low, frr_high = found.frr_interval
    return (
        f"threshold {found.value:.4f} of {found.score}; asked for FAR {found.far_asked:g}; measured in {found.folds} "
        f"folds: FAR {found.far:.3g} [{far_low:.3g}, {far_high:.3g}] on {counted(found.far_count, *strangers)}, FRR "
        f"{found.frr:.3g} [{frr_low:.3g}, {frr_high:.3g}] on {counted(found.frr_count, *known)}"
    )
