"""What is wrong with photographs, and what may be: one function a kind."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from facectl_runtime.blur import BLURRED
from facectl_trainer.data.check.compare import Compared
from facectl_trainer.data.check.listing import Listed, Photograph
from facectl_trainer.data.check.near import Pair
from facectl_trainer.data.check.scan import Look

Level = Literal["problem", "warning"]

KINDS: dict[str, tuple[Level, str]] = {
    "unreadable": ("problem", "cannot be read; training leaves them out"),
    "bad-row": ("problem", "rows of the table that name no image, or an image twice"),
    "empty-class": ("problem", "class folders without photographs; training refuses them"),
    "few": ("problem", "classes of fewer than three different photographs; they cannot be split"),
    "conflict": ("problem", "one picture under two labels; one of them is wrong"),
    "leak": ("problem", "one picture in two parts of the split; the test is then too easy"),
    "duplicate": ("problem", "the same file twice"),
    "near-duplicate": (
        "problem",
        "one picture twice: saved again, resized, a little cropped, lit otherwise or mirrored",
    ),
    "imbalance": ("warning", "classes of very unequal size; train with --balance class_weights"),
    "alike": ("warning", "classes whose names differ by case alone; on a Mac and in Windows they share a folder"),
    "blurred": ("warning", "blurred photographs"),
    "tiny": ("warning", "smaller than most networks' input"),
    "rotated": ("warning", "stored turned, with a note (EXIF) that other programs may not heed; facectl does"),
    "mode": ("warning", "other pixels than RGB of 8 bits; facectl converts them, other programs may not"),
    "nested": ("warning", "in folders inside a class folder; they count for the class"),
    "stray": ("warning", "beside the class folders; training does not see them"),
    "unlisted": ("warning", "images that no row of the table names"),
}
"""Kind → how grave it is, and what it is; gravest first."""
_UNEQUAL = 5.0  # times as many photographs in the largest class as in the smallest
_FEW = 3  # different photographs that a class needs: one each to train, to choose and to test


class Finding(msgspec.Struct, frozen=True):
    """One thing that was found."""

    kind: str
    """Of `KINDS`."""
    level: Level
    why: str
    photographs: list[Photograph]
    """Those it is about; of duplicates all that show the same. Empty where it is about no photograph that is listed."""
    likeness: float | None = None
    """Of near duplicates: how far the details of the least like of them agree, at most 1."""


@dataclass(frozen=True)
class Limits:
    """What counts as too little."""

    side: int = 64
    """Pixels of the shorter side."""
    blur: float = BLURRED


def findings(listed: Listed, compared: Compared, limits: Limits) -> list[Finding]:
    """Judge what was listed, seen and compared; gravest first."""
    scanned, group = compared.scanned, compared.groups.all().tolist()
    looks = scanned.looks
    read = [photograph for photograph in listed.photographs if photograph.path in looks]
    found = [
        *_odd(listed),
        *(_one("unreadable", p, scanned.errors[p.path]) for p in listed.photographs if p.path in scanned.errors),
        *_classes(read, looks),
        *_groups(read, dict(zip(looks, group, strict=True)), compared.pairs, listed.is_split),
        *(finding for photograph in read for finding in _of_one(photograph, looks[photograph.path], limits)),
    ]
    rank = {kind: place for place, kind in enumerate(KINDS)}
    return sorted(found, key=lambda finding: rank[finding.kind])


def _one(kind: str, photograph: Photograph, why: str) -> Finding:
    return Finding(kind, KINDS[kind][0], why, [photograph])


def _odd(listed: Listed) -> Iterator[Finding]:
    known = {photograph.path: photograph for photograph in listed.photographs}
    for kind, some in listed.odd.items():
        for path, why in some.items():
            whom = [known[path]] if path in known else []
            yield Finding(kind, KINDS[kind][0], why if whom else f"{path}: {why}", whom)


def _classes(read: Sequence[Photograph], looks: Mapping[str, Look]) -> Iterator[Finding]:
    contents: dict[str, set[str]] = defaultdict(set)
    for photograph in read:
        contents[photograph.label].add(looks[photograph.path].sha256)
    if len(contents) < 2:
        return
    counts = Counter({label: len(some) for label, some in contents.items()})
    for label, count in sorted(counts.items()):
        if count < _FEW:
            have = f"{count} different photograph{'' if count == 1 else 's'}"
            yield Finding("few", "problem", f"{label}: {have}; add {_FEW - count} or more", [])
    for some in _same_folder(contents):
        yield Finding("alike", "warning", f"{' and '.join(some)}", [])
    (large, most), (small, least) = counts.most_common()[0], counts.most_common()[-1]
    if most >= _UNEQUAL * least:
        why = f"{large} has {most} different photographs, {small} {least}: {most / least:.1f} times as many"
        yield Finding("imbalance", "warning", why, [])


def _same_folder(labels: Iterable[str]) -> list[list[str]]:
    """Give the classes whose names differ by case alone."""
    names: dict[str, list[str]] = defaultdict(list)
    for label in sorted(labels):
        names[label.casefold()].append(label)
    return [some for some in names.values() if len(some) > 1]


def _groups(
    read: Sequence[Photograph], group: Mapping[str, int], pairs: Sequence[Pair], is_split: bool
) -> Iterator[Finding]:
    """Say what is wrong with each group of photographs that show the same. `group`: path → number of its group."""
    members: dict[int, list[Photograph]] = defaultdict(list)
    alike: dict[int, list[Pair]] = defaultdict(list)
    for photograph in read:  # a split may name a file twice
        members[group[photograph.path]].append(photograph)
    of = list(group.values())
    for pair in pairs:
        alike[of[pair.first]].append(pair)
    for number, some in members.items():
        if len(some) > 1:
            yield from _of_group(some, alike[number], is_split)


def _of_group(members: list[Photograph], pairs: Sequence[Pair], is_split: bool) -> Iterator[Finding]:
    labels, parts = (sorted({getattr(member, field) for member in members}) for field in ("label", "part"))
    mirrored = ", mirrored" if any(pair.mirrored for pair in pairs) else ""
    how = f"nearly the same picture{mirrored}" if pairs else "the same file"
    likeness = round(min(pair.likeness for pair in pairs), 3) if pairs else None
    if len(labels) > 1:
        yield Finding("conflict", "problem", f"{how}, as {' and '.join(labels)}", members, likeness)
    if len(parts) > 1:
        yield Finding("leak", "problem", f"{how}, in {' and '.join(parts)}", members, likeness)
    if len(labels) == 1 and len(parts) == 1:
        kind = "near-duplicate" if pairs else "duplicate"
        # In one part of a split it counts more than others; not yet split, it may come to stand on both sides.
        yield Finding(kind, "warning" if is_split else "problem", how, members, likeness)


def _of_one(photograph: Photograph, look: Look, limits: Limits) -> Iterator[Finding]:
    width, height = look.upright
    if min(width, height) < limits.side:
        yield _one("tiny", photograph, f"{width} × {height} pixels; {limits.side} or more on each side are wanted")
    elif look.blur >= limits.blur:
        yield _one("blurred", photograph, f"blur {look.blur:.2f} of 1, from {limits.blur:.2f} on")
    if look.header.orientation > 1:
        yield _one("rotated", photograph, f"EXIF orientation {look.header.orientation}")
    if kind := _pixels(look):
        yield _one("mode", photograph, kind)


def _pixels(look: Look) -> str:
    mode = look.header.mode
    if look.header.transparent:
        return f"transparent ({mode}); shown on white"
    names = {"1": "black and white", "L": "grey", "P": "a palette", "CMYK": "CMYK, for print", "LAB": "CIELAB"}
    return "" if mode == "RGB" else names.get(mode, "more than 8 bits" if mode.startswith("I") else mode)
