"""The metadata of an ML Program in an .mlpackage folder, read without coremltools.

A package is a folder: `Manifest.json` lists the items below `Data` and says which one is the model, a message of
Model.proto; weights lie beside it. https://apple.github.io/coremltools/mlmodel/Format/Model.html
"""

import hashlib
import os
import stat
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from facectl_runtime.errors import ModelError, reason
from facectl_runtime.protobuf import fields, opened, text_entry

_MANIFEST, _DATA = "Manifest.json", "Data"
_DESCRIPTION, _FIRST_KIND, _ML_PROGRAM = 2, 200, 502  # field numbers of Model: from 200 on, what kind of model it is
_OTHERS = {
    "a pipeline; save each model of it as a package of its own": {200, 201, 202},
    "a neural network, Core ML's older kind; convert it again with convert_to='mlprogram'": {303, 403, 500},
}
_METADATA = 100  # of ModelDescription
_USER_DEFINED = 100  # of Metadata
_KIND = "a Core ML model"
_FINDER = ".DS_Store"  # the Finder leaves one in each folder that it shows


class _Item(msgspec.Struct):
    path: str
    """Below `Data`, with forward slashes."""


class _Manifest(msgspec.Struct, rename="camel"):
    root_model_identifier: str
    item_info_entries: dict[str, _Item]


def read_metadata(path: Path) -> dict[str, str]:
    """Read the user-defined metadata. Raises `ModelError` where it is no whole package that holds an ML Program."""
    found: dict[str, str] = {}
    kinds = set()
    with opened(model_file(path), _KIND) as data:
        for number, start, end in fields(data, 0, len(data)):
            if number == _DESCRIPTION:
                found |= _user_defined(data, start, end)
            elif number >= _FIRST_KIND:
                kinds.add(number)
        if not kinds:
            raise ValueError("it has no program")
    if kinds != {_ML_PROGRAM}:
        what = next((name for name, numbers in _OTHERS.items() if kinds & numbers), "of another kind; export it again")
        raise ModelError(f"{path}: only an ML Program can be read, and its model is {what}")
    return found


def model_file(path: Path) -> Path:
    """Find the model that the manifest of a package calls its root. Raises `ModelError`."""
    manifest = _manifest(path)
    root = manifest.item_info_entries.get(manifest.root_model_identifier)
    if root is None:
        raise _damaged(path, f"its {_MANIFEST} does not say which item is the model")
    return regular_file(path, _item(path, root))


def graph_digest(path: Path) -> str:
    """Give the SHA-256 over every file of a package by its name, but the model's own metadata. Raises `ModelError`.

    Of the manifest only the items' paths count and which one is the model: identifiers are drawn anew on each save.
    """
    root = model_file(path)
    items = sorted(str(_item(path, item)) for item in _manifest(path).item_info_entries.values())
    digest = hashlib.sha256()
    _add(digest, _MANIFEST, str([str(root.relative_to(path)), *items]).encode())
    for name in _files(path):
        if path / name == root:
            _add_model(digest, name, root)
        elif name != _MANIFEST:
            _add_file(digest, name, path / name)
    return digest.hexdigest()


def _manifest(path: Path) -> _Manifest:
    """Read the manifest, or say what stands at `path` in its place."""
    if not path.is_dir():
        raise ModelError(f"{path}: {_what_file(path)}")
    if not os.path.lexists(path / _MANIFEST):
        if (path / "coremldata.bin").exists():
            raise ModelError(f"{path}: a compiled Core ML model; give the .mlpackage that it was compiled from")
        raise _damaged(path, f"it has no {_MANIFEST}")
    file = regular_file(path, PurePosixPath(_MANIFEST))
    try:
        return msgspec.json.decode(file.read_bytes(), type=_Manifest)
    except OSError as error:
        raise _damaged(path, f"its {_MANIFEST} cannot be read: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _damaged(path, f"its {_MANIFEST} is not valid: {reason(error)}") from error


def _what_file(path: Path) -> str:
    """Say what a file is that stands where a package is expected, and what to do."""
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        return f"{error.strerror or error}; give the path of a model that can be read"
    if start.startswith(b"PK"):
        return "a zip archive of a package; unzip it, and give the .mlpackage folder in it"
    return "a file, and a Core ML package is a folder; give the .mlpackage folder"


def _item(path: Path, item: _Item) -> PurePosixPath:
    """Give an item's place in the package, and hold it to be inside."""
    place = PurePosixPath(item.path)
    if leads_away(place):
        raise _damaged(path, f"its {_MANIFEST} points outside of it, at {item.path[:200]!r}")
    return _DATA / place


def leads_away(place: PurePosixPath) -> bool:
    """Tell whether a place that is written down in a package may lie outside of it, on whatever system."""
    odd = any(mark in part for part in place.parts for mark in "\\:\0")
    return place.is_absolute() or ".." in place.parts or not place.parts or odd


def regular_file(path: Path, name: PurePosixPath) -> Path:
    """Give a file of the package, where it is one, and no link on the way to it leads elsewhere."""
    place = path
    for part in name.parts:
        place = place / part
        try:
            mode = place.lstat().st_mode
        except OSError as error:
            raise _damaged(path, f"{name}: {error.strerror}") from error
        if stat.S_ISLNK(mode):
            raise _linked(path, place)
    if not stat.S_ISREG(mode):
        raise _damaged(path, f"{name} is not a file")
    return place


def _files(path: Path) -> list[str]:
    """Give the name of every file of a package, sorted; a link may lead out of it, so none is allowed."""
    found = []
    for folder, inner, files in os.walk(path):
        for place in (Path(folder, name) for name in [*inner, *files]):
            if place.is_symlink():
                raise _linked(path, place)
        found += [Path(folder, name).relative_to(path).as_posix() for name in files if name != _FINDER]
    return sorted(found)


def _user_defined(data: Any, start: int, end: int) -> dict[str, str]:
    """Read the map out of a ModelDescription."""
    return dict(
        text_entry(data, *entry)
        for number, *metadata in fields(data, start, end)
        if number == _METADATA
        for inner, *entry in fields(data, *metadata)
        if inner == _USER_DEFINED
    )


def _add_model(digest: Any, name: str, file: Path) -> None:
    """Add all of a Model but its description's metadata."""
    with opened(file, _KIND) as data:
        for number, start, end in fields(data, 0, len(data)):
            if number == _DESCRIPTION:
                for inner, first, last in fields(data, start, end):
                    if inner != _METADATA:
                        _add(digest, f"{name}:{number}.{inner}", data[first:last])
            else:
                with memoryview(data) as view:
                    _add(digest, f"{name}:{number}", view[start:end])


def _add_file(digest: Any, name: str, file: Path) -> None:
    place = regular_file(file.parent, PurePosixPath(file.name))
    try:
        with place.open("rb") as opened_file:
            inner = hashlib.file_digest(opened_file, "sha256").digest()
    except OSError as error:
        raise ModelError(f"{file}: {error.strerror}; copy the model again") from error
    _add(digest, name, inner)


def _add(digest: Any, name: str, value: Any) -> None:
    """Add a value with its name; lengths keep one from running into the next."""
    key = name.encode("utf-8", "surrogateescape")
    digest.update(b"%d:%s:%d:" % (len(key), key, len(value)))
    digest.update(value)


def _damaged(path: Path, what: str) -> ModelError:
    return ModelError(f"{path}: not {_KIND}, or a damaged one ({what}); copy or export it again")


def _linked(path: Path, place: Path) -> ModelError:
    return ModelError(
        f"{path}: {place.relative_to(path)} in it is a symbolic link; copy what it leads to, or export it again"
    )
