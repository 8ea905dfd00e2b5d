"""A cleaned copy of a data folder: without what cannot be trained on, one picture of each, and all of them upright."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from facectl_runtime.errors import UsageError
from facectl_runtime.image import decode
from facectl_runtime.labelled import PARTS
from facectl_trainer.data.check.findings import Finding
from facectl_trainer.data.check.listing import Listed, Photograph
from facectl_trainer.data.check.report import Report
from facectl_trainer.data.contents import Progress
from facectl_trainer.data.names import Names
from facectl_trainer.data.tree import check_new, folder_name, new_folder, place

_KEPT_AS_IT_IS = "grey"  # of the kinds of pixels: every program reads it as facectl does
_JPEG = (".jpg", ".jpeg")


class Cleaned(msgspec.Struct, frozen=True):
    """What was written."""

    to: str
    written: int
    """Photographs."""
    saved_anew: list[str]
    """Those whose pixels were turned or converted, by path; all others are copies of the bytes."""
    left_out: dict[str, str]
    """Path → why."""


def check_target(listed: Listed, out: Path) -> None:
    """Refuse a folder that is there, or lies in the one that is checked. Raises `UsageError`."""
    check_new(out, "--fix")
    if out.resolve().is_relative_to(listed.root.resolve()):
        raise UsageError(f"{out}: lies inside {listed.root}, which stays as it is; give another --fix")


def write(listed: Listed, report: Report, out: Path, progress: Progress) -> Cleaned:
    """Write `out`/class, or `out`/part/class, in one step.

    Left out are photographs that cannot be read, all of a picture under two labels, and of copies and near copies all
    but the largest file; where these stand in several parts of a split, test keeps its own, then val. Kinds that the
    check ignored are not mended. Raises `UsageError` where nothing is left.
    """
    left_out = _left_out(listed.root, report.findings)
    kept = [photograph for photograph in listed.photographs if photograph.path not in left_out]
    if not kept:
        raise UsageError(f"{listed.root}: no photograph would be left; look at what the check says of them")
    anew = _anew(report.findings)
    names: dict[tuple[str, str], Names] = defaultdict(Names)
    with new_folder(out) as folder, progress("writing the cleaned copy", len(kept)) as advance:
        for photograph in kept:
            path = Path(photograph.path)
            into = folder / photograph.part / (folder_name(photograph.label) if photograph.label else "")
            suffix = _suffix_anew(path) if photograph.path in anew else path.suffix
            name = names[photograph.part, photograph.label].give(path.stem, suffix)
            _write_one(listed.root / path, into / name, photograph.path in anew)
            advance(1)
    return Cleaned(str(out), len(kept), sorted(anew & {photograph.path for photograph in kept}), left_out)


def _left_out(root: Path, findings: Sequence[Finding]) -> dict[str, str]:
    left_out: dict[str, str] = {}
    for finding in findings:
        paths = {photograph.path for photograph in finding.photographs}
        if finding.kind in ("unreadable", "conflict"):
            left_out |= dict.fromkeys(paths, finding.why)
        elif finding.kind in ("leak", "duplicate", "near-duplicate"):
            best = _best(root, (p for p in finding.photographs if p.path not in left_out))
            left_out |= dict.fromkeys(paths - {best} - left_out.keys(), f"{finding.why}; {best} is kept")
    return dict(sorted(left_out.items()))


def _best(root: Path, photographs: Iterable[Photograph]) -> str | None:
    """Give the one to keep: of the last part, and there the largest file, which lost least when it was saved."""
    order: Mapping[str, int] = {part: place for place, part in enumerate(PARTS)}
    ranked = [(-order.get(p.part, 0), -(root / p.path).stat().st_size, p.path) for p in photographs]
    return min(ranked)[2] if ranked else None


def _anew(findings: Sequence[Finding]) -> set[str]:
    """Give the paths of what is turned, or has pixels that other programs may read otherwise."""
    wanted = (f for f in findings if f.kind == "rotated" or (f.kind == "mode" and f.why != _KEPT_AS_IT_IS))
    return {photograph.path for finding in wanted for photograph in finding.photographs}


def _suffix_anew(path: Path) -> str:
    """Give how the name of what is saved anew ends: a JPEG stays one, all else becomes a PNG."""
    return path.suffix if path.suffix.lower() in _JPEG else ".png"


def _write_one(source: Path, target: Path, anew: bool) -> None:
    if not anew:
        return place(source, target, link=False)
    target.parent.mkdir(parents=True, exist_ok=True)
    picture = decode(source)
    if target.suffix.lower() in _JPEG:
        return picture.save(target, "JPEG", quality=95, subsampling=0)
    return picture.save(target, "PNG")
