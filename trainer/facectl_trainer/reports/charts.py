"""The charts of one run: learning curves, confusion, reliability, composition, ROC, similarities."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from facectl_runtime.metrics import wilson
from facectl_trainer.reports.canvas import Chart, Theme, bare, shortened
from facectl_trainer.reports.measures import Bin, Composition, Floats, Ints, best_epochs, calibration_error, stages
from facectl_trainer.reports.results import Epoch

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 6.4
NUMBERED = 20
"""Most classes whose confusion matrix has a number in each cell."""
NAMED = 60
"""Most classes whose confusion matrix has their names at its sides."""
_LARGEST = 6.8
"""Inches of a confusion matrix, without what stands at its sides."""
BARS = 40
"""Most classes in the chart of composition: those whose shares differ most."""
_FEW = 1000  # pairs: of fewer, a histogram has wider bins


def learning_curves(history: Sequence[Epoch]) -> Chart:
    """Draw loss and accuracy over the epochs, of train and val, with the stages."""
    courses = (Course("loss", "Loss", "cross-entropy (nats)"), Course("accuracy", "Accuracy"))
    return course_chart(history, courses, "Loss and accuracy on train and val over the epochs")


class Course(NamedTuple):
    """A measure over the epochs."""

    name: str
    """Of the field of `Epoch`; that on val has `val_` before it."""
    title: str
    unit: str = ""
    level: tuple[str, float] | None = None
    """A line to hold it against, with its name."""


def course_chart(history: Sequence[Epoch], courses: Sequence[Course], alt: str) -> Chart:
    """Draw measures over the epochs below one another, of train and val as far as there are such, with the stages."""

    def draw(figure: "Figure", theme: Theme) -> None:
        drawn = figure.subplots(len(courses), 1, sharex=True)
        for axes, course in zip(drawn, courses, strict=True):
            _draw_course(axes, history, course, theme)
            _mark_stages(axes, history, theme, named=axes is drawn[0])
            bare(axes, "y")
        figure.legend(*drawn[0].get_legend_handles_labels(), loc="outside upper right", ncols=4)
        drawn[-1].set(xlabel="epoch", xlim=(history[0].epoch, history[-1].epoch + 0.5))
        drawn[-1].xaxis.get_major_locator().set_params(integer=True)

    return Chart("learning-curves", alt, WIDTH, 3 * len(courses), draw)


def _draw_course(axes: "Axes", history: Sequence[Epoch], course: Course, theme: Theme) -> None:
    epochs, best = [row.epoch for row in history], best_epochs(history)
    few = {"marker": "o", "markersize": 3} if len(epochs) < 15 else {}
    for part, prefix, colour in (("train", "", theme.second), ("val", "val_", theme.first)):
        if hasattr(history[0], prefix + course.name):
            axes.plot(epochs, [getattr(row, prefix + course.name) for row in history], color=colour, label=part,
                      clip_on=False, **few)  # type: ignore[arg-type]  # fmt: skip
    marks = [getattr(row, f"val_{course.name}") for row in best]
    axes.scatter([row.epoch for row in best], marks, s=42, zorder=3, facecolor=theme.paper, label="lowest loss on val",
                 edgecolor=theme.first, linewidth=1.6, clip_on=False)  # fmt: skip
    if course.level:
        axes.axhline(course.level[1], color=theme.ink, linewidth=1, linestyle=(0, (1, 1.5)), label=course.level[0])
        axes.set_ylim(bottom=0)
    axes.set(title=course.title, ylabel=course.unit)


def _mark_stages(axes: "Axes", history: Sequence[Epoch], theme: Theme, named: bool) -> None:
    """Draw a line where a stage begins, with its number; the first begins at the left."""
    found = stages(history)
    for number, (_, first, _) in enumerate(found):
        if number:
            axes.axvline(first - 0.5, color=theme.ink, linewidth=0.8, linestyle=(0, (4, 3)))
        if number and named:
            axes.annotate(f"stage {number + 1}", (first - 0.5, 1), (4, -3), xycoords=("data", "axes fraction"),
                          textcoords="offset points", va="top", fontsize=8)  # fmt: skip


def confusion_matrix(table: npt.ArrayLike, labels: Sequence[str]) -> Chart:
    """Draw a matrix of counts, rows the true classes, coloured by the share of the row."""
    counts = np.array(table)
    classes = len(labels)
    cells = float(np.clip(0.36 * classes, 2.2, _LARGEST))
    names = 0.08 * max(map(len, map(shortened, labels))) if classes <= NAMED else 0.3
    upright = classes <= 4 and names < 0.9 * cells / classes

    def draw(figure: "Figure", theme: Theme) -> None:
        axes = figure.subplots()
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        image = axes.imshow(shares, cmap=theme.scale, vmin=0, vmax=1, interpolation="nearest")
        bar = figure.colorbar(image, ax=axes, fraction=0.035, pad=0.02, shrink=0.8)
        bar.set_label("share of the true class")
        bar.outline.set_visible(False)
        _name_classes(axes, labels, min(9, 0.75 * 72 * cells / classes), upright)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        axes.spines[:].set_color(theme.faint)
        if classes <= NAMED:  # an empty cell has nearly the colour of the paper
            axes.set_xticks(np.arange(classes) - 0.5, minor=True)
            axes.set_yticks(np.arange(classes) - 0.5, minor=True)
            axes.grid(which="minor", color=theme.faint, linewidth=0.5)
        axes.tick_params(which="both", length=0)
        if classes <= NUMBERED:
            _write_counts(axes, counts, shares, theme)

    alt = f"Confusion matrix of {classes} classes on {counts.sum()} test images"
    height = cells + (0.2 if upright else names) + 0.6
    return Chart("confusion", alt, cells + names + 1.5, height, draw)


def _name_classes(axes: "Axes", labels: Sequence[str], size: float, upright: bool) -> None:
    classes = len(labels)
    if classes > NAMED:
        places = range(9, classes, 10)
        axes.set_xticks(places, [str(place + 1) for place in places])
        axes.set_yticks(places, [str(place + 1) for place in places])
        return
    names = [shortened(label) for label in labels]
    axes.set_xticks(range(classes), names, rotation=0 if upright else 90, fontsize=size)
    axes.set_yticks(range(classes), names, fontsize=size)


def _write_counts(axes: "Axes", counts: npt.NDArray[np.int64], shares: npt.NDArray[np.float64], theme: Theme) -> None:
    for row, column in zip(*np.nonzero(counts), strict=True):
        red, green, blue, _ = theme.scale(shares[row, column])
        bright = 0.299 * red + 0.587 * green + 0.114 * blue > 0.55
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=9,
                  color="#111111" if bright else "#ffffff")  # fmt: skip


def reliability_diagram(bins: Sequence[Bin]) -> Chart:
    """Draw the accuracy of each bin of confidence against the confidence, and how many images are in it."""

    def draw(figure: "Figure", theme: Theme) -> None:
        top, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        width = bins[0].high - bins[0].low
        filled = [each for each in bins if each.n]
        middles = [(each.low + each.high) / 2 for each in filled]
        top.plot([0, 1], [0, 1], color=theme.ink, linewidth=1, linestyle=(0, (4, 3)), label="perfectly calibrated")
        top.bar(middles, [each.accuracy for each in filled], width * 0.92, color=theme.first, label="accuracy")
        _draw_intervals(top, filled, middles, theme)
        top.scatter([each.confidence for each in filled], [each.confidence for each in filled], s=26, zorder=4,
                    color=theme.second, label="mean confidence")  # fmt: skip
        top.set(ylabel="share answered rightly", xlim=(0, 1), ylim=(0, 1.02))
        top.set_title(f"Expected calibration error {calibration_error(bins):.3f}")
        top.legend(loc="upper left")
        bars = below.bar([(each.low + each.high) / 2 for each in bins], [each.n for each in bins], width * 0.92,
                         color=theme.first)  # fmt: skip
        below.bar_label(bars, [str(each.n) for each in bins], fontsize=8, padding=1)
        below.set(xlabel="confidence: the probability of the answer", ylabel="images")
        below.margins(y=0.25)
        bare(top, "y")
        bare(below)

    return Chart("reliability", "Accuracy against confidence, in bins, with the number of images", 5.6, 6.2, draw)


def _draw_intervals(axes: "Axes", filled: Sequence[Bin], middles: Sequence[float], theme: Theme) -> None:
    """Draw the 95 % interval of each bin's accuracy: most bins hold few images."""
    ends = [wilson(round(each.accuracy * each.n), each.n) for each in filled]
    axes.vlines(middles, [low for low, _ in ends], [high for _, high in ends], color=theme.ink, linewidth=0.8)


