"""`facectl faces calibrate`."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from facectl_runtime.cli.faces.options import DetectOption
from facectl_runtime.cli.options import DeviceOption, JsonOption, QuietOption, ThreadsOption
from facectl_runtime.errors import ImageError, UsageError, counted, left_out_clause, left_out_line, one_line

if TYPE_CHECKING:
    from facectl_runtime.devices import Device
    from facectl_runtime.labelled import Chosen
    from facectl_runtime.spec import ModelSpec
    from facectl_runtime.threshold.calibrated import Calibrated

_POOR = 0.3  # false-reject rate that is worth a word
_LOOSE = 3  # times the rate asked for, which the rate measured may be, that are worth one
_FEW = 10  # groups of unknown images, of fewer of which a bootstrap's interval is too narrow
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
    left_out = _measured(measures, say, dry_run=dry_run, json=json)
    if left_out:
        say(left_out_line(left_out))
    return ImageError.exit_code if left_out else 0


def _measured(
    measures: "Mapping[Path, Measure]", say: Callable[[str], None], *, dry_run: bool, json: bool
) -> dict[str, str]:
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
            for line in _doubts(calibrated):
                _warn(model, line)
            if not dry_run:
                sign(model, calibrated, before[model])
                after = f"; next: facectl faces enroll GALLERY NAME IMAGE... --model {model}"
                say(f"kept in the spec of {model}{after if calibrated.score == 'cosine' else ''}")
    finally:  # what was measured is said, whether or not it could be kept
        if json and found:
            typer.echo(msgspec.json.encode({"results": found, "left_out": left_out}).decode())
    return left_out


def _measure(
    model: Path, data: Path | None, split: Path | None, part: str | None, unknown: Path | None, asked: _Asked
) -> "Measure":
    """Give a function that measures a model. Raises `UsageError` where that cannot be done, which takes no time."""
    from facectl_runtime.engines import format_of
    from facectl_runtime.threshold.photographs import choose_photographs, known_and_unknown

    spec = format_of(model).read_spec(model)
    chosen = choose_photographs(model, data, split, part)
    if spec.task == "embed":
        if unknown:
            raise UsageError("--unknown is of a classifier; of faces, the other people in --data are the unknown ones")
        if asked.score != "auto":
            raise UsageError("--score is of a classifier; of faces, it is the cosine; leave it out")
        return _of_faces(model, chosen, part, asked)
    if not asked.detect:
        raise UsageError(f"--no-detect is of faces, and {model} is a classifier; leave it out")
    known, others = known_and_unknown(spec.labels, chosen, data, unknown)
    return _of_classes(model, spec, known, others, part, asked)


def _of_faces(model: Path, chosen: "Chosen", part: str | None, asked: _Asked) -> "Measure":
    from facectl_runtime.faces.detect import FOUND_BY, shared_detector
    from facectl_runtime.threshold.faces import FAR, calibrate_embeddings, check_people, folds_of

    far, people = asked.far or FAR, [image.label for image in chosen.images]
    folds = asked.folds or folds_of(people)
    try:
        check_people(people, far, folds)
    except UsageError as error:
        raise UsageError(f"{chosen.what}: {error}") from error
    if asked.detect:
        shared_detector()

    def measure() -> _Measured:
        import msgspec

        from facectl_runtime.faces.embedder import embed, open_embedder

        ((kept, copies),) = _counted(model, part, asked, chosen)
        embedder = open_embedder(model, asked.device)
        with asked.progress(f"faces by {model.name}", len(kept.images)) as advance:
            found = embed(embedder, kept, advance, asked.device.cores, detect=asked.detect)
        left_out = {str(kept.root / path): why for path, why in (copies | found.left_out).items()}
        with _naming(chosen, left_out):
            calibrated = calibrate_embeddings(found.embeddings, found.people, far, folds, asked.seed)
        found_by = FOUND_BY if asked.detect else ""
        return _Measured(msgspec.structs.replace(calibrated, found_by=found_by), {}, left_out)

    return measure


def _of_classes(
    model: Path, spec: "ModelSpec", known: "Chosen", others: "Chosen", part: str | None, asked: _Asked
) -> "Measure":
    from facectl_runtime.threshold.classes import FAR, check_counts, folds_of
    from facectl_runtime.threshold.classifier import calibrate_classes, check_score

    check_score(asked.score)
    far, groups = asked.far or FAR, [image.label for image in others.images]
    folds = asked.folds or folds_of(len(known.images), groups)
    check_counts(len(known.images), groups, far, folds)

    def measure() -> _Measured:
        import msgspec

        from facectl_runtime.engines import format_of

        sides = _counted(model, part, asked, known, others)
        (mine, _), (strangers, _) = sides
        left_out = {str(side.root / path): why for side, copies in sides for path, why in copies.items()}
        engine = format_of(model).open(model, spec, asked.device)
        with (
            asked.progress(f"images by {model.name}", len(mine.images) + len(strangers.images)) as advance,
            _naming(known, left_out),
        ):
            found = calibrate_classes(
                engine, spec, mine, strangers, far, asked.score, folds, asked.seed, advance, asked.device.cores
            )
        scores = {"scores": msgspec.to_builtins(found.scores)}
        return _Measured(found.calibrated, scores, left_out | found.left_out)

    return measure


def _counted(model: Path, part: str | None, asked: _Asked, *sides: "Chosen") -> "list[tuple[Chosen, dict[str, str]]]":
    """Read what is in the images, and give those that count, with path → why of the others. Raises `UsageError`."""
    from facectl_runtime.copies import distinct, hashed
    from facectl_runtime.learnt import has_left_its_run
    from facectl_runtime.threshold.photographs import check_new

    asked.say(f"{model.name}: {sides[0].what}")
    if not sides[0].hashes and has_left_its_run(model):  # a split would have them
        unsaid = "it does not lie in its run, which would say what it was trained on, and what flatters it"
        asked.say(f"facectl: {model}: {unsaid}; give --split RUN/split.json, or photographs of others")
    with asked.progress("reading photographs", sum(len(side.images) for side in sides)) as advance:
        read = [hashed(side, advance) for side in sides]
    for side in read[1:]:  # other things, which are of no part
        check_new(model, side, None)
    if said := check_new(model, read[0], part):
        _warn(model, said)
    return distinct(*read)


@contextmanager
def _naming(chosen: "Chosen", left_out: "Mapping[str, str]") -> Iterator[None]:
    """Let a refusal say what it is of, and what was left out, which may be why."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{chosen.what}: {error}{left_out_clause(left_out)}") from error


def _warn(model: Path, line: str) -> None:
    typer.echo(one_line(f"facectl: {model}: {line}"), err=True)


def _doubts(found: "Calibrated") -> Iterator[str]:
    """Say what speaks against a threshold."""
    if found.frr >= _POOR:
        what = "of one person's photographs" if found.score == "cosine" else "of what it names rightly"
        yield f"{found.frr:.0%} {what} will be unknown; take another model, or ask for a greater --far"
    if found.far_interval[1] > _LOOSE * found.far_asked:
        what = "people" if found.score == "cosine" else "groups of unknown images"
        yield f"the false-accept rate may be {found.far_interval[1]:.2g}: {found.groups} {what} are few; take more"
    elif found.score != "cosine" and found.groups < _FEW:
        n = counted(found.groups, "group")
        yield f"the interval of the false-accept rate is of {n} of unknown images, and too narrow; take {_FEW} or more"


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
