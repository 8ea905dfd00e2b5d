"""Preparation: from a data folder to labelled images in three parts, with what could not be used named."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from facectl_runtime.errors import UsageError, one_line
from facectl_runtime.labelled import (
    CHANGED,
    PARTS,
    Image,
    Part,
    Split,
    beside_folders,
    class_folders,
    presplit,
    read_split,
)
from facectl_runtime.progress import progress
from facectl_runtime.sources import display_name
from facectl_trainer.data.contents import contents
from facectl_trainer.data.csv_labels import read_labels
from facectl_trainer.data.select import balanced, most_photographed
from facectl_trainer.data.split import Fold, conflicts, fingerprint, split
from facectl_trainer.data.split_classes import check_paired, paired, split_classes
from facectl_trainer.recipe import DataPlan, SplitPlan

_COPY = "the same picture stands"
_CONFLICT = f"{_COPY} under two labels"


@dataclass(frozen=True)
class Gathered:
    """The images of a data folder, each of one class and one content."""

    root: Path
    listed: Sequence[Image]
    """Those that were found, whether or not they can be used."""
    images: list[Image]
    hashes: dict[str, str]
    """Path → SHA-256."""
    left_out: dict[str, str]
    """Path → why."""
    given: Mapping[Part, Sequence[Image]] | None
    """The parts of a folder that is split already, or of a split file."""
    by_class: bool = False
    """Whether the classes are people, of whom some are trained on and others tested: an embedding's."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, sorted; each has an image."""
        return tuple(sorted({image.label for image in self.listed}))

    def without(self, errors: Mapping[str, str]) -> "Gathered":
        """Leave out images that turned out to be unreadable. Raises `UsageError` where a class is then empty.

        With `by_class` there are people of whom nothing can be used: they are left out as others of few photographs.
        """
        images, left_out = [i for i in self.images if i.path not in errors], {**self.left_out, **errors}
        if not self.by_class:
            _check_classes(self.root, self.labels, self.listed, images, left_out)
        return replace(self, images=images, left_out=left_out)


@dataclass(frozen=True)
class Divided:
    """What is trained, chosen and measured on."""

    split: Split
    fingerprint: str


def gather(
    root: Path, plan: DataPlan, seed: int, quiet: bool, split_file: Path | None = None, *, by_class: bool = False
) -> Gathered:
    """List, choose and hash the images of `root`; a split file says which they are, of which class and for what.

    With `by_class`, of copies one is kept: a pair of them would be an answer known beforehand. Raises `UsageError`
    where the images are of fewer than two classes.
    """
    given, images, left_out = _listed(root, plan, split_file)
    if plan.top:
        images = most_photographed(images, plan.top)
    listed = images
    if len(labels := sorted({image.label for image in images})) < 2:
        raise UsageError(
            f"{root}: only one class, {labels[0]}; {'an embedding' if by_class else 'a classifier'} needs two or more"
            f"{_table_hint(root, plan)}"
        )
    with progress("reading photographs", len(images), quiet) as advance:
        hashes, unreadable = contents(root, (image.path for image in images), advance)
    left_out |= unreadable
    images = [image for image in images if image.path in hashes]
    left_out |= dict.fromkeys((i.path for i in conflicts(images, hashes)), _CONFLICT)
    left_out |= _straddling(given, hashes) if given else {}
    left_out |= _changed(split_file, hashes) if split_file else {}
    images = [image for image in images if image.path not in left_out]
    if by_class:
        left_out |= (copied := _copied(images, hashes))
        images = [image for image in images if image.path not in copied]
    else:
        _check_classes(root, labels, listed, images, left_out)
    if plan.per_class:
        images = balanced(images, hashes, plan.per_class, seed)
    return Gathered(root, listed, images, hashes, left_out, given, by_class)


def check_data(root: Path, plan: DataPlan, split_file: Path | None = None) -> None:
    """Refuse a data folder that cannot be listed, before anything is computed. Raises `UsageError`."""
    _listed(root, plan, split_file)


def _table_hint(root: Path, plan: DataPlan) -> str:
    tables = sorted(path.name for path in root.glob("*.csv"))
    return f"; is {tables[0]} a table of classes? give --labels {tables[0]}" if tables and not plan.labels else ""


def divide(gathered: Gathered, plan: SplitPlan, seed: int, fold: Fold | None) -> Divided:
    """Split images into train, val and test; a folder that is split already keeps its parts.

    Of images gathered `by_class`, no class is in two parts, and of train only those classes are kept that have two.
    """
    root, images, hashes = gathered.root, gathered.images, gathered.hashes
    if not gathered.given:
        parting = split_classes if gathered.by_class else split
        parts = parting(images, hashes, test=plan.test, val=plan.val, seed=seed, fold=fold)
    elif fold:
        raise UsageError(f"{root}: split already into train, val and test; leave --fold out")
    else:
        parts = _usable(gathered)
    if gathered.by_class:
        parts["train"] = paired(parts["train"], hashes)
        check_paired(root, parts, hashes)
    kept = {image.path: hashes[image.path] for image in images}
    return Divided(Split(str(root.resolve()), parts, kept), fingerprint(images, hashes))


