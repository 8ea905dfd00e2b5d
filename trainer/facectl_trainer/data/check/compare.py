"""Photographs looked at, and each compared with all others."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from facectl_trainer.data.check.near import Pair, near_duplicates
from facectl_trainer.data.check.perceptual import Thumbnails
from facectl_trainer.data.check.scan import Scanned, look_closer, scan
from facectl_trainer.data.contents import Progress
from facectl_trainer.data.groups import Groups


@dataclass(frozen=True)
class Compared:
    """What photographs show, and which show the same."""

    scanned: Scanned
    groups: Groups
    """Of what shows the same, copies too; they number the looks of `scanned`, as `pairs` do."""
    pairs: list[Pair]
    """Near duplicates: enough to join each group."""


def compare(root: Path, paths: Sequence[str], progress: Progress) -> Compared:
    """Look at each photograph below `root`, and find copies and near duplicates. Raises as `scan` does."""
    scanned = scan(root, paths, progress)
    looks = list(scanned.looks)

    @lru_cache(maxsize=4096)
    def closer(number: int) -> Thumbnails:
        return look_closer(root / looks[number])

    with progress("comparing each with all", len(looks)) as advance:
        groups = Groups(len(looks))
        groups.join_alike(look.sha256 for look in scanned.looks.values())
        pairs = near_duplicates(scanned.thumbnails, groups, closer, advance)
    return Compared(scanned, groups, pairs)
