"""On which photographs a threshold is chosen: none that the model was trained on, and each counted once."""

from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from facectl_runtime.errors import UsageError, counted, few
from facectl_runtime.labelled import Chosen, Image, choose_images, class_folders, presplit
from facectl_runtime.learnt import flattery, trained_split
from facectl_runtime.sources import images_below, refuse_link


def choose_photographs(model: Path, data: Path | None, split: Path | None, part: str | None) -> Chosen:
    """Give a part of a split, or else a whole folder.

    Of a run that was trained on photographs of `data`, and of what was exported into it, the part of its own split;
    val where `part` is None: to choose by is what that part is for. Raises `UsageError`.
    """
    own = split or trained_split(model, data)
    chosen = choose_images(data, own, part or ("val" if own or (data and presplit(data)) else None))
    if own and not split and not any((chosen.root / image.path).is_file() for image in chosen.images):
        raise UsageError(
            f"{data}: {model} was trained or tested on photographs in it, and those of {chosen.what} are not there; "
            "give the folder that they lie in, or photographs of others"
        )
    return chosen


def check_new(model: Path, chosen: Chosen, part: str | None) -> str | None:
    """Refuse photographs that a model was trained on: raise `UsageError`, or say so where that part was asked for.

    `chosen` has their contents: see `copies.hashed`.
    """
    said = flattery(model, chosen, ("train",))
    if said and part is None:
        raise UsageError(
            f"{chosen.what}: {said}, so that what is measured would not hold for others; give --split RUN/split.json "
            "for its val part, or photographs of others"
        )
    return said


def known_and_unknown(
    labels: Sequence[str], chosen: Chosen, data: Path | None, unknown: Path | None
) -> tuple[Chosen, Chosen]:
    """Part images into those of a model's classes and those of other things, whose labels are groups.

    The others are those in the folder `unknown`, or else what `chosen` or `data` has of classes that the model has not.
    Raises `UsageError` where there are none of either.
    """
    known = [each for each in chosen.images if each.label in labels]
    if not known:
        raise UsageError(
            f"{chosen.root}: none of its images are of the model's classes, so that right answers cannot be counted; "
            f"it has {few(labels)}"
        )
    if unknown:
        passed = len(chosen.images) - len(known)
        but = f" but {counted(passed, 'image')} of classes that it has not" if passed else ""
        return replace(chosen, images=known, what=f"{chosen.what}{but}"), _grouped(unknown)
    others = [each for each in chosen.images if each.label not in labels]
    if not others and data is not None and presplit(data) is None:
        # A split has the model's own classes alone; what else lies beside them was no part of it.
        others = [each for each in class_folders(data) if each.label not in labels]
    if not others:
        raise UsageError(
            f"{chosen.what}: all are of the model's classes; give images of other things with --unknown DIR, or "
            "--data, a folder that has other classes too"
        )
    return replace(chosen, images=known), replace(chosen, images=others, hashes={})


def _grouped(folder: Path) -> Chosen:
    """List images of other things, those of one folder below being a group. Raises `UsageError`."""
    if not folder.is_dir():
        raise UsageError(f"--unknown {folder}: no such folder; give one of images of other things")
    # A folder in it may be a link, as one of --data may.
    groups = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    images = [
        Image(str(path.relative_to(folder)), group.name)
        for group in groups
        for path in images_below(group, on_link=refuse_link)
    ]
    images += [Image(path.name, path.name) for path in images_below(folder) if path.parent == folder]
    if not images:
        raise UsageError(f"--unknown {folder}: no images in it; give images of other things")
    return Chosen(folder, images, f"all images of {folder}", {})
