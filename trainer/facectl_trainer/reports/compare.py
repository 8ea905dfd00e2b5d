"""Several runs side by side: a table for the terminal, and a page that opens alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from facectl_runtime.errors import UsageError, few
from facectl_runtime.metrics import paired_drop
from facectl_runtime.output import columns
from facectl_trainer.reports import page
from facectl_trainer.reports.canvas import Chart, Theme, bare, shortened
from facectl_trainer.reports.measures import mean_f1
from facectl_trainer.reports.output import check_out, write_whole
from facectl_trainer.reports.page import Section
from facectl_trainer.reports.results import Epoch, Results, read_results
from facectl_trainer.run import METRICS, MODEL, read_run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)))


@dataclass(frozen=True)
class Gain:
    """The accuracy of a run less that of the first one, on the same test images."""

    value: float
    """-1 to 1; above 0 is better than the first."""
    low: float
    """Of the 95 % interval for matched pairs (Agresti & Min 2005)."""
    high: float
    n: int


@dataclass(frozen=True)
class Row:
    """What is compared of one run."""

    name: str
    recipe: str
    """With the variant after a slash, where there is one."""
    seed: int
    backbone: str
    accuracy: float
    """On the test images."""
    interval: tuple[float, float]
    """95 % Wilson score interval."""
    n: int
    macro_f1: float
    val_accuracy: float
    """The best of any epoch; NaN where the history has none."""
    epochs: int
    seconds: float
    """Of all epochs, without the features computed before them; NaN where the history does not say."""
    size: int
    """Of the Keras model on disk, in bytes."""
    gain: Gain | None
    """None for the first run, and for one that was tested on other images than it."""


@dataclass(frozen=True)
class Comparison:
    """Runs that tell the same classes apart."""

    labels: tuple[str, ...]
    rows: list[Row]
    histories: list[list[Epoch]]


def comparison(runs: Sequence[Path]) -> Comparison:
    """Read and compare run folders; the first one is what the others are held against.

    Raises `UsageError` for no runs, one given twice, one of an embedding and runs of different classes, and
    `ModelError` for what is no run.
    """
    if not runs:
        raise UsageError("no runs to compare; give run folders that `facectl train` wrote")
    if len({folder.resolve() for folder in runs}) < len(runs):
        raise UsageError(f"a run is given twice among {', '.join(map(str, runs))}; give each once")
    all_results = [_results(folder) for folder in runs]
    first = all_results[0]
    for folder, results in zip(runs, all_results, strict=True):
        _check_classes(runs[0], first, folder, results)
    names = _names(runs, all_results)
    rows = [_row(name, results, first) for name, results in zip(names, all_results, strict=True)]
    return Comparison(first.run.spec.labels, rows, [results.history for results in all_results])


def table(compared: Comparison) -> str:
    """Lay a comparison out for a terminal."""
    return columns([_HEADER, *map(_cells, compared.rows)], right=_NUMBERS)


def write_compare(compared: Comparison, out: Path, force: bool = False) -> Path:
    """Write a comparison as an HTML page that opens alone.

    Raises `UsageError` where something stands at `out` and `force` does not say to replace it, and `MissingExtraError`
    without matplotlib.
    """
    check_out(out, force)
    sections = [_table_section(compared), _accuracy_section(compared), _curves_section(compared)]
    body = [
        page.title(f"{len(compared.rows)} runs compared"),
        page.paragraph(f"{len(compared.labels)} classes: {few(compared.labels, 30)}."),
        *map(page.section, sections),
    ]
    write_whole(out, page.page("Runs compared", body, wide=True))
    return out


def accuracy_chart(compared: Comparison) -> Chart:
    """Draw each run's accuracy on the test images with its interval."""
    rows = compared.rows

    def draw(figure: "Figure", theme: Theme) -> None:
        axes = figure.subplots()
        places = np.arange(len(rows))
        colours = [_colour(theme, number) for number in range(len(rows))]
        axes.hlines(places, *zip(*(row.interval for row in rows), strict=True), color=colours, linewidth=2.2)
        axes.scatter([row.accuracy for row in rows], places, s=52, color=colours, zorder=3)
        for place, row in zip(places, rows, strict=True):
            axes.annotate(f"{row.accuracy:.3f}", (row.accuracy, place), (0, 7), textcoords="offset points",
                          ha="center", fontsize=9)  # fmt: skip
        axes.set_yticks(places, [shortened(row.name, 32) for row in rows])
        axes.set(ylim=(len(rows) - 0.5, -0.6), xlabel="accuracy on the test images, with its 95 % interval")
        axes.tick_params(axis="y", length=0)
        bare(axes, "x")

    return Chart("accuracy", "Accuracy of each run with its interval", 7, 1.1 + 0.42 * len(rows), draw)


