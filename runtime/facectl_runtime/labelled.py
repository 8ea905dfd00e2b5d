"""Images with a true label: class folders, and the file that says which image is for training and which for testing."""

import hashlib
from collections import Counter
from pathlib import Path
from typing import Literal

import msgspec

from facectl_runtime.errors import UsageError
from facectl_runtime.sources import display_name, images_below

Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = ("train", "val", "test")


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

    Raises `UsageError` where the folder is missing, holds no folder, or one of its folders holds no image.
    """
    if not data.is_dir():
        raise UsageError(f"{data}: no such folder; --data takes a folder with one folder of images a class")
    folders = sorted(entry for entry in data.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    images = [
        Image(str(path.relative_to(data)), display_name(folder.name))
        for folder in folders
        for path in images_below(folder)
    ]
    counts = Counter(image.label for image in images)
    empty = [folder.name for folder in folders if not counts[display_name(folder.name)]]
    if not folders:
        raise UsageError(f"{data}: it holds no folders; put the images of each class into a folder named for the class")
    if empty:
        raise UsageError(f"{data}: no images in the class folder {', '.join(empty)}; add some, or remove the folder")
    return images


def presplit(data: Path) -> dict[Part, list[Image]] | None:
    """List the images of a folder that is split already, into train/, val/ and test/ with class folders in each."""
    if not data.is_dir() or {entry.name for entry in data.iterdir() if entry.is_dir()} != set(PARTS):
        return None
    return {
        part: [Image(str(Path(part, image.path)), image.label) for image in class_folders(data / part)]
        for part in PARTS
    }


def choose_images(data: Path | None, split: Path | None, part: str) -> tuple[Path, list[Image]]:
    """Give (data folder, images) to measure on: a part of a split file, of a split folder, or a whole folder.

    `data` is where the images of `split` lie now, if they were moved. Raises `UsageError`.
    """
    if part not in PARTS:
        raise UsageError(f"--part {part!r} is not known; use {', '.join(PARTS)}")
    if split is not None:
        chosen = read_split(split)
        if not chosen.parts.get(part):
            raise UsageError(f"{split}: it has no {part} images; use another --part")
        return data or Path(chosen.root), chosen.parts[part]
    if data is None:
        raise UsageError("an exported file needs --data, a folder with one folder of images a class")
    parts = presplit(data)
    return data, parts[part] if parts else class_folders(data)


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