def _listed(
    root: Path, plan: DataPlan, split_file: Path | None
) -> tuple[Mapping[Part, Sequence[Image]] | None, list[Image], dict[str, str]]:
    if split_file:
        parts = read_split(split_file).parts
        if not root.is_dir():
            raise UsageError(f"{root}: the photographs of {split_file} are not there; give their new place with --data")
        if missing := [part for part in PARTS if not parts.get(part)]:
            raise UsageError(f"{split_file}: it has no {missing[0]} images; split anew with facectl data split")
        return parts, [image for part in PARTS for image in parts[part]], {}
    if plan.labels:
        if not root.is_dir():
            raise UsageError(f"{root}: no such folder; --data takes the folder that holds {plan.labels}")
        images, left_out = read_labels(root, root / plan.labels)
        return None, images, left_out
    given = presplit(root)
    if given is None:
        return None, class_folders(root), beside_folders(root)
    if plan.top or plan.per_class:
        raise UsageError(f"{root}: split already into train, val and test; leave top and per_class out of the recipe")
    return given, [image for part in given.values() for image in part], {}


def _changed(split_file: Path, hashes: Mapping[str, str]) -> dict[str, str]:
    """Find pictures that are no longer what was split: a copy of them may stand in another part."""
    before = read_split(split_file).hashes
    return {path: CHANGED for path, now in hashes.items() if before.get(path) != now}


def _straddling(given: Mapping[Part, Sequence[Image]], hashes: Mapping[str, str]) -> dict[str, str]:
    """Find pictures that stand in a later part of a given split too: test keeps its own, then val."""
    left_out: dict[str, str] = {}
    seen: dict[str, Part] = {}
    for part in reversed(PARTS):
        known = [(image.path, hashes[image.path]) for image in given[part] if image.path in hashes]
        left_out |= {path: f"{_COPY} in {seen[content]}" for path, content in known if content in seen}
        seen |= {content: part for _, content in known if content not in seen}
    return left_out


def _copied(images: Iterable[Image], hashes: Mapping[str, str]) -> dict[str, str]:
    """Find pictures that came before under another name."""
    left_out: dict[str, str] = {}
    seen: dict[str, str] = {}
    for image in images:
        if (first := seen.setdefault(hashes[image.path], image.path)) != image.path:
            left_out[image.path] = f"{_COPY} as {first}"
    return left_out


def _usable(gathered: Gathered) -> dict[Part, list[Image]]:
    """Keep of a given split what can be used. Raises `UsageError` where a part, or a class of train, is then empty."""
    usable = {image.path for image in gathered.images}
    parts = {part: [i for i in chosen if i.path in usable] for part, chosen in (gathered.given or {}).items()}
    if not gathered.by_class:
        named = _of_part(gathered.root, "train")
        listed = (gathered.given or {}).get("train", ())
        _check_classes(named, gathered.labels, listed, parts["train"], gathered.left_out)
    if empty := [part for part in PARTS if not parts[part]]:
        raise UsageError(f"{_of_part(gathered.root, empty[0])}: none of its images can be used; add some")
    return parts


def _of_part(root: Path, part: Part) -> str:
    """Name a part: the folder, or where a split file gave it, what it is called."""
    return str(root / part) if (root / part).is_dir() else f"{root}, {part}"


def _check_classes(
    data: Path | str,
    labels: Iterable[str],
    listed: Iterable[Image],
    images: Iterable[Image],
    left_out: Mapping[str, str],
) -> None:
    """Raise `UsageError` where of a class no image is left of those `listed`."""
    there = {image.label for image in images}
    empty = [label for label in labels if label not in there]
    if not empty:
        return
    classes = f"the class {', '.join(empty)}"
    paths = [display_name(image.path) for image in listed if image.label in empty]
    lost = [(path, left_out[path]) for path in paths if path in left_out]
    readable = [(path, why) for path, why in lost if why == CHANGED or why.startswith(_COPY)]
    if not readable:
        kind = "readable images" if lost else "images"
        raise UsageError(f"{data}: no {kind} in {classes}; add some, or leave the class out")
    path, why = readable[0]
    raise UsageError(
        f"{data}: no images are left in {classes}: {len(lost):,} left out, such as {one_line(path)[:100]}: {why}; add "
        "others, or leave the class out"
    )
