"""A benchmark as a picture: what each model answers against its time, and images a second by batch."""

import math
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facectl_runtime.bench.benchmark import Benchmark, Measured
from facectl_runtime.bench.table import names_of
from facectl_runtime.errors import MissingExtraError, UsageError
from facectl_runtime.files import scratch_beside

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_KINDS, _DPI, _LONGEST_NAME = (".png", ".svg"), 150, 40
_FEW = 4  # bars that fewer are as thin as
_LETTERS, _BESIDE = 145, 20  # in a row of the legend, and what of them stands beside each name
_MILLISECONDS = "milliseconds an image: median, and a line to the 95th percentile"
_INK, _FAINT, _PAPER = "#1c1c1e", "#c8c8cc", "#ffffff"
# Okabe & Ito's palette, which colour-blind people can tell apart; further models repeat it with other dashes and marks.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#444444")
_DASHES, _MARKS = ("-", (0, (5, 2)), (0, (1, 1.5))), ("o", "s", "^")
_STYLE = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "legend.frameon": False,
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "figure.facecolor": _PAPER,
    "savefig.facecolor": _PAPER,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.titlecolor": _INK,
    "axes.edgecolor": _INK,
    "axes.linewidth": 0.8,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": _FAINT,
    "svg.hashsalt": "facectl",  # the same picture is the same file
}


def check_plot(target: Path, force: bool) -> None:
    """Refuse a picture that could not be written, before any work. Raises `UsageError` and `MissingExtraError`."""
    if target.suffix.lower() not in _KINDS:
        raise UsageError(f"--plot {target}: give a name that ends in {' or '.join(_KINDS)}")
    if target.is_dir():
        raise UsageError(f"--plot {target}: a folder; give the name of a file")
    if target.exists() and not force:
        raise UsageError(f"--plot {target}: already there; give another name, or --force to replace it")
    there = next(folder for folder in target.absolute().parents if os.path.lexists(folder))
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise UsageError(f"--plot {target}: {there} cannot be written; give another place")
    _matplotlib()


def write_plot(target: Path, found: Benchmark) -> None:
    """Draw two panels: accuracy against latency, or bars of latency without labelled images; and the throughput.

    Raises `UsageError` where `target` cannot be written, and `MissingExtraError` without matplotlib.
    """
    mpl, names = _matplotlib(), [shortened(name) for name in names_of(found)]
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a box in its place says as much
        abreast = max(1, min(len(names), _LETTERS // (max(map(len, names)) + _BESIDE)))
        tall = 4.6 + 0.25 * math.ceil(len(names) / abreast)
        figure = mpl.figure.Figure((11.5, tall), dpi=_DPI, layout="constrained")
        left, right = figure.subplots(1, 2)
        if found.data:
            _accuracy(figure, left, found.models)
        else:
            _bars(left, found.models)
        _throughput(right, found.models, names)
        right.set_title(found.machine, loc="right", fontsize=8.5, fontweight="normal")
        figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=abreast)
        with scratch_beside(target) as scratch:
            figure.savefig(scratch / target.name, metadata={"Date": None} if target.suffix.lower() == ".svg" else None)
            (scratch / target.name).replace(target)


def shortened(name: str) -> str:
    """Keep both ends of a name that is too long for a legend."""
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME // 2]}…{name[-_LONGEST_NAME // 2 + 1 :]}"


def _accuracy(figure: "Figure", axes: "Axes", models: Sequence[Measured]) -> None:
    """Draw a numbered bubble a model, with a line to p95 and another over the interval of its accuracy."""
    from matplotlib.transforms import ScaledTranslation

    largest = max(one.bytes for one in models)
    order = sorted(range(len(models)), key=lambda number: -models[number].bytes)  # small ones lie on large ones
    for number in order:
        one, colour = models[number], _colour(number)
        if (quality := one.quality) is None:
            continue
        right, median, p95 = quality.accuracy, one.latency.median, one.latency.p95
        up = (number - (len(models) - 1) / 2) * min(2.5, 10 / len(models))  # points: lines of one accuracy are apart
        beside = axes.transData + ScaledTranslation(0, up / 72, figure.dpi_scale_trans)
        axes.plot((median, p95), (right.accuracy,) * 2, color=colour, linewidth=1.3, transform=beside)
        axes.plot((median,) * 2, right.interval, color=colour, linewidth=1.1, alpha=0.4)
        axes.scatter(median, right.accuracy, 130 + 420 * one.bytes / largest, color=colour, zorder=3,
                     edgecolors=_PAPER, linewidths=0.8)  # fmt: skip
        axes.annotate(str(number + 1), (median, right.accuracy), color=_PAPER, fontsize=8.5, fontweight="bold",
                      ha="center", va="center", zorder=4)  # fmt: skip
    axes.set_title("Accuracy against time; area: size on disk")
    axes.set(xlabel=_MILLISECONDS, ylabel="accuracy with its 95 % interval, %")
    axes.margins(y=0.06)
    axes.set_xlim(0, 1.08 * max(one.latency.p95 for one in models))
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g}")
    _bare(axes, "both")


def _bars(axes: "Axes", models: Sequence[Measured]) -> None:
    for place, one in enumerate(models):
        median, p95 = one.latency.median, one.latency.p95
        axes.barh(place, median, 0.62, color=_colour(place))
        axes.plot((median, p95), (place, place), color=_INK, linewidth=1)
        axes.annotate(f"{median:.3g}, p95 {p95:.3g}", (max(median, p95), place), (4, 0), textcoords="offset points",
                      va="center", fontsize=8.5)  # fmt: skip
    axes.set_yticks(range(len(models)), [str(place) for place in range(1, len(models) + 1)])
    axes.set_ylim(max(len(models), _FEW) - 0.4, -0.6)
    axes.set_title("Time an image")
    axes.margins(x=0.25)
    axes.set(xlabel=_MILLISECONDS, xlim=(0, None))
    axes.tick_params(axis="y", length=0)
    _bare(axes, "x")


def _throughput(axes: "Axes", models: Sequence[Measured], names: Sequence[str]) -> None:
    for number, (one, name) in enumerate(zip(models, names, strict=True)):
        batches = [rate.batch for rate in one.throughput]
        rates = [rate.images_per_second for rate in one.throughput]
        cycle = number // len(_COLOURS)
        axes.plot(batches, rates, color=_colour(number), linestyle=_DASHES[cycle % len(_DASHES)], linewidth=1.6,
                  marker=_MARKS[cycle % len(_MARKS)], markersize=5,
                  label=f"{number + 1}  {name}, {one.bytes / 1e6:.1f} MB")  # fmt: skip
    known = sorted({rate.batch for one in models for rate in one.throughput})
    axes.set_xscale("log", base=2)
    axes.set_xticks(known, [str(batch) for batch in known])
    axes.minorticks_off()
    axes.set_title("Throughput")
    axes.set(xlabel="images at once", ylabel="images a second", ylim=(0, None))
    _bare(axes, "y")


def _bare(axes: "Axes", grid: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, linewidth=0.6)
    axes.set_axisbelow(True)


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]


def _matplotlib() -> Any:
    try:
        import matplotlib as mpl
        import matplotlib.figure
    except ImportError as error:
        raise MissingExtraError("--plot needs matplotlib; install it with: pip install matplotlib") from error
    return mpl
