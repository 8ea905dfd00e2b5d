"""A cleaned copy of a data folder: without what cannot be trained on, one picture of each, and all of them upright."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import msgspec

from facectl_runtime.errors import UsageError
from facectl_runtime.image import decode
from facectl_runtime.labelled import PARTS
from facectl_runtime.names import Names, folder_name
from facectl_trainer.data.check.findings import Finding
from facectl_trainer.data.check.listing import Listed, Photograph
from facectl_trainer.data.check.report import Report
from facectl_trainer.data.check.scan import header
from facectl_trainer.data.contents import Progress
from facectl_trainer.data.tree import check_apart, check_new, new_folder, place

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
    check_apart(out, listed.root, "--fix")


def write(listed: Listed, report: Report, out: Path, progress: Progress) -> Cleaned:
    """Write `out`/class, or `out`/part/class, in one step.

    Left out are photographs that cannot be read, all of a picture under two labels, what lies beside the classes, and
    of copies and near copies all but the one of most pixels, of these the largest file; where they stand in several
    parts of a split, test keeps its own, then val. Kinds that the check ignored are not mended. Raises `UsageError`
    where a class or a part would be empty.
    """
    chosen = {photograph.path: photograph for photograph in listed.photographs}  # a split may name one twice: the last
    left_out = _left_out(listed.root, report.findings)
    kept = [photograph for path, photograph in chosen.items() if path not in left_out]
    _refuse_empty(listed, kept)
    anew = _anew(report.findings)
    names: dict[Path, Names] = defaultdict(Names)
    with new_folder(out) as folder, progress("writing the cleaned copy", len(kept)) as advance:
        for photograph in kept:
            path, into = Path(photograph.path), folder / _folder(photograph)
            suffix = _suffix_anew(path) if photograph.path in anew else path.suffix
            _write_one(listed.root / path, into / names[into].give(path.stem, suffix), photograph.path in anew)
            advance(1)
    beside = {path: why for kind in ("stray", "unlisted", "bad-row") for path, why in listed.odd.get(kind, {}).items()}
    return Cleaned(
        str(out), len(kept), sorted(anew & {p.path for p in kept}), dict(sorted((beside | left_out).items()))
    )


def _folder(photograph: Photograph) -> Path:
    """Give the folder of a photograph: its own name, where it comes out of a class folder, else that of its label."""
    part, label = photograph.part, photograph.label
    if Path(photograph.path).is_relative_to(Path(part, label)):
        return Path(part, label)
    return Path(part, folder_name(label))


def _refuse_empty(listed: Listed, kept: Sequence[Photograph]) -> None:
    """Raise `UsageError` where a class or a part would come out empty: what reads the copy would refuse it."""
    for field in ("label", "part"):
        before, after = ({getattr(each, field) for each in some} for some in (listed.photographs, kept))
        if empty := sorted(before - after):
            what = f"{'class' if field == 'label' else 'part'} {empty[0]}" if empty[0] else "folder"
            raise UsageError(
                f"{listed.root}: no photograph of the {what} would be left; look at what the check says of them, and "
                "mend that by hand or with --ignore"
            )


def _left_out(root: Path, findings: Sequence[Finding]) -> dict[str, str]:
    left_out: dict[str, str] = {}
    for finding in findings:
        paths = {photograph.path for photograph in finding.photographs}
        if finding.kind in ("unreadable", "conflict"):
            left_out |= dict.fromkeys(paths, finding.why)
        elif finding.kind in ("leak", "duplicate", "near-duplicate"):
            best = _best(root, [p for p in finding.photographs if p.path not in left_out])
            left_out |= dict.fromkeys(paths - {best} - left_out.keys(), f"{finding.why}; {best} is kept")
    return left_out


def _best(root: Path, photographs: Sequence[Photograph]) -> str | None:
    """Give the one to keep: of the last part, and there the one of most pixels, then of most bytes."""

    def rank(photograph: Photograph) -> tuple[int, int, int, str]:
        part = PARTS.index(photograph.part) if photograph.part in PARTS else 0
        path = root / photograph.path
        stored = header(path)
        return -part, -stored.width * stored.height, -path.stat().st_size, photograph.path

    return min(map(rank, photographs))[3] if photographs else None


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
