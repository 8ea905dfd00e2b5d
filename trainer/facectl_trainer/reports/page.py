"""An HTML page that opens alone: no script, no network, every picture inside; light and dark; readable on a phone."""

import base64
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from html import escape

from facectl_trainer.reports.canvas import DARK, DPI, LIGHT, Chart, render
from facectl_trainer.reports.cards import Bar, Card, jpeg, percent, thumbnail

Value = str | int | float | None
STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1c1c1e; --soft: #5c5c62; --line: #dcdce0; --panel: #f6f6f8;
  --first: #0072b2; --second: #d98200; --bad: #b84d00; }
@media (prefers-color-scheme: dark) { :root { --paper: #17181b; --ink: #e6e6e8; --soft: #a4a4ac; --line: #3a3b40;
  --panel: #202126; --first: #56b4e9; --second: #f0a830; --bad: #ff8446; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.2rem 1rem 4rem; max-width: 62rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif;
  overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 .3rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
h2 { font-size: 1.2rem; margin: 2.6rem 0 .2rem; padding-top: .9rem; border-top: 1px solid var(--line); }
p { margin: .2rem 0 .9rem; max-width: 46rem; }
.soft, figcaption { color: var(--soft); }
.figure { font-size: 2.6rem; font-weight: 650; line-height: 1.1; margin: .8rem 0 0; display: flex;
  flex-wrap: wrap; align-items: baseline; gap: .2rem .7rem; }
.figure span { font-size: 1rem; font-weight: 400; color: var(--soft); }
nav { margin: 1rem 0; font-size: .92rem; } nav a { margin-right: .9rem; white-space: nowrap; }
a { color: var(--first); }
code { font: .92em ui-monospace, "DejaVu Sans Mono", monospace; background: var(--panel); padding: .1em .35em;
  border-radius: 4px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: 1rem 0; }
dt { color: var(--soft); } dd { margin: 0; }
.chart img { display: block; max-width: 100%; height: auto; }
.scroll { overflow-x: auto; }
body.wide { max-width: 90rem; } .wide table { font-size: .85rem; } .wide th, .wide td { padding-right: .55rem; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem .25rem 0; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--soft); font-weight: 500; vertical-align: bottom; white-space: normal; overflow-wrap: normal; }
td.name, th.name { text-align: left; }
td.name:first-child { white-space: normal; min-width: 6rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(var(--wide), 1fr)); gap: 1.3rem 1rem; }
.card { margin: 0; min-width: 0; font-size: .84rem; line-height: 1.35; }
.card .pictures { display: flex; gap: 4px; margin-bottom: .35rem; }
.card img { flex: 0 0 calc((100% - (var(--across) - 1) * 4px) / var(--across)); min-width: 0; height: auto;
  border-radius: 4px; }
.card figcaption b { color: var(--ink); font-weight: 600; } .card.wrong figcaption b { color: var(--bad); }
.bars { display: grid; grid-template-columns: minmax(0, 2fr) minmax(0, 1fr) 3em; gap: 1px .4rem; margin-top: .35rem;
  font-size: .76rem; line-height: 1.3; align-items: center; }
.bars span { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; } .bars span.true { font-weight: 700; }
.bars i { display: block; height: .6em; border-radius: 2px; background: var(--second); }
.bars i.true { background: var(--first); }
.bars em { font-style: normal; text-align: right; white-space: nowrap; color: var(--soft); }
td i { display: inline-block; height: .55em; background: var(--first); border-radius: 2px; margin-left: .5em;
  vertical-align: baseline; } td i + u { display: inline-block; }
.note { background: var(--panel); border-left: 3px solid var(--second); padding: .5rem .8rem; border-radius: 4px; }
@media (max-width: 40rem) { td i, td i + u { display: none; } table { font-size: .8rem; }
  th, td { padding-right: .45rem; } td.name:first-child { min-width: 4.5rem; } }
"""


def page(title: str, body: Iterable[str], wide: bool = False) -> bytes:
    """Write a whole page, UTF-8; `wide` for tables of many columns."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n"
        f"<body{' class=wide' if wide else ''}>\n" + "\n".join(body) + "\n</body></html>\n"
    ).encode("utf-8", "replace")


@dataclass(frozen=True)
class Section:
    """A part of a page."""

    name: str
    title: str
    reading: str
    """One sentence on how to read it."""
    charts: tuple[Chart, ...] = ()
    cards: tuple[Card, ...] = ()
    side: int = 150
    """Of a card's pictures on the page, in pixels."""
    html: str = ""
    """What follows, escaped already."""


