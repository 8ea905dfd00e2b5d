"""Drawing: one style, light and dark, each picture a PNG. Matplotlib's object-oriented interface alone."""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from facectl_runtime.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

DPI = 120
_LONGEST_LABEL = 24
# Scripts that matplotlib's own font lacks, where the machine has a font for them.
_FONTS = ("DejaVu Sans", "Noto Sans CJK JP", "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", "Noto Sans Arabic")


@dataclass(frozen=True)
class Theme:
    """Colours; those of data are of Okabe & Ito's palette, which colour-blind people can tell apart."""

    paper: str
    ink: str
    faint: str
    """Of grid lines and of what is only for comparison."""
    first: str
    second: str
    bad: str
    series: tuple[str, ...]
    ramp: tuple[str, ...]
    """From nothing, which is close to the paper, to all."""

    @property
    def scale(self) -> "Colormap":
        """The ramp as matplotlib wants it."""
        from matplotlib.colors import LinearSegmentedColormap

        return LinearSegmentedColormap.from_list("ramp", self.ramp)


LIGHT = Theme(
    paper="#ffffff", ink="#1c1c1e", faint="#c8c8cc", first="#0072b2", second="#d98200", bad="#d55e00",
    series=("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#444444"),
    ramp=("#f4f7fa", "#5aa5d2", "#00517f"),
)  # fmt: skip
DARK = Theme(
    paper="#17181b", ink="#e6e6e8", faint="#4a4b50", first="#56b4e9", second="#f0a830", bad="#ff8446",
    series=("#56b4e9", "#ff8446", "#2fc79b", "#e39bc4", "#f0c244", "#a0a0ff", "#c8c8c8"),
    ramp=("#222329", "#2b6f9e", "#a6dcff"),
)  # fmt: skip


@dataclass(frozen=True)
class Chart:
    """A picture that can be drawn in any theme."""

    name: str
    """Of its PNG file."""
    alt: str
    """What is seen, for who cannot see it."""
    width: float
    """In inches."""
    height: float
    draw: Callable[["Figure", Theme], None]


@lru_cache(maxsize=32)  # the page and the folder of PNGs show the same
def render(chart: Chart, theme: Theme = LIGHT, dpi: int = DPI) -> bytes:
    """Draw a chart as a PNG. Raises `MissingExtraError` where matplotlib is not installed."""
    import warnings

    figures = _matplotlib()
    with figures.rc_context(_style(theme)), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a box in its place says as much
        figure = figures.figure.Figure((chart.width, chart.height), dpi=dpi, layout="constrained")
        chart.draw(figure, theme)
        out = io.BytesIO()
        figure.savefig(out, format="png", bbox_inches="tight", pad_inches=0.06, pil_kwargs={"compress_level": 4})
    return out.getvalue()


def colours(values: Any, scale: str) -> Any:
    """Give uint8 RGB, …×3, for values of 0 to 1 by a matplotlib colour map."""
    import numpy as np

    return np.uint8(np.rint(_matplotlib().colormaps[scale](values)[..., :3] * 255))


def bare(axes: "Axes", grid: str = "") -> None:
    """Leave the two axis lines that are read; `grid` is x, y, both or nothing."""
    axes.spines[["top", "right"]].set_visible(False)
    if grid:
        axes.grid(axis=grid, linewidth=0.6)  # type: ignore[arg-type]
        axes.set_axisbelow(True)


def shortened(label: str, most: int = _LONGEST_LABEL) -> str:
    """Keep both ends of a label that is too long for a chart."""
    kept = max(most, 3) - 1
    return label if len(label) <= most else f"{label[: math.ceil(kept / 2)]}…{label[-(kept // 2) :]}"


def _matplotlib() -> Any:
    try:
        import matplotlib as mpl
        import matplotlib.figure
        import matplotlib.font_manager
    except ImportError as error:
        raise MissingExtraError(f"drawing needs matplotlib ({error}): pip install 'facectl[train]'") from error
    return mpl


def _style(theme: Theme) -> dict[str, Any]:
    known = {font.name for font in _matplotlib().font_manager.fontManager.ttflist}
    return {
        "font.family": [name for name in _FONTS if name in known],
        "font.size": 10,
        "axes.titlesize": 11,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.titlepad": 8,
        "axes.labelsize": 10,
        "legend.frameon": False,
        "text.parse_math": False,  # a dollar sign in a class name is a dollar sign
        "figure.facecolor": theme.paper,
        "savefig.facecolor": theme.paper,
        "axes.facecolor": theme.paper,
        "text.color": theme.ink,
        "axes.labelcolor": theme.ink,
        "axes.titlecolor": theme.ink,
        "axes.edgecolor": theme.ink,
        "axes.linewidth": 0.8,
        "xtick.color": theme.ink,
        "ytick.color": theme.ink,
        "grid.color": theme.faint,
    }
