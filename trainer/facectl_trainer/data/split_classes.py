"""Splitting whole classes: an embedding is measured on people that it was not trained on."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from facectl_runtime.errors import UsageError
from facectl_runtime.labelled import PARTS, Image, Part
from facectl_trainer.data.split import Fold

_LEAST = 2  # classes with two images, in each part


def split_classes(
    images: Sequence[Image],
    hashes: Mapping[str, str],
    *,
    test: float,
    val: float,
    seed: int,
    fold: Fold | None = None,
) -> dict[Part, list[Image]]:
    """Split the classes into three parts, so that none of them is in two; `test` and `val` are shares of them.

    Those with two or more different images (`hashes`: path → SHA-256), which alone make pairs, are split by
    themselves, and so are those with one. Classes are ordered by SHA-256(seed, label): adding one moves few others.
    With `fold`, the folds' test parts together hold every class once.

    Raises `UsageError` where there are too few classes with two images, in all or in the fold.
    """
    several = {image.label for image in paired(images, hashes)}
    single = {image.label for image in images} - several
    if len(several) < _LEAST * len(PARTS):
        raise UsageError(
            f"{len(several)} of {len(several) + len(single)} people have two different photographs or more, and "
            f"{_LEAST * len(PARTS)} are needed, {_LEAST} each to train, to choose and to test on; add photographs"
        )
    if fold:
        _check_fold(len(several), fold)
    where: dict[str, Part] = {}
    for labels in (several, single):
        where |= _parted(sorted(labels, key=lambda label: _rank(seed, label)), test, val, fold)
    parts: dict[Part, list[Image]] = {part: [] for part in PARTS}
    for image in sorted(images, key=lambda image: image.path):
        parts[where[image.label]].append(image)
    return parts


def paired(images: Sequence[Image], hashes: Mapping[str, str]) -> list[Image]:
    """Give the images of those classes that have two or more of different content."""
    contents: dict[str, set[str]] = defaultdict(set)
    for image in images:
        contents[image.label].add(hashes[image.path])
    return [image for image in images if len(contents[image.label]) > 1]


def check_paired(root: Path, parts: Mapping[Part, Sequence[Image]], hashes: Mapping[str, str]) -> None:
    """Raise `UsageError` where a part has too few classes with two images, or a class is in two parts."""
    seen: dict[str, Part] = {}
    for part in PARTS:
        labels = {image.label for image in parts[part]}
        if both := sorted(labels & seen.keys()):
            raise UsageError(
                f"{root}: {both[0]} is in {seen[both[0]]} and in {part}; an embedding is measured on people that it "
                "has not seen: keep all photographs of one person in one part"
            )
        seen |= dict.fromkeys(labels, part)
        if len(several := {image.label for image in paired(parts[part], hashes)}) < _LEAST:
            raise UsageError(
                f"{root}: in {part}, {len(several)} of {len(labels)} people have two different photographs or more, "
                f"and {_LEAST} are needed; add photographs"
            )


def _parted(labels: Sequence[str], test: float, val: float, fold: Fold | None) -> dict[str, Part]:
    n, least = len(labels), min(_LEAST, len(labels) // len(PARTS))
    first, last = _tested(n, fold) if fold else (0, min(max(least, round(n * test)), n - 2 * least))
    turned = [*labels[first:], *labels[:first]]  # from here on: test, val, train
    tests = last - first
    vals = min(max(least, round(n * val)), n - tests - least)
    where: dict[str, Part] = dict.fromkeys(turned, "train")
    return where | dict.fromkeys(turned[:tests], "test") | dict.fromkeys(turned[tests : tests + vals], "val")


def _tested(n: int, fold: Fold) -> tuple[int, int]:
    """Say which of n classes are for testing: from the first to before the last."""
    return n * (fold.number - 1) // fold.count, n * fold.number // fold.count


def _check_fold(people: int, fold: Fold) -> None:
    first, last = _tested(people, fold)
    if (few := last - first < _LEAST) or people - (last - first) < 2 * _LEAST:
        raise UsageError(
            f"{people} people have two different photographs or more, and fold {fold} tests on {last - first} of them; "
            f"{_LEAST} or more are needed in each part: use {'fewer' if few else 'more'} folds, or add photographs"
        )


def _rank(seed: int, label: str) -> str:
    return hashlib.sha256(f"{seed}:{label}".encode()).hexdigest()
