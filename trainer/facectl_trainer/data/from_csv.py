"""Class folders from a table of labels and a folder of images; on request as many of each class, in disjoint parts."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from facectl_runtime.errors import UsageError, counted, describe, did_you_mean, one_line
from facectl_runtime.labelled import Image
from facectl_runtime.names import folder_name
from facectl_runtime.sources import display_name
from facectl_trainer.data.contents import Progress, contents, why_unreadable
from facectl_trainer.data.csv_labels import NOT_IN_TABLE, read_labels
from facectl_trainer.data.select import balanced
from facectl_trainer.data.split import conflicts
from facectl_trainer.data.tree import check_apart, check_new, fill, new_folder

Parts = dict[str, list[Image]]
"""Part (empty where there is one alone) → its images."""
_PARTS = {1: ("",), 2: ("train", "test"), 3: ("train", "val", "test")}


@dataclass(frozen=True)
class Table:
    """A table of labels and where its images are."""

    file: Path
    images: Path
    file_column: str | None = None
    label_column: str | None = None
    """Columns that are not named are told by the names that `csv_labels` knows."""


@dataclass(frozen=True)
class Choice:
    """Which rows become files."""

    classes: Sequence[str] = ()
    """Empty: all of them."""
    per_class: Sequence[int] = ()
    """How many of each class go into each part; empty: all."""
    seed: int = 0


@dataclass(frozen=True)
class Arranged:
    """What was made of a table."""

    counts: dict[str, dict[str, int]]
    """Part (empty where there is one alone) → class → images."""
    renamed: dict[str, str]
    """Class → the folder's name, where they differ."""
    left_out: dict[str, str]
    """File, or name in the table → why."""

    @property
    def complete(self) -> bool:
        """Whether each row of the table could be used."""
        return all(why == NOT_IN_TABLE for why in self.left_out.values())


def parse_per_class(text: str) -> tuple[int, ...]:
    """Read `N`, `TRAIN,TEST` or `TRAIN,VAL,TEST`. Raises `UsageError`."""
    numbers = text.replace(" ", "").split(",")
    if len(numbers) not in _PARTS or not all(re.fullmatch(r"0*[1-9]\d{0,8}", number, re.ASCII) for number in numbers):
        raise UsageError(
            f"--per-class {text!r} is not known; use one number, TRAIN,TEST or TRAIN,VAL,TEST, each 1 or more, "
            "such as 1600,800"
        )
    return tuple(map(int, numbers))


def arrange(table: Table, out: Path, choice: Choice, link: bool, progress: Progress) -> Arranged:
    """Copy or link the images of a table into `out`/class, or `out`/part/class where there are parts.

    Where numbers are asked for, images are chosen by content as `select.balanced` does: copies count once, and no two
    parts share one. A picture that stands under two classes is then left out. Raises `UsageError` where `out` is
    there, lies among the images or cannot be written, where the table cannot be used, and where a class has too few
    images.
    """
    check_new(out)
    check_apart(out, table.images)
    images, left_out = read_labels(table.images, table.file, table.file_column, table.label_column)
    images = _of_classes(table.file, images, choice.classes)
    folders = {label: folder_name(label) for label in sorted({image.label for image in images})}
    with new_folder(out) as folder:
        if choice.per_class:
            parts, unusable = _balanced_parts(table.images, images, choice, progress)
        else:
            parts, unusable = _readable(table.images, images)
        left_out |= unusable
        _refuse_nothing(table, parts, left_out)
        fill(folder, table.images, parts, link, progress)
    counts = {part: dict(sorted(Counter(i.label for i in chosen).items())) for part, chosen in parts.items()}
    renamed = {label: name for label, name in folders.items() if label != name}
    return Arranged(counts, renamed, dict(sorted(left_out.items())))


def _of_classes(table: Path, images: list[Image], classes: Sequence[str]) -> list[Image]:
    """Keep the images of some classes. Raises `UsageError` where a class is unknown."""
    counts = Counter(image.label for image in images)
    for asked in classes:
        if asked not in counts:
            some = ", ".join(one_line(label)[:40] for label, _ in counts.most_common(12))
            more = ", …" if len(counts) > 12 else ""
            meant = did_you_mean(asked, counts) or "; use some of these"
            raise UsageError(f"--classes {asked!r}: no image of {table} is of it; its classes are {some}{more}{meant}")
    return [image for image in images if image.label in classes] if classes else images


def _readable(root: Path, images: Sequence[Image]) -> tuple[Parts, dict[str, str]]:
    problems = {image.path: why for image in images if (why := why_unreadable(root / image.path))}
    usable = [image for image in images if image.path not in problems]
    return {"": usable}, {display_name(path): why for path, why in problems.items()}


def _balanced_parts(
    root: Path, images: Sequence[Image], choice: Choice, progress: Progress
) -> tuple[Parts, dict[str, str]]:
    with progress("reading photographs", len(images)) as advance:
        hashes, left_out = contents(root, (image.path for image in images), advance)
    usable = [image for image in images if image.path in hashes]
    doubtful = {image.path for image in conflicts(usable, hashes)}
    left_out |= dict.fromkeys(doubtful, "the same picture stands under two classes")
    usable = [image for image in usable if image.path not in doubtful]
    different: dict[str, set[str]] = {image.label: set() for image in images}
    for image in usable:
        different[image.label].add(hashes[image.path])
    _check_enough({label: len(units) for label, units in different.items()}, choice.per_class)
    parts: Parts = {}
    for part, number in zip(_PARTS[len(choice.per_class)], choice.per_class, strict=True):
        parts[part] = balanced(usable, hashes, number, choice.seed)
        taken = {hashes[image.path] for image in parts[part]}
        usable = [image for image in usable if hashes[image.path] not in taken]
    return parts, left_out


def _check_enough(different: Mapping[str, int], per_class: Sequence[int]) -> None:
    """Raise `UsageError` where a class has fewer different images than asked for."""
    least = min(different, key=lambda label: (different[label], label))
    total, most = sum(per_class), different[least]
    if most < total:
        several = len(per_class) > 1
        asked = f"{' + '.join(map(str, per_class))} = {total}" if several else str(total)
        do = f"ask for at most {most}{' together' if several else ''}" if most >= len(per_class) else "add some"
        has = f"class {one_line(least)[:100]} has {counted(most, 'different image')} of its own"
        raise UsageError(
            f"--per-class: {has}, and {asked} are asked for; {do}, or keep other classes alone with --classes"
        )


def _refuse_nothing(table: Table, parts: Parts, left_out: Mapping[str, str]) -> None:
    if not any(parts.values()):
        given = {name: why for name, why in left_out.items() if why != NOT_IN_TABLE}
        raise UsageError(f"{table.file}: no image of it can be read below {table.images}: {describe(given)}")
