"""A new folder of images: whole or not at all, each image copied or linked, each class in a folder of its name."""

import os
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from facectl_runtime.errors import UsageError
from facectl_runtime.files import scratch_beside, swap_in
from facectl_runtime.labelled import Image, Part
from facectl_runtime.names import Names, folder_name
from facectl_trainer.data.contents import Progress


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Give an empty folder to fill, which becomes `out` at the end; where an error ends it, nothing is left.

    Raises `UsageError` where something stands at `out` already, or where it cannot be written.
    """
    check_new(out)
    with scratch_beside(out) as scratch:
        folder = scratch / "new"
        folder.mkdir()
        yield folder
        swap_in(folder, out)


def check_new(out: Path, option: str = "--to") -> None:
    """Raise `UsageError` where `out`, which `option` gave, is there already and is no empty folder."""
    if os.path.lexists(out) and not (out.is_dir() and not any(out.iterdir())):
        raise UsageError(f"{out}: already there; give another {option}, or remove it")


def check_apart(out: Path, root: Path, option: str = "--to") -> None:
    """Raise `UsageError` where `out`, which `option` gave, lies inside the data that it is made from."""
    if out.resolve().is_relative_to(root.resolve()):
        raise UsageError(f"{out}: lies inside {root}, which stays as it is; give another {option}")


def fill(
    folder: Path,
    root: Path,
    parts: Mapping[Part, Sequence[Image]] | Mapping[str, Sequence[Image]],
    link: bool,
    progress: Progress,
) -> None:
    """Place the images of each part, which lie below `root`, into `folder`/part/class.

    Of one name from several folders, the first keeps it; no two images of a class have the same name.
    """
    names: dict[str, Names] = defaultdict(Names)
    with progress("linking" if link else "copying", sum(map(len, parts.values()))) as advance:
        for part, images in parts.items():
            for image in images:
                path = Path(image.path)
                name = names[image.label].give(path.stem, path.suffix)
                place(root / path, folder / part / folder_name(image.label) / name, link)
                advance(1)


def place(source: Path, target: Path, link: bool) -> None:
    """Copy a file to `target`, with its times, or let a symbolic link there lead to it; makes the folders above."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if link:
        target.symlink_to(source.resolve())
    else:
        shutil.copy2(source, target)
