"""The page of a check: for each kind of finding, the photographs it is about, side by side."""

from collections import Counter
from pathlib import Path

from facectl_runtime.errors import ImageError, one_line
from facectl_runtime.image import Pixels, load
from facectl_runtime.spec import InputSpec, Letterbox
from facectl_trainer.data.check.findings import KINDS, Finding
from facectl_trainer.data.check.report import Report, example
from facectl_trainer.reports.cards import Card
from facectl_trainer.reports.output import write_whole
from facectl_trainer.reports.page import Section, contents, definitions, figure, note, page, section, table, title

_SIDE = 150  # pixels of a picture on the page
_SPEC = InputSpec(width=_SIDE, height=_SIDE, resize=Letterbox(fill=(128, 128, 128)))
_CARDS = 60  # of a kind
_ACROSS = 4  # pictures of one finding


def write_page(report: Report, target: Path) -> None:
    """Write the page; it opens alone, with small versions of its photographs in it. Raises `UsageError`."""
    kinds = Counter(finding.kind for finding in report.findings)
    sections = [_section(report, kind) for kind in kinds]
    problems, warnings = report.count("problem"), report.count("warning")
    head = [
        title(f"Check of {Path(report.root).name}"),
        figure(f"{problems:,} problems", f"and {warnings:,} warnings in {report.n:,} photographs"),
        definitions([("folder", report.root), ("classes", f"{len(report.classes):,}"), *_ignored(report)]),
    ]
    if not kinds:
        head.append(note("Nothing was found."))
    counts = Section("classes", "Classes", "How many photographs there are of each.", html=_classes(report))
    body = [*head, contents([*sections, counts]), *map(section, sections), section(counts)]
    write_whole(target, page(f"Check of {report.root}", body))


def _ignored(report: Report) -> list[tuple[str, str]]:
    return [("ignored", ", ".join(report.ignored))] if report.ignored else []


def _section(report: Report, kind: str) -> Section:
    level, what = KINDS[kind]
    some = [finding for finding in report.findings if finding.kind == kind]
    seen = [finding for finding in some if _can_be_seen(finding)]
    cards = [_card(Path(report.root), finding) for finding in seen[:_CARDS]]
    words = [example(finding) for finding in some if not _can_be_seen(finding)]
    rest = f" The first {_CARDS} are shown; --json has all." if len(some) > _CARDS else ""
    listed = table(["what"], [[line] for line in words[:_CARDS]]) if words else ""
    name = kind.replace("-", " ").capitalize()
    return Section(kind, f"{name}: {len(some):,}", f"A {level}: {what}.{rest}", cards=tuple(cards), html=listed)


def _can_be_seen(finding: Finding) -> bool:
    return bool(finding.photographs) and finding.kind != "unreadable"


def _card(root: Path, finding: Finding) -> Card:
    shown = finding.photographs[:_ACROSS]
    more = len(finding.photographs) - len(shown)
    names = [one_line(f"{p.part}: {p.path}" if p.part and not p.path.startswith(p.part) else p.path) for p in shown]
    like = f"likeness {finding.likeness:.3f}" if finding.likeness is not None else ""
    lines = (one_line(finding.why), *names, *([f"and {more} more"] if more else []), *([like] if like else []))
    pictures = tuple(_picture(root / photograph.path) for photograph in shown)
    return Card(pictures, lines, verdict="wrong" if finding.level == "problem" else "")


def _picture(path: Path) -> Pixels:
    """Give a small version, with bars of grey beside it; all grey where it cannot be read."""
    try:
        return load(path, _SPEC)
    except ImageError:
        import numpy as np

        return np.full((_SIDE, _SIDE, 3), 128, np.uint8)


def _classes(report: Report) -> str:
    parts = sorted({part for counts in report.classes.values() for part in counts})
    header = ["class", *(part or "photographs" for part in parts)]
    return table(
        header,
        [(label or "(none)", *(counts.get(part, 0) for part in parts)) for label, counts in report.classes.items()],
    )