def composition_chart(shares: Composition, labels: Sequence[str]) -> Chart:
    """Draw each class's share of the test images beside its share of the answers, and the relative difference."""
    shown = np.arange(len(labels))
    if len(labels) > BARS:
        shown = np.sort(np.argsort(-np.abs(np.nan_to_num(shares.difference)), kind="stable")[:BARS])
    difference = 100 * shares.difference[shown]
    widest = max(10.0, 1.05 * float(np.nanmax(np.abs(difference))))

    def draw(figure: "Figure", theme: Theme) -> None:
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
        rows = np.arange(len(shown))
        left.barh(rows - 0.19, 100 * shares.data[shown], 0.36, color=theme.first, label="data")
        left.barh(rows + 0.19, 100 * shares.predictions[shown], 0.36, color=theme.second, label="predictions")
        left.set_yticks(rows, [shortened(labels[int(place)]) for place in shown], fontsize=9)
        left.set(xlabel="share of the test images (%)", title="Composition")
        left.set_ylim(len(shown) - 0.4, -0.6)
        figure.legend(*left.get_legend_handles_labels(), loc="outside upper left", ncols=2)
        right.barh(rows, difference, 0.6, color=theme.series[2])
        right.axvline(0, color=theme.ink, linewidth=0.8)
        right.set(xlabel="(predictions - data) / data (%)", title="Relative difference", xlim=(-widest, widest))
        right.xaxis.get_major_locator().set_params(nbins=5)
        for axes in (left, right):
            bare(axes, "x")
            axes.tick_params(axis="y", length=0)

    alt = "Share of each class among the test images and among the predictions"
    return Chart("composition", alt, WIDTH + 0.4, 1.4 + 0.3 * len(shown), draw)


