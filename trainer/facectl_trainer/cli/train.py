"""`facectl train`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facectl_runtime.cli.options import DeviceOption, JsonOption, QuietOption
from facectl_runtime.errors import UsageError, counted, left_out_line

if TYPE_CHECKING:
    from facectl_trainer.job import Trained
    from facectl_trainer.run import EmbedMetrics, Metrics

_COMPARE = "compare"


def train(
    recipe: Annotated[
        str | None,
        typer.Argument(metavar="RECIPE", help="A recipe's name, or a .toml file; or `compare`."),
    ] = None,
    runs: Annotated[list[Path] | None, typer.Argument(metavar="[RUN]...", help="After `compare`: run folders.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="A folder with one folder of images a class, or with train, val and test.")
    ] = None,
    split: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A split file, as of `facectl data split`; --data says where they lie now."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The run folder; its name becomes the model's. With --ladder: the folder of its runs. After "
            "`compare`: the page. [default: runs/RECIPE, runs/RECIPE-VARIANT, runs/RECIPE-ladder, compare.html]"
        ),
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="Show the recipes and their variants.")] = False,
    variant: Annotated[str | None, typer.Option(help="A variant of the recipe.")] = None,
    ladder: Annotated[
        bool, typer.Option("--ladder", help="Train every variant, each into a folder of its name, and compare them.")
    ] = False,
    backbone: Annotated[
        str | None, typer.Option(help="Another backbone than the recipe's: `facectl weights list` shows them.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Which of its pretrained weights; `none` trains from scratch.")
    ] = None,
    labels: Annotated[
        str | None, typer.Option(metavar="CSV", help="A table of file names and classes, inside the data folder.")
    ] = None,
    top: Annotated[int | None, typer.Option(min=2, help="Only so many classes: those with most images.")] = None,
    balance: Annotated[
        str | None,
        typer.Option(metavar="HOW", help="Against classes of unequal size: class_weights, sampling or none."),
    ] = None,
    pretrained: Annotated[
        bool, typer.Option("--pretrained", help="Of triplet: the backbone's own features as they are; train nothing.")
    ] = False,
    sampling: Annotated[
        str | None, typer.Option(metavar="HOW", help="Of triplet: random, semi-hard or weighted.")
    ] = None,
    margin: Annotated[
        float | None, typer.Option(min=0.001, max=4.0, help="Of triplet: between squared distances, 0 to 4.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="So many epochs at most in every stage, in place of the recipe's.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Decides the split and the first weights.")] = 0,
    fold: Annotated[str | None, typer.Option(metavar="K/N", help="Test on the K-th of N folds.")] = None,
    people: Annotated[
        bool, typer.Option("--people", help="The photographs show people: none of them goes into an exported file.")
    ] = False,
    start: Annotated[
        Path | None, typer.Option("--from", metavar="RUN", help="Begin from the weights of an earlier run.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a training that was interrupted.")] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Replace the run folder that is there, exported files and all, once this run is done."
        ),
    ] = False,
    preview: Annotated[
        Path | None,
        typer.Option(metavar="PNG", help="Draw photographs of the data as augmentation changes them; train nothing."),
    ] = None,
    report: Annotated[bool, typer.Option("--report/--no-report", help="Write report.html into the run folder.")] = True,
    device: DeviceOption = "auto",
    json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="A line an epoch on stderr.")] = False,
) -> None:
    """Train a classifier on folders of photographs: `facectl train zoo --data photos`; or an embedding: triplet.

    `facectl train --list` shows the recipes; `facectl train compare RUN RUN` compares what was trained. Images that
    cannot be read are listed and left out. The features of a frozen backbone are kept in FACECTL_HOME, so that a second
    run on the same photographs is quick. TensorBoard shows a run by: tensorboard --logdir runs
    """
    from facectl_runtime.devices import parse_device
    from facectl_runtime.labelled import read_split
    from facectl_trainer.data.split import parse_fold
    from facectl_trainer.job import Job
    from facectl_trainer.recipe import Changes, load_recipe
    from facectl_trainer.train import train

    if list_:
        return typer.echo(_encoded(_recipes()) if json else _listed())
    if recipe == _COMPARE:
        return _compare(runs or [], out, force, json)
    if recipe is None or (data is None and split is None):
        what = "a RECIPE, such as zoo (--list shows them)" if recipe is None else "--data, the folder of photographs"
        raise UsageError(f"what to train? give {what}")
    root = data or Path(read_split(split).root)  # type: ignore[arg-type]  # one of the two is there
    if ladder and (variant or preview):
        raise UsageError(f"--ladder trains every variant; leave {'--variant' if variant else '--preview'} out, or it")
    if runs:
        raise UsageError(f"{runs[0]}: one RECIPE at a time; several RUNs come after `compare`")

    changes = Changes(
        backbone, weights, labels, top, balance, epochs, people, split is not None, sampling, margin, pretrained
    )

    def job(variant: str | None, out: Path) -> Job:
        name, chosen = load_recipe(recipe, variant)
        parsed = parse_fold(fold) if fold else None
        return Job(
            name, changes.of(chosen), root, out, parse_device(device), seed, parsed, start, resume, force, report, split
        )

    kind = "ladder" if ladder else variant
    target = out or Path("runs") / (f"{Path(recipe).stem}-{kind}" if kind else Path(recipe).stem)
    if preview:
        from facectl_trainer.preview import preview_data
        from facectl_trainer.reports.output import check_out

        check_out(preview, force, "--preview")
        preview_data(job(variant, target), preview, quiet)
        ready = f"{preview} is ready; look at it, then train without --preview"
        return typer.echo(_encoded({"preview": str(preview)}) if json else ready)
    if ladder:
        return _ladder(recipe, job, target, json, quiet, verbose)
    trained = train(job(variant, target), quiet, verbose)
    _say_left_out(trained)
    return typer.echo(_encoded({**_plain(trained), "device_requested": device}) if json else _text(trained))


def _ladder(recipe: str, job: Any, target: Path, json: bool, quiet: bool, verbose: bool) -> None:
    from facectl_trainer.ladder import climb
    from facectl_trainer.recipe import variants

    jobs = [job(name, target / name) for name in variants(recipe)]
    if any(each.recipe.embed for each in jobs):
        raise UsageError("--ladder compares classifiers; train the variants of an embedding one by one, by --variant")
    for trained in climb(jobs, quiet, verbose)[:1]:  # the rungs are given the same photographs
        _say_left_out(trained)
    _show([each.out for each in jobs], target / "compare.html", True, json)


def _say_left_out(trained: "Trained") -> None:
    if trained.left_out:
        typer.echo(left_out_line(trained.left_out), err=True)


def _compare(runs: list[Path], out: Path | None, force: bool, json: bool) -> None:
    if len(runs) < 2:
        raise UsageError("compare: give two or more run folders")
    _show(runs, out or Path("compare.html"), force, json)


def _show(runs: list[Path], page: Path, force: bool, json: bool) -> None:
    import msgspec

    from facectl_trainer.reports.compare import comparison, table, write_compare

    compared = comparison(runs)
    typer.echo(_encoded(msgspec.to_builtins(compared)) if json else table(compared))
    write_compare(compared, page, force)
    if not json:
        typer.echo(f"{page} is ready; open it")


def _recipes() -> dict[str, Any]:
    from facectl_trainer.recipe import load_recipe, names, variants

    return {
        name: {"about": load_recipe(name)[1].about}
        | {"variants": {each: load_recipe(name, each)[1].about for each in variants(name)}}
        for name in names()
    }


def _listed() -> str:
    lines = []
    for name, one in _recipes().items():
        lines.append(f"{name:<8} {one['about']}")
        lines += [f"{'':<8}   --variant {each}: {about}" for each, about in one["variants"].items()]
    return "\n".join(lines)


def _encoded(plain: Any) -> str:
    import msgspec

    return msgspec.json.encode(plain).decode()


def _plain(trained: "Trained") -> dict[str, object]:
    import msgspec

    return {
        "run": str(trained.out),
        "device": trained.device,
        "images": trained.counts,
        "epochs": trained.epochs,
        "kept": trained.kept,
        "left_out": trained.left_out,
        **msgspec.to_builtins(trained.metrics),
    }


def _text(trained: "Trained") -> str:
    from facectl_trainer.run import EmbedMetrics

    page = trained.out / "report.html"
    look = f"look at {page}, then: " if page.is_file() else ""
    images = ", ".join(f"{count} {part}" for part, count in trained.counts.items())
    idle = [stage for stage, epoch in trained.kept.items() if not epoch]
    metrics = trained.metrics
    lines = [
        f"images: {images}; {counted(trained.epochs, 'epoch')}",
        *(f"stage {stage}: no epoch bettered the loss on val; the network is as it was before" for stage in idle),
        *(_of_people(metrics) if isinstance(metrics, EmbedMetrics) else _of_classes(metrics)),
        f"{trained.out} is ready; next: {look}facectl export {trained.out}",
    ]
    return "\n".join(lines)


def _of_classes(metrics: "Metrics") -> list[str]:
    test, calibration = metrics.test, metrics.calibration
    low, high = test.interval
    return [
        f"calibration on val: temperature {calibration.temperature:.3f}, "
        f"cross-entropy {calibration.val_loss_before:.4f} → {calibration.val_loss_after:.4f}",
        f"test accuracy {test.accuracy:.4f}, 95 % interval {low:.4f} to {high:.4f}, n = {test.n}",
    ]


def _of_people(metrics: "EmbedMetrics") -> list[str]:
    from facectl_runtime.faces.measured import described

    people = counted(metrics.people, "person it has not seen", "people it has not seen")
    return [f"test on {people}: {described(metrics.test)}"]