def curves_chart(compared: Comparison) -> Chart:
    """Draw the accuracy and the loss on val of every run over its epochs."""

    def draw(figure: "Figure", theme: Theme) -> None:
        upper, lower = figure.subplots(2, 1, sharex=True)
        for axes, name, title in ((upper, "val_accuracy", "Accuracy on val"), (lower, "val_loss", "Loss on val")):
            for number, history in enumerate(compared.histories):
                axes.plot(
                    [row.epoch for row in history], [getattr(row, name) for row in history],
                    color=_colour(theme, number), linestyle=_DASHES[number // len(theme.series) % len(_DASHES)],
                    label=shortened(compared.rows[number].name, 40), marker="o", markersize=2.5, linewidth=1.4,
                    clip_on=False,
                )  # fmt: skip
            axes.set_title(title)
            bare(axes, "y")
        last = max((row.epoch for history in compared.histories for row in history), default=1)
        lower.set(xlabel="epoch", ylabel="cross-entropy (nats)", xlim=(1, max(last, 2)))
        lower.xaxis.get_major_locator().set_params(integer=True)
        figure.legend(*upper.get_legend_handles_labels(), loc="outside upper left", ncols=2)

    return Chart("curves", "Accuracy and loss on val of every run", 7, 6 + 0.12 * len(compared.rows), draw)


_HEADER = ("run", "recipe", "accuracy", "95 % interval", "against the first (95 %)", "n", "macro-F1", "best val",
           "epochs", "seconds of epochs", "MB", "backbone")  # fmt: skip
_NUMBERS = range(2, len(_HEADER) - 1)
"""The columns that are flush right."""


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.name,
        f"{row.recipe}, seed {row.seed}",
        f"{row.accuracy:.3f}",
        f"{row.interval[0]:.3f} to {row.interval[1]:.3f}",
        _signed(row.gain),
        str(row.n),
        f"{row.macro_f1:.3f}",
        _known(row.val_accuracy, ".3f"),
        str(row.epochs),
        _known(row.seconds, ".1f"),
        f"{row.size / 1e6:.1f}",
        row.backbone,
    )


def _table_section(compared: Comparison) -> Section:
    return Section(
        "table",
        "The runs",
        f"Accuracy and macro-F1 are of the test images; beside the interval is the difference in accuracy to "
        f"{compared.rows[0].name} on the very same images, with its 95 % interval for matched pairs (Agresti & Min "
        "2005), and empty where the test images were others. The seconds are of the epochs alone, without the features "
        "that were computed before them.",
        html=page.table(_HEADER, [_cells(row) for row in compared.rows], _NUMBERS),
    )


def _accuracy_section(compared: Comparison) -> Section:
    return Section(
        "accuracy",
        "Accuracy",
        "A dot is the accuracy of a run and the line its interval: where lines overlap much, the order may be chance.",
        (accuracy_chart(compared),),
    )


def _curves_section(compared: Comparison) -> Section:
    return Section(
        "curves",
        "Learning curves",
        "The same measures on val, which the runs were steered by, so that they say less than the test images.",
        (curves_chart(compared),),
    )


def _row(name: str, results: Results, first: Results) -> Row:
    source, test = results.run.spec.provenance, results.metrics.test
    val = [row.val_accuracy for row in results.history if row.val_accuracy == row.val_accuracy]
    return Row(
        name=name,
        recipe=source.recipe,
        seed=source.seed,
        backbone=source.backbone,
        accuracy=test.accuracy,
        interval=test.interval,
        n=test.n,
        macro_f1=mean_f1(each.f1 for each in test.per_class.values()),
        val_accuracy=max(val, default=float("nan")),
        epochs=len(results.history),
        seconds=float(np.sum([row.seconds for row in results.history])) if results.history else float("nan"),
        size=(results.run.folder / MODEL).stat().st_size,
        gain=None if results is first else _gain(first, results),
    )


def _gain(first: Results, other: Results) -> Gain | None:
    """Compare two runs image by image, by content; None where their test images differ."""
    before, after = _right(first), _right(other)
    if before.keys() != after.keys():
        return None
    keys = sorted(before)
    drop, low, high = paired_drop(np.array([before[key] for key in keys]), np.array([after[key] for key in keys]))
    return Gain(-drop, -high, -low, len(keys))


def _right(results: Results) -> dict[tuple[str, str], bool]:
    """Say of each test image, by (content, true label), whether it was answered rightly."""
    predictions, hashes = results.predictions, results.run.split.hashes
    right = predictions.predicted == predictions.truth
    return {
        (hashes.get(image.path, image.path), image.label): bool(hit)
        for image, hit in zip(predictions.images, right, strict=True)
    }


def _results(folder: Path) -> Results:
    if read_run(folder).spec.task == "embed":
        raise UsageError(
            f"{folder}: an embedding, which tells no classes apart; compare classifiers (its AUC and EER stand in "
            f"{folder / METRICS})"
        )
    return read_results(folder)


def _check_classes(first_folder: Path, first: Results, folder: Path, results: Results) -> None:
    ours, theirs = set(first.run.spec.labels), set(results.run.spec.labels)
    if ours != theirs:
        other = next(iter(sorted(ours ^ theirs)))
        raise UsageError(
            f"{folder}: its {len(theirs)} classes are not the {len(ours)} of {first_folder} ({other!r} is in one alone)"
            "; compare runs of the same classes"
        )


def _names(runs: Sequence[Path], all_results: Sequence[Results]) -> list[str]:
    """Give each run its name, or the folders' paths where two have the same."""
    names = [results.run.spec.name for results in all_results]
    return names if len(set(names)) == len(names) else [str(folder) for folder in runs]


def _colour(theme: Theme, number: int) -> str:
    return theme.series[number % len(theme.series)]


def _signed(gain: Gain | None) -> str:
    if gain is None:
        return ""
    value, low, high = (f"{each:+.3f}" if round(each, 3) else "0.000" for each in (gain.value, gain.low, gain.high))
    return f"{value} ({low} to {high})"


def _known(value: float, form: str) -> str:
    return format(value, form) if value == value else "–"
