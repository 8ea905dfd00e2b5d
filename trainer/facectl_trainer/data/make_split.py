"""The split file: which photograph is to train on, to choose by and to test on, decided once and used by every run."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from facectl_runtime.errors import UsageError
from facectl_runtime.labelled import Split
from facectl_trainer.data.check.compare import compare
from facectl_trainer.data.contents import Progress
from facectl_trainer.data.grouped import groups_by, split_grouped
from facectl_trainer.data.split import Amount, split
from facectl_trainer.data.tree import fill, new_folder
from facectl_trainer.prepare import Gathered
from facectl_trainer.reports.output import write_whole


@dataclass(frozen=True)
class Rules:
    """How photographs are to be split."""

    test: Amount
    val: Amount
    seed: int
    group_by: str | None = None
    """As `grouped.groups_by` takes it."""
    near: bool = False
    """Keep near duplicates together, as a group."""


@dataclass(frozen=True)
class Made:
    """A split that was made."""

    split: Split
    left_out: dict[str, str]
    """Path → why."""

    def counts(self) -> dict[str, dict[str, int]]:
        """Give part → class → photographs."""
        return {part: dict(sorted(Counter(i.label for i in some).items())) for part, some in self.split.parts.items()}


def make_split(gathered: Gathered, rules: Rules, progress: Progress) -> Made:
    """Split what was gathered; nothing is written.

    Copies stay together always, groups and near duplicates where `rules` asks for it. Raises `UsageError` where the
    data is split already, and where a class cannot be split so.
    """
    if gathered.given:
        raise UsageError(f"{gathered.root}: split already into train, val and test; give a folder of classes")
    groups: list[Mapping[str, str]] = []
    if rules.group_by:
        groups.append(groups_by(gathered.root, gathered.images, rules.group_by))
    if rules.near:
        alike, errors = _near(gathered, progress)
        gathered = gathered.without(errors)
        groups.append(alike)
    images, hashes = gathered.images, gathered.hashes
    if groups:
        parts = split_grouped(images, hashes, groups, test=rules.test, val=rules.val, seed=rules.seed)
    else:
        parts = split(images, hashes, test=rules.test, val=rules.val, seed=rules.seed)
    hashes = {image.path: hashes[image.path] for image in images}
    return Made(Split(str(gathered.root.resolve()), parts, hashes), gathered.left_out)


def _near(gathered: Gathered, progress: Progress) -> tuple[dict[str, str], dict[str, str]]:
    """Give ({path: what is the same for all that show the same}, {path: why it cannot be read})."""
    compared = compare(gathered.root, [image.path for image in gathered.images], progress)
    groups = map(str, compared.groups.all())
    return dict(zip(compared.scanned.looks, groups, strict=True)), compared.scanned.errors


def write_split(made: Split, target: Path) -> None:
    """Write a split file, whole or not at all. Raises `UsageError` where it cannot be written."""
    write_whole(target, msgspec.json.format(msgspec.json.encode(made)))


def write_folders(made: Split, out: Path, link: bool, progress: Progress) -> None:
    """Copy or link the photographs into `out`/part/class. Raises `UsageError` where `out` is there."""
    with new_folder(out) as folder:
        fill(folder, Path(made.root), made.parts, link, progress)