def roc_chart(far: Floats, tar: Floats, different: int, points: Mapping[str, tuple[float, float]]) -> Chart:
    """Draw TAR against FAR, which is on a log axis, and `points`: name → (FAR, TAR).

    `far`, `tar`: K each, rising from 0 to 1; `different`: the pairs that a FAR is a share of.
    """
    least = 10.0 ** np.floor(np.log10(1 / different))

    def draw(figure: "Figure", theme: Theme) -> None:
        axes = figure.subplots()
        chance = np.geomspace(least, 1, 100)
        axes.plot(chance, chance, color=theme.ink, linewidth=1, linestyle=(0, (4, 3)), label="chance")
        axes.plot(np.maximum(far, least), tar, color=theme.first, drawstyle="steps-post", label="all pairs")
        for (name, point), colour, mark in zip(points.items(), (theme.second, theme.series[2]), "os", strict=False):
            axes.scatter(*point, s=46, zorder=4, color=colour, marker=mark, label=name, clip_on=False)
        axes.set(xscale="log", xlim=(least, 1), ylim=(0, 1.02), ylabel="TAR: pairs of one person accepted (share)",
                 xlabel="FAR: pairs of different people accepted (share)")  # fmt: skip
        axes.xaxis.set_major_formatter("{x:g}")  # powers are markup by default, which the style does not read
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=2)
        bare(axes, "both")

    alt = "Share of the pairs of one person that is accepted against that of different people"
    return Chart("roc", alt, WIDTH, 4.6, draw)


def cosine_chart(edges: Floats, same: Ints, different: Ints) -> Chart:
    """Draw how the similarities of pairs of one person and of different people lie, each as a density.

    `edges`: K + 1; `same`, `different`: K counts each, K a multiple of 60.
    """

    def draw(figure: "Figure", theme: Theme) -> None:
        axes = figure.subplots()
        for counts, name, colour in ((different, "different people", theme.second), (same, "one person", theme.first)):
            bins = 30 if counts.sum() < _FEW else 60
            density = counts.reshape(bins, -1).sum(axis=1) / (counts.sum() * (edges[-1] - edges[0]) / bins)
            label, places = f"{name} ({counts.sum():,} pairs)", np.linspace(edges[0], edges[-1], bins + 1)
            axes.stairs(density, places, fill=True, color=colour, alpha=0.35)
            axes.stairs(density, places, color=colour, linewidth=1.6, label=label)
        axes.set(xlabel="cosine", ylabel="density", xlim=(edges[0], edges[-1]))
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=2)
        bare(axes, "y")

    return Chart("alike", "How alike pairs of one person and of different people are", WIDTH, 3.6, draw)
