"""The report of a run: `report.html`, which opens alone, and the same pictures as PNGs in `report` beside it."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from facectl_runtime.files import scratch_beside, swap_in
from facectl_runtime.progress import progress
from facectl_trainer.reports import measured, page, seen
from facectl_trainer.reports.canvas import DPI, LIGHT, render
from facectl_trainer.reports.cards import sheet
from facectl_trainer.reports.output import write_whole
from facectl_trainer.reports.photographs import Photographs
from facectl_trainer.reports.results import Results, read_results
from facectl_trainer.run import Run

REPORT, PICTURES = "report.html", "report"
SHEET_DPI = 96
"""Of the PNGs of photographs, whose text is small and whose pixels are many."""

Build = Callable[[], page.Section | None]
"""Makes a section, or None where it has nothing to show."""


def write_report(folder: Path, model: Any, quiet: bool = False) -> Path:
    """Write `report.html` into a run folder, and the same pictures as PNGs into `report` beside it.

    `model`: the run's Keras model. Photographs that are gone or changed since are passed over, and the page says how
    many. Raises `ModelError` where a file of the run is missing or damaged, and `MissingExtraError` without matplotlib.
    """
    results = read_results(folder)
    photographs = Photographs(results.run)
    work = _sections(results, photographs, model)
    return write_sections(results.run, measured.headline(results), photographs, work, quiet)


def write_sections(run: Run, headline: str, photographs: Photographs, work: Sequence[Build], quiet: bool) -> Path:
    """Write the page of a run and its pictures, below a headline that is HTML already; gives the page's path."""
    with progress("report, sections", len(work) + 1, quiet) as advance:
        sections: list[page.Section] = []
        for build in work:
            if (part := build()) is not None:
                sections.append(part)
            advance(1)
        _write_pictures(run.folder, sections)
        write_whole(run.folder / REPORT, _page(run, headline, photographs, sections))
        advance(1)
    return run.folder / REPORT


def _sections(results: Results, photographs: Photographs, model: Any) -> list[Build]:
    """List what makes each section, in their order."""
    return [
        partial(measured.curves, results),
        partial(measured.confusion, results),
        partial(measured.per_class, results),
        partial(measured.reliability_section, results),
        partial(measured.composition_section, results),
        partial(seen.examples, results, photographs),
        partial(seen.test_images, results, photographs),
        partial(seen.mistakes, results, photographs),
        partial(seen.pairs, results, photographs, model),
        partial(seen.activations, results, photographs, model),
        partial(seen.grad_cams, results, photographs, model),
    ]


def _page(run: Run, headline: str, photographs: Photographs, sections: list[page.Section]) -> bytes:
    body = [headline]
    if missing := photographs.missing:
        path, reason = next(iter(missing.items()))
        body.append(page.note(f"{len(missing)} photographs could not be shown: {path} ({reason}) first."))
    body.append(page.contents(sections))
    return page.page(f"{run.spec.name}: report", [*body, *map(page.section, sections)])


def _write_pictures(folder: Path, sections: list[page.Section]) -> None:
    """Write each chart and each sheet of photographs as a PNG; together they replace those of an earlier report."""
    with scratch_beside(folder / PICTURES) as scratch:
        new = scratch / PICTURES
        new.mkdir()
        for part in sections:
            sheets = [sheet(part.name, part.title, part.cards)] if part.cards else []
            for drawn in (*part.charts, *sheets):
                (new / f"{drawn.name}.png").write_bytes(render(drawn, LIGHT, SHEET_DPI if drawn in sheets else DPI))
        swap_in(new, folder / PICTURES, replace=True)
