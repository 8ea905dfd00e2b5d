"""Photographs with what is to be said of them: cards, which a page shows one by one and a PNG side by side."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image

from facectl_runtime.image import Pixels
from facectl_trainer.reports.canvas import Chart, Theme, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Verdict = Literal["right", "wrong", ""]
_SIDE, _BAR, _LINE, _GAP = 1.5, 0.15, 0.19, 0.16  # inches, on a PNG
_ACROSS = 9.6


@dataclass(frozen=True)
class Bar:
    """A probability of a class."""

    label: str
    probability: float
    true: bool | None
    """Whether it is the true class; None where that is not known."""


@dataclass(frozen=True)
class Card:
    """One or more pictures of equal size with their text."""

    pictures: tuple[Pixels, ...]
    """Each uint8 RGB, height × width × 3."""
    lines: tuple[str, ...]
    """The first is the heading."""
    bars: tuple[Bar, ...] = ()
    verdict: Verdict = ""


def thumbnail(pixels: Pixels, side: int) -> Pixels:
    """Shrink a picture so that neither side is over `side` pixels; a smaller one stays as it is."""
    picture = Image.fromarray(pixels)
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    return np.array(picture)


def jpeg(pixels: Pixels) -> bytes:
    """Write uint8 RGB as a JPEG for a page."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=82, optimize=True)
    return out.getvalue()


def sheet(name: str, alt: str, cards: Sequence[Card]) -> Chart:
    """Lay cards out in rows, on one picture."""
    pictures = max(len(card.pictures) for card in cards)
    width = pictures * _SIDE
    columns = max(1, min(len(cards), int(_ACROSS / (width + _GAP))))
    text = max(len(card.lines) * _LINE + len(card.bars) * _BAR for card in cards)
    height = _SIDE + text + 2 * _GAP
    rows = -(-len(cards) // columns)

    def draw(figure: "Figure", theme: Theme) -> None:
        figure.set_layout_engine("none")
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, figure.get_figwidth()), ylim=(figure.get_figheight(), 0))
        axes.axis("off")
        for number, card in enumerate(cards):
            row, column = divmod(number, columns)
            _draw_card(axes, card, _GAP + column * (width + _GAP), _GAP + row * height, width, theme)
        axes.set(xlim=(0, figure.get_figwidth()), ylim=(figure.get_figheight(), 0), aspect="equal")

    return Chart(name, alt, columns * (width + _GAP) + _GAP, rows * height + _GAP, draw)


def _draw_card(axes: "Axes", card: Card, left: float, top: float, width: float, theme: Theme) -> None:
    for number, pixels in enumerate(card.pictures):
        x = left + number * _SIDE
        axes.imshow(pixels, extent=(x, x + _SIDE - 0.04, top + _SIDE - 0.04, top), interpolation="bilinear")
    y = top + _SIDE + 0.04
    colour = theme.bad if card.verdict == "wrong" else theme.ink
    for number, line in enumerate(card.lines):
        text = shortened(line, int(width * 15))
        weight = "normal" if number else "bold"
        axes.text(left, y, text, va="top", fontsize=8, color=theme.ink if number else colour, fontweight=weight)
        y += _LINE
    for bar in card.bars:
        name = width * 0.55
        axes.text(left, y + _BAR / 2, shortened(bar.label, int(name * 19)), va="center", fontsize=6.5,
                  fontweight="bold" if bar.true else "normal")  # fmt: skip
        room = (width - name - 0.32) * bar.probability
        shade = theme.series[-1] if bar.true is None else theme.first if bar.true else theme.second
        axes.fill_between((left + name, left + name + room), y + 0.02, y + _BAR - 0.02, linewidth=0, color=shade)
        axes.text(left + width - 0.04, y + _BAR / 2, percent(bar.probability), va="center", ha="right", fontsize=6.5)
        y += _BAR


def percent(probability: float) -> str:
    """Write a probability as per cent, to one decimal."""
    return f"{100 * probability:.1f}"