def section(part: Section) -> str:
    """Write a section: its title, how to read it, and what is to be read."""
    pieces = [f"<h2>{escape(part.title)}</h2><p>{escape(part.reading)}</p>", *map(chart, part.charts), part.html]
    if part.cards:
        pieces.append(cards(part.cards, part.side))
    return f'<section id="{escape(part.name)}">' + "\n".join(filter(None, pieces)) + "</section>"


def chart(drawn: Chart) -> str:
    """Embed a chart, drawn for light and for dark."""
    light, dark = render(drawn, LIGHT, DPI), render(drawn, DARK, DPI)
    width = round(_width(light) * 100 / DPI)
    return (
        f'<picture class="chart"><source media="(prefers-color-scheme: dark)" srcset="{_data("png", dark)}">'
        f'<img src="{_data("png", light)}" alt="{escape(drawn.alt)}" width="{width}"></picture>'
    )


def cards(shown: Sequence[Card], side: int) -> str:
    """Embed cards, whose pictures are shrunk to `side` pixels."""
    across = max(len(card.pictures) for card in shown)
    wide = across * (side + 4)
    return (
        f'<div class="cards" style="--wide: min({wide}px, 100%); --across: {across}">'
        + "".join(_card(card, side) for card in shown)
        + ("</div>")
    )


def table(header: Sequence[str], rows: Sequence[Sequence[Value]], right: Collection[int] = ()) -> str:
    """Write a table: text flush left, numbers and the columns `right` flush right; a float of 0 to 1 gets a bar."""
    first = rows[0] if rows else header
    side = ["" if place in right or not isinstance(cell, str) else ' class="name"' for place, cell in enumerate(first)]
    head = "".join(f"<th{where}>{escape(name)}</th>" for where, name in zip(side, header, strict=True))
    lines = ("".join(f"<td{where}>{_cell(cell)}</td>" for where, cell in zip(side, row, strict=True)) for row in rows)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def definitions(pairs: Iterable[tuple[str, str]]) -> str:
    """Write names with their values."""
    return "<dl>" + "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in pairs) + "</dl>"


def title(text: str) -> str:
    """Write the name of the page."""
    return f"<h1>{escape(text)}</h1>"


def figure(text: str, beside: str) -> str:
    """Write the one number that counts, and what to hold it against."""
    return f'<div class="figure">{escape(text)} <span>{escape(beside)}</span></div>'


def paragraph(text: str) -> str:
    """Write plain text."""
    return f"<p>{escape(text)}</p>"


def note(text: str) -> str:
    """Write what a reader should not miss."""
    return f'<p class="note">{escape(text)}</p>'


def contents(sections: Iterable[Section]) -> str:
    """Link to sections."""
    links = (f'<a href="#{escape(part.name)}">{escape(part.title)}</a>' for part in sections)
    return f"<nav>{' '.join(links)}</nav>"


def _card(card: Card, side: int) -> str:
    heading, *lines = card.lines
    alt = escape(", ".join(card.lines))
    pictures = "".join(
        f'<img src="{_data("jpeg", jpeg(thumbnail(each, side)))}" alt="{alt}" loading="lazy">' for each in card.pictures
    )
    text = "".join(f"<br>{escape(line)}" for line in lines)
    verdict = f" {card.verdict}" if card.verdict else ""
    return (
        f'<figure class="card{verdict}"><div class="pictures">{pictures}</div>'
        f"<figcaption><b>{escape(heading)}</b>{text}</figcaption>{_bars(card.bars)}</figure>"
    )


def _bars(bars: Sequence[Bar]) -> str:
    if not bars:
        return ""
    rows = (
        f'<span{_true(bar)} title="{escape(bar.label)}">{escape(bar.label)}</span>'
        f'<div><i{_true(bar)} style="width: {100 * bar.probability:.1f}%"></i></div><em>{percent(bar.probability)}</em>'
        for bar in bars
    )
    return f'<div class="bars">{"".join(rows)}</div>'


def _true(bar: Bar) -> str:
    return ' class="true"' if bar.true else ""


def _cell(cell: Value) -> str:
    if cell is None:
        return "–"
    if isinstance(cell, str | int):
        return escape(str(cell))
    # The rest of the bar is left empty, so that numbers stay below one another.
    return f'{cell:.3f}<i style="width: {2.5 * cell:.2f}em"></i><u style="width: {2.5 * (1 - cell):.2f}em"></u>'


def _width(png: bytes) -> int:
    return int.from_bytes(png[16:20])  # of a PNG's header, in pixels


def _data(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
