"""The charts of an export: what each file weighs against what it answers, and how long it takes."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from facectl_export.gate import EmbeddingComparison
from facectl_export.measured import Export, Exported
from facectl_export.precision import FileFormat
from facectl_runtime.metrics import wilson
from facectl_trainer.reports.canvas import Chart, Theme, bare

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS: dict[FileFormat, str] = {"onnx": "ONNX", "tflite": "TFLite", "coreml": "Core ML"}
_MARKS: dict[FileFormat, str] = {"onnx": "o", "tflite": "s", "coreml": "^"}
_WIDTH, _LEFT, _RIGHT, _TOP, _BOTTOM = 5.95, 0.7, 0.2, 1.0, 0.85  # inches; two fit side by side on a laptop
_DOT, _NAME = 0.1, 0.21
"""Inches from one dot to the next, and from one name to the next."""
_FEW = 4  # bars that fewer are as thin as


def height(export: Export) -> float:
    """Give the inches that both charts take, side by side."""
    return max(4.4, 0.27 * len(export.files) + 1.4)


def size_chart(export: Export) -> Chart | None:
    """Draw accuracy, or the cosine of an embedding, against zipped size, a point a file; None without any.

    Files of nearly one size stand side by side, and their names above the plot in the order of the dots.
    """
    rows = sorted((one for one in export.files if one.comparison), key=lambda one: (one.zipped, one.size))
    if not rows:
        return None
    tall = height(export)

    def draw(figure: "Figure", theme: Theme) -> None:
        figure.set_layout_engine("none")
        wide = _WIDTH - _LEFT - _RIGHT
        room = (_LEFT / _WIDTH, _BOTTOM / tall, wide / _WIDTH, (tall - _TOP - _BOTTOM) / tall)
        axes = figure.add_axes(room)
        _scales(axes, export, rows)
        lowest, highest = (math.log(end) for end in axes.get_xlim())
        shares = [(math.log(one.zipped / 1e6) - lowest) / (highest - lowest) for one in rows]
        dots = apart(shares, _DOT / wide)
        names = apart(dots, _NAME / wide)
        for one, dot, name in zip(rows, dots, names, strict=True):
            _point(axes, one, dot, name, theme)
        _legend(axes, export, rows, theme)

    what = "Mean cosine" if export.task == "embed" else "Top-1 accuracy"
    return Chart("size", f"{what} of each file against its zipped size", _WIDTH, tall, draw)


def latency_chart(export: Export) -> Chart | None:
    """Draw the median time of each file as a bar, and a line to the 95th percentile; None where none was measured."""
    rows = [one for one in export.files if one.latency]
    if not rows:
        return None

    def draw(figure: "Figure", theme: Theme) -> None:
        axes = figure.subplots()
        for place, one in enumerate(rows):
            if one.latency:
                median, p95 = one.latency.median, one.latency.p95
                axes.barh(place, median, 0.62, color=_colour(one.format, theme))
                axes.plot((median, p95), (place, place), color=theme.ink, linewidth=1)
                axes.annotate(f"{median:.3g}, p95 {p95:.3g}", (max(median, p95), place), (4, 0),
                              textcoords="offset points", va="center", fontsize=8.5)  # fmt: skip
        axes.set_yticks(range(len(rows)), [f"{FORMATS[one.format]} {one.precision}" for one in rows], fontsize=9)
        axes.set_ylim(max(len(rows), _FEW) - 0.4, -0.6)
        axes.set(xlabel="milliseconds an image: median, and a line to the 95th percentile", xlim=(0, None))
        axes.margins(x=0.25)
        axes.tick_params(axis="y", length=0)
        bare(axes, "x")

    return Chart("latency", "Milliseconds an image of each file", _WIDTH, height(export), draw)


def apart(wanted: Sequence[float], gap: float) -> list[float]:
    """Move sorted positions of 0 to 1 as little as can be so that each is `gap` or more from the next.

    Least squares: isotonic regression of what is left of each position without the gaps before it, by pooling
    neighbours that are out of order (Ayer et al. 1955). Where 0 to 1 is too short for all, they run beyond 1.
    """
    pools: list[tuple[float, int]] = []
    for place, position in enumerate(wanted):
        mean, count = position - place * gap, 1
        while pools and pools[-1][0] > mean:
            before, more = pools.pop()
            mean, count = (before * more + mean * count) / (more + count), more + count
        pools.append((mean, count))
    last = max(0.0, 1 - (len(wanted) - 1) * gap)
    level = [min(max(mean, 0.0), last) for mean, count in pools for _ in range(count)]
    return [base + place * gap for place, base in enumerate(level)]


def quality(one: Exported) -> tuple[float, float, float] | None:
    """Give (value, low, high) of what a file is judged by: top-1 with Wilson's interval, or the mean cosine."""
    found = one.comparison
    if found is None:
        return None
    if isinstance(found, EmbeddingComparison):
        return found.cosine, *found.cosine_interval
    return found.accuracy, *wilson(round(found.accuracy * found.n), found.n)


def _scales(axes: "Axes", export: Export, rows: Sequence[Exported]) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    sizes = [one.zipped / 1e6 for one in rows]
    ends = [end for one in rows for end in quality(one) or ()]
    pad = 0.06 * (max(ends) - min(ends) or 0.01)
    axes.set_xscale("log")
    axes.set(xlim=(min(sizes) / 1.18, max(sizes) * 1.18), ylim=(min(ends) - pad, max(ends) + pad))
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.minorticks_off()
    axes.set_xlabel("MB zipped")
    if export.task == "embed":
        axes.set_ylabel("mean cosine to the trained model")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.6g}")  # not as what is left to 1
    else:
        axes.set_ylabel("top-1 on the test split (%)")
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g}")
    bare(axes, "y")


def _point(axes: "Axes", one: Exported, dot: float, name: float, theme: Theme) -> None:
    """Draw a file at `dot` and its name at `name`, both shares of the width, with a line between them."""
    judged = quality(one)
    if judged is None:
        return
    value, low, high = judged
    colour, across = _colour(one.format, theme), axes.get_yaxis_transform()
    bottom, top = axes.get_ylim()
    height = (value - bottom) / (top - bottom)
    axes.plot((dot, name), (height, 1.02), transform=axes.transAxes, color=theme.faint, linewidth=0.7, zorder=1,
              clip_on=False)  # fmt: skip
    axes.plot((dot, dot), (low, high), transform=across, color=colour, linewidth=1.1, alpha=0.45, zorder=2)
    axes.plot(dot, value, _MARKS[one.format], transform=across, color=colour, markersize=6.5, zorder=3,
              markeredgecolor=theme.paper, markeredgewidth=0.7)  # fmt: skip
    axes.text(name, 1.03, one.precision, transform=axes.transAxes, rotation=45, rotation_mode="anchor", fontsize=8.5,
              color=colour, va="center")  # fmt: skip


def _legend(axes: "Axes", export: Export, rows: Sequence[Exported], theme: Theme) -> None:
    from matplotlib.lines import Line2D

    marks = [
        Line2D([], [], linestyle="", marker=_MARKS[kind], color=_colour(kind, theme), label=name, markersize=6.5)
        for kind, name in FORMATS.items()
        if any(one.format == kind for one in rows)
    ]
    if export.accuracy is not None:
        line = axes.axhline(export.accuracy, color=theme.ink, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
        line.set_label("trained model")
        marks.append(line)
    axes.figure.legend(handles=marks, loc="lower center", ncols=len(marks))


def _colour(kind: FileFormat, theme: Theme) -> str:
    return theme.series[list(FORMATS).index(kind)]
