"""The split into train, val and test: stratified, seeded, and decided by content, never by name or order."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from facectl_runtime.copies import under_two_labels
from facectl_runtime.errors import UsageError
from facectl_runtime.labelled import PARTS, Image, Part


@dataclass(frozen=True)
class Fold:
    """The `number`-th of `count` folds: a different 1 / count of the images is for testing."""

    number: int
    """From 1 to `count`."""
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


def parse_fold(text: str) -> Fold:
    """Read `K/N`. Raises `UsageError`."""
    match = re.fullmatch(r"(\d{1,3})/(\d{1,3})", text)
    fold = Fold(int(match[1]), int(match[2])) if match else None
    if fold is None or fold.count < 2 or not 1 <= fold.number <= fold.count:
        raise UsageError(f"--fold {text!r} is not known; use K/N, such as 1/5")
    return fold


Amount = float | int
"""Of each class: a share below 1, or a whole number of different images."""


def parse_amount(text: str, option: str) -> Amount:
    """Read a share such as 0.2, or a number of images of each class such as 50. Raises `UsageError`."""
    if re.fullmatch(r"[1-9]\d{0,8}", text):
        return int(text)
    if re.fullmatch(r"0?\.\d{1,9}", text) and float(text) > 0:
        return float(text)
    if re.fullmatch(r"[0.]+", text):
        wrong = f"{option} {text!r} is not allowed, for each part is needed"
    else:
        wrong = f"{option} {text!r} is not known"
    raise UsageError(f"{wrong}; give a share such as {_share(text)}, or a number of images of each class such as 50")


def _share(text: str) -> str:
    """Give a share to write: that of a percentage, or else any."""
    match = re.fullmatch(r"([1-9]\d?) ?%", text)
    return f"{int(match[1]) / 100:g}" if match else "0.2"


def parse_amounts(test: str, val: str) -> tuple[Amount, Amount]:
    """Read how much is to test on and to choose by. Raises `UsageError`, also where nothing is left to train on."""
    amounts = parse_amount(test, "--test"), parse_amount(val, "--val")
    if sum(amount for amount in amounts if isinstance(amount, float)) >= 1:
        raise UsageError(f"--test {test} and --val {val} leave nothing to train on; give less")
    return amounts


def split(
    images: Sequence[Image],
    hashes: Mapping[str, str],
    *,
    test: Amount,
    val: Amount,
    seed: int,
    fold: Fold | None = None,
) -> dict[Part, list[Image]]:
    """Split the images of each class into three parts.

    A unit is every image of one content (`hashes`: path → SHA-256), so that a copy never straddles two parts. Units
    are ordered by SHA-256(seed, content): adding an image moves few others. With `fold`, the test share is 1 / count
    and the folds' test parts together hold every image once.

    Raises `UsageError` where a class has fewer than three different images, and where a fold leaves a part empty.
    """
    parts: dict[Part, list[Image]] = {part: [] for part in PARTS}
    for label, units in _units(images, hashes, seed).items():
        n = len(units)
        if n < len(PARTS):
            raise UsageError(
                f"class {label}: {len(PARTS)} different images or more are needed, and {n} can be used; add some, or "
                "leave the class out"
            )
        first, last = _test_range(n, test, fold)
        turned = units[first:] + units[:first]  # from here on: test, val, train
        tests = last - first
        if fold and n - tests < 2:
            raise UsageError(
                f"class {label}: {n} different images can be used, and this fold tests on {tests} of them; "
                "add some, or use more folds"
            )
        vals = val if isinstance(val, int) else max(1, min(round(n * val), n - tests - 1))
        if tests + vals >= n:
            raise UsageError(
                f"class {label}: {n} different images can be used, and {tests} to test and {vals} for val leave none "
                "to train on; ask for fewer, or for shares"
            )
        for part, chosen in zip(("test", "val", "train"), _cut(turned, tests, vals), strict=True):
            parts[part] += [image for unit in chosen for image in unit]  # type: ignore[index]
    if not parts["test"]:
        raise UsageError("this fold has no image to test on: no class has so many; use fewer folds")
    return {part: sorted(parts[part], key=lambda image: image.path) for part in PARTS}


def fingerprint(images: Sequence[Image], hashes: Mapping[str, str]) -> str:
    """Give the SHA-256 over the sorted (label, content hash) pairs: the same data, wherever it lies."""
    pairs = sorted(f"{image.label}\0{hashes[image.path]}\n" for image in images)
    return hashlib.sha256("".join(pairs).encode()).hexdigest()


def conflicts(images: Sequence[Image], hashes: Mapping[str, str]) -> list[Image]:
    """Give the images whose content stands under more than one label."""
    crossed = under_two_labels((image.label, hashes[image.path]) for image in images)
    return [image for image in images if hashes[image.path] in crossed]


def _test_range(n: int, test: Amount, fold: Fold | None) -> tuple[int, int]:
    """Say which of n units are for testing: from the first to before the last."""
    if fold:  # in whole numbers, so that each fold begins where the one before it ends
        return n * (fold.number - 1) // fold.count, n * fold.number // fold.count
    return 0, test if isinstance(test, int) else min(max(1, round(n * test)), n - 2)


def _units(images: Sequence[Image], hashes: Mapping[str, str], seed: int) -> dict[str, list[list[Image]]]:
    """Group each class's images by content, in seeded order."""
    classes: dict[str, dict[str, list[Image]]] = defaultdict(lambda: defaultdict(list))
    for image in images:
        classes[image.label][hashes[image.path]].append(image)

    def rank(content: str) -> str:
        return hashlib.sha256(f"{seed}:{content}".encode()).hexdigest()

    return {label: [units[content] for content in sorted(units, key=rank)] for label, units in classes.items()}


def _cut(units: list[list[Image]], tests: int, vals: int) -> tuple[list[list[Image]], ...]:
    return units[:tests], units[tests : tests + vals], units[tests + vals :]
