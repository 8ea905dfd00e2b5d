"""Which photographs are to be checked, of what class and for what part; the rest is a finding."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from facectl_runtime.errors import UsageError
from facectl_runtime.labelled import PARTS, presplit, read_split
from facectl_runtime.sources import IMAGE_SUFFIXES, display_name, images_below
from facectl_trainer.data.csv_labels import NOT_IN_TABLE, read_labels


class Photograph(msgspec.Struct, frozen=True):
    """A file that is to be checked."""

    path: str
    """Below the data folder."""
    label: str
    """Empty in a folder without classes."""
    part: str
    """train, val or test; empty where the data is not split."""


@dataclass(frozen=True)
class Listed:
    """What a data folder holds."""

    root: Path
    photographs: list[Photograph]
    odd: dict[str, dict[str, str]]
    """Kind of finding → {path: why}, of what is no photograph of a class."""

    @property
    def is_split(self) -> bool:
        """Say whether it is known what is for training and what for testing."""
        return any(photograph.part for photograph in self.photographs)


def list_data(data: Path | None, labels: str | None, split: Path | None) -> Listed:
    """List a folder of classes, of train, val and test with classes in each, or of photographs alone.

    With `labels`, a CSV inside the folder says the classes; with `split`, a split file says all. Raises `UsageError`
    where there is nothing to check.
    """
    if split is not None:
        if labels:
            raise UsageError("--split says the classes too; leave --labels out")
        listed = _of_split(data, split)
    elif data is None:
        raise UsageError("what to check? give a folder of photographs, or --split")
    elif not data.is_dir():
        raise UsageError(f"{data}: no such folder; give one with a folder of photographs a class")
    else:
        listed = _of_table(data, labels) if labels else _of_folders(data)
    if not listed.photographs:
        kinds = " ".join(sorted(IMAGE_SUFFIXES))
        raise UsageError(f"{listed.root}: no photographs in it; files named {kinds} are looked for")
    names = {display_name(photograph.path) for photograph in listed.photographs}
    odd = names - {photograph.path for photograph in listed.photographs}
    listed.odd.setdefault("unreadable", {}).update(dict.fromkeys(sorted(odd), "its name is not UTF-8; rename it"))
    return listed


def _of_split(data: Path | None, split: Path) -> Listed:
    recorded = read_split(split)
    root = data or Path(recorded.root)
    if not root.is_dir():
        raise UsageError(f"{root}: the photographs of {split} are not there; name the folder where they lie now")
    photographs = [
        Photograph(image.path, image.label, part) for part in PARTS for image in recorded.parts.get(part, [])
    ]
    return Listed(root, photographs, {})


def _of_table(data: Path, labels: str) -> Listed:
    images, left_out = read_labels(data, data / labels)
    odd: dict[str, dict[str, str]] = {"unlisted": {}, "bad-row": {}}
    for name, why in left_out.items():
        odd["unlisted" if why == NOT_IN_TABLE else "bad-row"][name] = why
    return Listed(data, [Photograph(image.path, image.label, "") for image in images], odd)


def _of_folders(data: Path) -> Listed:
    odd: dict[str, dict[str, str]] = {kind: {} for kind in ("unreadable", "empty-class", "stray", "nested")}

    def closed(error: OSError) -> None:
        odd["unreadable"][display_name(error.filename)] = f"cannot be read: {error.strerror}; check its permissions"

    folders = _folders(data, closed)
    parts = folders if {folder.name for folder in folders} == set(PARTS) else []
    if folders and not parts:
        presplit(data)  # refuses what is nearly split: its parts are no classes
    photographs: list[Photograph] = []
    for above in parts or [data]:
        part = above.name if parts else ""
        for folder in _folders(above, closed):
            photographs += _of_class(data, part, folder, odd, closed)
    beside = [str(path.relative_to(data)) for above in (data, *parts) for path in _pictures_in(above, closed)]
    if not folders:
        return Listed(data, [Photograph(path, "", "") for path in beside], odd)
    odd["stray"] = dict.fromkeys(beside, "lies beside the class folders, in none")
    return Listed(data, photographs, odd)


def _of_class(
    data: Path, part: str, folder: Path, odd: dict[str, dict[str, str]], closed: Callable[[OSError], None]
) -> list[Photograph]:
    """List the photographs of a class folder, and note what is odd about it."""
    label = display_name(folder.name)
    found = [path.relative_to(data) for path in images_below(folder, closed)]
    nested = [path for path in found if path.parent != folder.relative_to(data)]
    odd["nested"] |= {str(path): f"lies in a folder inside the class folder {label}" for path in nested}
    if not found:
        odd["empty-class"][str(folder.relative_to(data))] = "no photographs in this class folder"
    return [Photograph(str(path), label, part) for path in found]


def _folders(above: Path, closed: Callable[[OSError], None]) -> list[Path]:
    return [entry for entry in _entries(above, closed) if entry.is_dir()]


def _pictures_in(folder: Path, closed: Callable[[OSError], None]) -> list[Path]:
    entries = _entries(folder, closed)
    return [entry for entry in entries if entry.suffix.lower() in IMAGE_SUFFIXES and not entry.is_dir()]


def _entries(folder: Path, closed: Callable[[OSError], None]) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        closed(error)
        return []
