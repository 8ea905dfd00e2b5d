"""Images with a true label: class folders, and the file that says which image is for training and which for testing."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from facectl_runtime.errors import UsageError
from facectl_runtime.sources import IMAGE_SUFFIXES, display_name, images_below, refuse_link

Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = ("train", "val", "test")
CHANGED = "changed since the split was made"
"""Why an image is left out whose content is no longer the one that a split file names."""
_PART_NAMES = {*PARTS, "training", "valid", "validation", "testing"}


class Image(msgspec.Struct, frozen=True):
    """A photograph of a known class."""

    path: str
    """Relative to the data folder."""
    label: str


class Split(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which image is for what. Written as `split.json` in a run folder."""

    root: str
    """The data folder, absolute, as it was."""
    parts: dict[Part, list[Image]]
    hashes: dict[str, str]
    """Path to the SHA-256 of the file's bytes."""


def class_folders(data: Path) -> list[Image]:
    """List the images of `data`, in which every folder is a class and its name the label.

    Such a folder may be a link. Raises `UsageError` where the folder is missing, holds no folder, or one of its folders
    holds no image, or a link to another folder, which is not followed.
    """
    if not data.is_dir():
        raise UsageError(f"{data}: no such folder; --data takes a folder with one folder of images a class")
    folders = sorted(entry for entry in data.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    images = [
        Image(str(path.relative_to(data)), display_name(folder.name))
        for folder in folders
        for path in images_below(folder, on_link=refuse_link)
    ]
    counts = Counter(image.label for image in images)
    empty = [folder.name for folder in folders if not counts[display_name(folder.name)]]
    if not folders:
        raise UsageError(f"{data}: it holds no folders; put the images of each class into a folder named for the class")
    if empty:
        raise UsageError(f"{data}: no images in the class folder {', '.join(empty)}; add some, or remove the folder")
    return images


def beside_folders(data: Path) -> dict[str, str]:
    """Find the images that lie in `data` beside its class folders: path → why they are left out."""
    names = sorted(path.name for path in data.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    shown = (display_name(name) for name in names if not name.startswith("."))
    return dict.fromkeys(shown, "beside the class folders, so of no class")


def presplit(data: Path) -> dict[Part, list[Image]] | None:
    """List the images of a folder that is split already, into train, val and test with class folders in each.

    None where it is not. Raises `UsageError` where it nearly is.
    """
    if not data.is_dir():
        return None
    folders = {entry.name for entry in data.iterdir() if entry.is_dir() and not entry.name.startswith(".")}
    if folders != set(PARTS):
        if len(folders & _PART_NAMES) > 1:
            raise UsageError(
                f"{data}: it looks split already, but its folders are {', '.join(sorted(folders))}; name them "
                f"{', '.join(PARTS)}, and keep nothing beside them"
            )
        return None
    return {
        part: [Image(str(Path(part, image.path)), image.label) for image in class_folders(data / part)]
        for part in PARTS
    }


class Chosen(msgspec.Struct, frozen=True):
    """Images to measure on."""

    root: Path
    """The data folder."""
    images: Sequence[Image]
    what: str
    """What they are, in words."""
    hashes: Mapping[str, str]
    """Path → SHA-256 of the content that a split file names; empty where there is no such file."""


def choose_images(data: Path | None, split: Path | None, part: str | None) -> Chosen:
    """Give the images to measure on: a part of a split, or else a whole folder.

    `split` is a split file, and `data` then where its photographs lie now, if they were moved; without it `data` may
    be split into train, val and test itself. `part` is test where it is None. Raises `UsageError`.
    """
    parts: dict[Part, list[Image]] | None
    hashes: Mapping[str, str] = {}
    if part not in (None, *PARTS):
        raise UsageError(f"--part {part!r} is not known; use {', '.join(PARTS)}")
    if split is not None:
        recorded = read_split(split)
        root, parts, what, hashes = data or Path(recorded.root), recorded.parts, f"of {split}", recorded.hashes
        if not root.is_dir():
            raise UsageError(f"{root}: the photographs of {split} are not there; give their new place with --data")
    elif data is not None:
        root, parts, what = data, presplit(data), f"of {data}"
    else:
        raise UsageError("what to measure on? give --data, a folder with a folder of images a class, or --split")
    if parts is None:
        if part is not None:
            raise UsageError(f"--part {part}: {root} is not split; give --split, or leave --part out")
        images, strays = class_folders(root), len(beside_folders(root))
        but = f" but {strays:,} beside its class folders" if strays else ""
        return Chosen(root, images, f"all images {what}{but}", hashes)
    chosen: Part = part or "test"
    if not parts.get(chosen):
        raise UsageError(f"{split or root}: it has no {chosen} images; use another --part")
    return Chosen(root, parts[chosen], f"the {chosen} part {what}", hashes)


def read_split(path: Path) -> Split:
    """Read a split file. Raises `UsageError` where there is none or it is damaged."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Split)
    except OSError as error:
        raise UsageError(
            f"{path}: {error.strerror}; a run folder that `facectl train` wrote has a split.json"
        ) from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path}: not a split file ({error}); train again to write one") from error


def content_hash(path: Path) -> str:
    """Give the SHA-256 of a file's bytes, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
