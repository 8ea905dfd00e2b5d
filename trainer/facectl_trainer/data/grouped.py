"""A split that keeps groups together: the photographs of one burst, one person or one animal, and near duplicates."""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import heapify, heappop, heappush
from pathlib import Path

from facectl_runtime.errors import UsageError, counted, one_line
from facectl_runtime.labelled import PARTS, Image, Part
from facectl_trainer.data.csv_labels import read_labels
from facectl_trainer.data.groups import Groups
from facectl_trainer.data.split import Amount

_Unit = list[Image]


def groups_by(root: Path, images: Sequence[Image], rule: str) -> dict[str, str]:
    """Give the group of each image, by path, out of its name or a table.

    `rule` is a regular expression, looked for in the path below the folder, whose first group in parentheses (or all of
    what it finds) names the group; or `TABLE.csv:COLUMN`, a table of files that lies in `root`. Raises `UsageError`
    where the rule is neither, and where it names no group of an image.
    """
    if match := re.fullmatch(r"(.+\.csv):(.+)", rule, re.IGNORECASE):
        named, _ = read_labels(root, root / match[1], label_column=match[2])
        found = {image.path: image.label for image in named}
    else:
        found = _by_pattern(images, rule)
    if missing := [image.path for image in images if image.path not in found]:
        raise UsageError(
            f"--group-by '{rule}': names no group of {len(missing):,} of {len(images):,} images, such as "
            f"{one_line(missing[0])[:100]}; give a pattern that is found in each path, or a row for each"
        )
    return found


def _by_pattern(images: Sequence[Image], rule: str) -> dict[str, str]:
    try:
        pattern = re.compile(rule)
    except re.error as error:
        raise UsageError(f"--group-by '{rule}' is not a pattern ({error}); such as '^(.*)_[0-9]+'") from error
    matches = ((image.path, pattern.search(image.path)) for image in images)
    named = ((path, match[1] if pattern.groups else match[0]) for path, match in matches if match)
    return {path: name for path, name in named if name}  # an optional group that found nothing names none


def split_grouped(
    images: Sequence[Image],
    hashes: Mapping[str, str],
    groups: Sequence[Mapping[str, str]],
    *,
    test: Amount,
    val: Amount,
    seed: int,
) -> dict[Part, list[Image]]:
    """Split images so that no group straddles two parts, each class as nearly as groups allow in the shares asked for.

    `groups` are path → group, of which an image may be in several; copies (`hashes`: path → SHA-256) count as one.
    Classes take their turn, that with the fewest photographs left to place first; of its groups those with most of it
    first, and of equals in the order of SHA-256(seed, content). Each goes where the class lacks most, and among equals
    where the classes of the group do: the iterative stratification of Sechidis, Tsoumakas & Vlahavas 2011 (On the
    Stratification of Multi-Label Data). Where a class has no more groups left than parts without it, these parts come
    first: three groups are enough, as far as no other class needs them elsewhere. Raises `UsageError` where a class
    comes to have no image in a part.
    """
    totals = _different([list(images)], hashes)
    wanted = _wanted(totals, test, val)
    parts: dict[Part, list[Image]] = {part: [] for part in PARTS}
    have: dict[Part, Counter[str]] = {part: Counter() for part in PARTS}
    units = [(unit, _different([unit], hashes)) for unit in _units(images, [hashes, *groups], hashes, seed)]
    groups_of = Counter(label for _, counts in units for label in counts)
    left = groups_of.copy()
    for unit, counts, label in _in_turn(units):
        lacks = {part: _lack([label], have[part], wanted[part], totals) for part in PARTS}
        part = max(
            _open_parts([label, *counts], have, left),
            key=lambda part: (lacks[part], _lack(counts, have[part], wanted[part], totals)),
        )
        parts[part] += unit
        have[part] += counts
        left.subtract(counts.keys())
    for label in totals:
        if empty := [part for part in PARTS if not have[part][label]]:
            raise UsageError(_too_few(label, totals[label], groups_of[label], empty[0]))
    return {part: sorted(parts[part], key=lambda image: image.path) for part in PARTS}


