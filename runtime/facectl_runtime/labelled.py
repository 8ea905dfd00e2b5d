"""Images with a true label: class folders, and the file that says which image is for training and which for testing."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from facectl_runtime.errors import UsageError, counted
from facectl_runtime.sources import display_name, images_below

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
        return Chosen(root, class_folders(root), f"all images {what}", hashes)
    chosen: Part = part or "test"
    if not parts.get(chosen):
        raise UsageError(f"{split or root}: it has no {chosen} images; use another --part")
    return Chosen(root, parts[chosen], f"the {chosen} part {what}", hashes)


def own_split(run: Path, data: Path | None) -> Path | None:
    """Give the split file of a run folder, where `data` is not given or holds a test photograph of that split.

    Its content decides: other photographs may have the same names.
    """
    path = run / "split.json"
    if not path.is_file() or data is None:
        return path if path.is_file() else None
    recorded = read_split(path)
    tests = ((data / item.path, recorded.hashes.get(item.path)) for item in recorded.parts.get("test", []))
    return path if any(_has_content(file, content) for file, content in tests) else None


def split_learnt(model: Path, data: Path | None) -> Path | None:
    """Give the split of the run that a model is, or was exported into, where that was trained on photographs of `data`.

    None where nothing was trained.
    """
    run = _trained_run(model)
    return own_split(run, data) if run else None


def flattery(model: Path, chosen: Chosen) -> str | None:
    """Say how many of the chosen images a model was trained on, or chosen by; None where none is, or nobody knows.

    It is known of a run and of what was exported into it. The content of the files decides.
    """
    run = _trained_run(model)
    if run is None:
        return None
    own = read_split(run / "split.json")
    seen = {own.hashes.get(image.path) for part in ("train", "val") for image in own.parts.get(part, [])} - {None}
    if not (known := sum(_content(chosen, image) in seen for image in chosen.images)):
        return None
    return f"{known:,} of {counted(len(chosen.images), 'image')} are of its own train and val parts: they flatter it"


def _trained_run(model: Path) -> Path | None:
    """Give the run that a model is, or was exported into.

    None where nothing was trained: an embedding that is used as it is has seen no photograph.
    """
    for run in (model, model.resolve().parent.parent):
        history = run / "history.csv"
        if history.is_file() and (run / "split.json").is_file():
            return run if len(history.read_bytes().splitlines()) > 1 else None  # a line an epoch, below its header
    return None


def _content(chosen: Chosen, image: Image) -> str | None:
    """Give the content hash of an image; None where it cannot be read."""
    try:
        return chosen.hashes.get(image.path) or content_hash(chosen.root / image.path)
    except OSError:
        return None


def _has_content(file: Path, content: str | None) -> bool:
    try:
        return content is not None and file.is_file() and content_hash(file) == content
    except OSError:
        return False


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
