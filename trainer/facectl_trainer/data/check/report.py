"""The check of a data folder, from the listing to what it says."""

import time
from collections import Counter
from collections.abc import Collection

import msgspec

from facectl_runtime.errors import UsageError, did_you_mean, one_line
from facectl_runtime.output import columns
from facectl_trainer.data.check.compare import compare
from facectl_trainer.data.check.findings import KINDS, Finding, Limits, findings
from facectl_trainer.data.check.listing import Listed, Photograph
from facectl_trainer.data.contents import Progress


class Report(msgspec.Struct, frozen=True):
    """What a check found."""

    root: str
    n: int
    """Photographs."""
    classes: dict[str, dict[str, int]]
    """Class → part (empty where the data is not split) → photographs."""
    findings: list[Finding]
    """Gravest first."""
    ignored: list[str]
    """Kinds that were left out."""
    seconds: float

    def count(self, level: str) -> int:
        """Give how many findings there are of a level."""
        return sum(finding.level == level for finding in self.findings)


def check(listed: Listed, limits: Limits, ignored: Collection[str], progress: Progress) -> Report:
    """Look at every photograph, compare each with all others, and judge. Nothing is written."""
    started = time.perf_counter()
    paths = list(dict.fromkeys(photograph.path for photograph in listed.photographs))
    compared = compare(listed.root, paths, progress)
    found = [one for one in findings(listed, compared, limits) if one.kind not in ignored]
    seconds = time.perf_counter() - started
    return Report(str(listed.root), len(paths), _classes(listed.photographs), found, sorted(ignored), round(seconds, 2))


def parse_ignored(text: str | None) -> list[str]:
    """Read the kinds of findings to leave out, between commas. Raises `UsageError`."""
    kinds = [kind.strip() for kind in text.split(",")] if text else []
    for kind in kinds:
        if kind not in KINDS:
            raise UsageError(f"--ignore {kind!r} is not known{did_you_mean(kind, KINDS)}; use {', '.join(KINDS)}")
    return kinds


def text(report: Report) -> str:
    """Put a report into a table: a line a kind, with its first example."""
    counts = [sum(parts.values()) for parts in report.classes.values()]
    each = f" of {len(counts):,} classes, {min(counts):,} to {max(counts):,} each" if len(counts) > 1 else ""
    head = f"{report.n:,} photographs{each}; {report.seconds:.1f} s"
    rows = [("", "", "", "what, and an example")] if report.findings else []
    for kind, number in Counter(finding.kind for finding in report.findings).items():
        some = [finding for finding in report.findings if finding.kind == kind]
        rows.append((some[0].level, kind, f"{number:,}", KINDS[kind][1]))
        rows.append(("", "", "", f"  {example(some[0])}"))
    return "\n".join([head, *([columns(rows, right=(2,))] if rows else ["nothing found"])])


def example(finding: Finding, most: int = 3) -> str:
    """Say what a finding is about, in one line."""
    names = [one_line(photograph.path)[-60:] for photograph in finding.photographs[:most]]
    more = f" and {len(finding.photographs) - most} more" if len(finding.photographs) > most else ""
    return f"{' = '.join(names)}{more}: {one_line(finding.why)}" if names else one_line(finding.why)


def _classes(photographs: list[Photograph]) -> dict[str, dict[str, int]]:
    counts: dict[str, Counter[str]] = {}
    for photograph in photographs:
        counts.setdefault(photograph.label, Counter())[photograph.part] += 1
    return {label: dict(parts) for label, parts in sorted(counts.items())}


def exit_code(report: Report, strict: bool) -> int:
    """Give 1 where there are problems, or with `strict` anything; else 0."""
    return int(bool(report.findings if strict else report.count("problem")))