def _in_turn(units: Sequence[tuple[_Unit, Counter[str]]]) -> Iterator[tuple[_Unit, Counter[str], str]]:
    """Give each unit with the class in whose turn it is placed; the order of `units` decides among equals."""
    remaining: Counter[str] = Counter()
    members: dict[str, list[int]] = defaultdict(list)
    for number, (_, counts) in enumerate(units):
        remaining.update(counts)
        for label in counts:
            members[label].append(number)
    turns = [(n, label) for label, n in remaining.items()]
    heapify(turns)
    placed: set[int] = set()
    while turns:
        n, label = heappop(turns)
        if n != remaining[label]:
            continue  # it has come down since, and stands in the heap anew
        its = [number for number in members[label] if number not in placed]
        placed.update(its)
        touched = {other: None for number in its for other in units[number][1]}
        for number in sorted(its, key=lambda number: -units[number][1][label]):
            remaining.subtract(units[number][1])
            yield *units[number], label
        for other in touched:
            if remaining[other]:
                heappush(turns, (remaining[other], other))


def _open_parts(labels: Iterable[str], have: Mapping[Part, Counter[str]], left: Mapping[str, int]) -> Sequence[Part]:
    """Give the parts that a group may go to, so that each of its classes can still come into every part.

    Where two classes cannot both, the first of `labels` decides. `left` counts the groups of a class that have no part
    yet, this one with them.
    """
    choice: Sequence[Part] = PARTS
    for label in labels:
        empty = [part for part in PARTS if not have[part][label]]
        if left[label] <= len(empty):
            choice = [part for part in choice if part in empty] or choice
    return choice


def _too_few(label: str, images: int, groups: int, empty: Part) -> str:
    do = "; smaller --test and --val may do" if groups >= len(PARTS) else f", of which {len(PARTS)} are needed"
    return (
        f"class {label}: its groups are too few or too large for a share in each part, and {empty} has none: it has "
        f"{counted(images, 'different image')} in {counted(groups, 'group')}{do}; group more finely, or add photographs"
    )


def _wanted(totals: Mapping[str, int], test: Amount, val: Amount) -> dict[Part, dict[str, float]]:
    """Give how many different images of each class each part is to have."""
    wanted: dict[Part, dict[str, float]] = {part: {} for part in PARTS}
    for label, n in totals.items():
        tests, vals = (amount if isinstance(amount, int) else n * amount for amount in (test, val))
        if tests + vals >= n:
            can = f"class {label}: {counted(n, 'different image')} can be used"
            raise UsageError(f"{can}, and none would be left to train on; ask for fewer, or for shares")
        wanted["train"][label], wanted["val"][label], wanted["test"][label] = n - tests - vals, vals, tests
    return wanted


def _different(units: Sequence[_Unit], hashes: Mapping[str, str]) -> Counter[str]:
    # Sorted: the order of a set changes from process to process, and with it how shares are rounded when summed.
    return Counter(label for unit in units for label, _ in sorted({(i.label, hashes[i.path]) for i in unit}))


def _lack(labels: Iterable[str], have: Counter[str], wanted: Mapping[str, float], totals: Mapping[str, int]) -> float:
    """Give how much a part lacks of some classes, as the sum of shares of their totals."""
    return round(sum((wanted[label] - have[label]) / totals[label] for label in labels), 9)


def _units(
    images: Sequence[Image], keys: Sequence[Mapping[str, str]], hashes: Mapping[str, str], seed: int
) -> list[_Unit]:
    """Join what shares a key, in the order of SHA-256(seed, content)."""
    joined = Groups(len(images))
    for of in keys:
        joined.join_alike(of.get(image.path) for image in images)
    units: dict[int, _Unit] = defaultdict(list)
    for number, image in enumerate(images):
        units[joined.of(number)].append(image)

    def rank(unit: _Unit) -> str:
        content = min(hashes[image.path] for image in unit)
        return hashlib.sha256(f"{seed}:{content}".encode()).hexdigest()

    return sorted(units.values(), key=rank)
