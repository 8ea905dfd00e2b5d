"""What was tagged in VoTT, the Visual Object Tagging Tool: its JSON of versions 1 and 2, and its project files."""

import json
import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

import msgspec

from facectl_runtime.errors import UsageError, one_line, reason
from facectl_runtime.image import MAX_SIDE
from facectl_runtime.sources import display_name

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""
Kind = Literal["image", "video", "frame"]
MAX_BYTES = 2**28  # of a JSON file: a million regions
_ASSET_FILE = "-asset.json"
_KINDS: dict[Any, Kind] = {2: "video", 3: "frame"}
_RECTANGLES = ("", "rect", "rectangle", "square")
_ID = re.compile(r"[\w-]{1,200}", re.ASCII)
_SCHEME = re.compile(r"(file|https?):", re.IGNORECASE)


class LeftOut(msgspec.Struct, frozen=True):
    """What gives no crop."""

    file: str
    """The picture below the folder of images; as the JSON has it, where none was found."""
    region: int | None
    """The region's number in its picture, from 1; None where the whole picture is left out."""
    why: str


@dataclass(frozen=True)
class Region:
    """A part of a picture that has tags."""

    number: int
    """From 1, in the order of the file."""
    tags: tuple[str, ...]
    box: Box | str
    """In pixels of the picture as it was shown, not clipped; or what is wrong with it."""
    shown: tuple[float, float] | None
    """Width and height of the picture as it was shown; None where the file does not say."""


@dataclass(frozen=True)
class Asset:
    """A picture, and what was tagged in it."""

    path: str
    """On the machine on which it was tagged, no longer encoded as a URL."""
    name: str
    kind: Kind
    encoded: bool
    """Whether `path` was a URL."""
    regions: Sequence[Region]
    """Those with tags."""
    untagged: int
    """How many regions have no tag."""


class _NotVottError(ValueError):
    """The file is no such JSON."""


def read_vott(source: Path) -> tuple[list[Asset], list[LeftOut]]:
    """Give (the pictures of a file or a folder of VoTT, the files of it that could not be read).

    A folder holds a project file, or one file an asset, or one export. A project file (`.vott`) has no regions: they
    are in the files of its assets, beside it. Raises `UsageError` where nothing of VoTT can be read.
    """
    files = _files(source) if source.is_dir() else [source]
    if len(files) > 1:
        return _asset_files(files)
    try:
        document = _load(files[0])
        if _is_project(files[0], document):
            return _project(files[0], document)
        return list(_assets(document)), []
    except _NotVottError as error:
        raise UsageError(f"{files[0]}: {error}; give what VoTT exports as JSON, or its project file") from error


def _files(folder: Path) -> list[Path]:
    """Choose which files of a folder to read."""
    try:
        there = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    except OSError as error:
        raise UsageError(f"{folder}: cannot be read ({error.strerror}); check its permissions") from error
    projects = [path for path in there if path.suffix.lower() == ".vott"]
    exports = [path for path in there if path.suffix.lower() == ".json" and not path.name.endswith(_ASSET_FILE)]
    assets = [path for path in there if path.name.endswith(_ASSET_FILE)]
    for chosen in (projects, exports if not assets else []):
        if len(chosen) > 1:
            some = ", ".join(display_name(path.name) for path in chosen[:5])
            raise UsageError(f"{folder}: it holds {len(chosen)} files that may be meant, {some}; give one of them")
    found = projects or assets or exports
    if not found:
        raise UsageError(f"{folder}: it holds no file of VoTT (.json, .vott); give the folder into which it exported")
    return found


def _asset_files(files: Sequence[Path]) -> tuple[list[Asset], list[LeftOut]]:
    """Read files that hold one asset each; one that is damaged costs no other."""
    assets, left_out = [], []
    for file in files:
        try:
            assets += list(_assets(_load(file)))
        except (_NotVottError, UsageError) as error:
            why = str(error).removeprefix(f"{file}: ")
            left_out.append(LeftOut(display_name(file.name), None, why))
    if not assets:
        why = left_out[0].why if left_out else "nothing is tagged in it"
        raise UsageError(f"{files[0]}: {why}, and no other of the {len(files)} files is any better")
    return assets, left_out


def _is_project(file: Path, document: Any) -> bool:
    """Tell a project, whose assets have no regions, from an export."""
    assets = _dict(document).get("assets")
    if not isinstance(assets, dict):
        return file.suffix.lower() == ".vott" and "frames" not in _dict(document)
    return not any(isinstance(asset, dict) and "asset" in asset for asset in assets.values())


def _project(file: Path, document: Any) -> tuple[list[Asset], list[LeftOut]]:
    """Read the files of a project's assets, which lie beside it under their ids."""
    files, left_out = [], []
    for key, asset in _dict(_dict(document).get("assets")).items():
        beside = file.with_name(f"{key}{_ASSET_FILE}") if _ID.fullmatch(key) else None
        if beside is not None and beside.is_file():
            files.append(beside)
        elif beside is None or _dict(asset).get("state") == 2:  # tagged; those that are not have no file
            name = _text(_dict(asset).get("name")) or _text(key)
            left_out.append(LeftOut(name, None, f"its regions are not there: no {_text(key)[:99]}{_ASSET_FILE}"))
    if not files:
        raise _NotVottError(f"a project without the files of its assets beside it, such as ID{_ASSET_FILE}")
    assets, damaged = _asset_files(files)
    return assets, left_out + damaged


def _load(file: Path) -> Any:
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{file}: cannot be read ({error.strerror}); give a JSON file or a folder of VoTT") from error
    if len(content) > MAX_BYTES:
        raise UsageError(f"{file}: over {MAX_BYTES:,} bytes; export fewer pictures at a time")
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _NotVottError(f"not JSON ({reason(error)[:200]})") from error


def _assets(document: Any) -> Iterator[Asset]:
    """Give the assets of a document, whichever of the layouts it has."""
    if not isinstance(document, dict):
        raise _NotVottError("not a file of VoTT: it has no frames and no assets")
    if isinstance(frames := document.get("frames"), dict):
        yield from (_frame(key, regions) for key, regions in frames.items())
    elif isinstance(assets := document.get("assets"), dict):
        yield from (_asset(_dict(each)) for each in assets.values())
    elif isinstance(document.get("asset"), dict):
        yield _asset(document)
    else:
        some = ", ".join(one_line(key)[:40] for key in list(document)[:5]) or "nothing"
        raise _NotVottError(f"not a file of VoTT: it has no frames and no assets, but {some}")


def _frame(key: str, regions: Any) -> Asset:
    """Read a frame of version 1: a picture, or of a video a number."""
    kind: Kind = "frame" if re.fullmatch(r"[\d.]+", key) else "image"
    return _of(key, key, kind, regions, None)


def _asset(document: dict[str, Any]) -> Asset:
    """Read an asset of version 2 with its regions."""
    asset = _dict(document.get("asset"))
    name = _text(asset.get("name"))
    kind = _KINDS.get(asset.get("type") if isinstance(asset.get("type"), int) else None, "image")
    if kind == "image" and re.search(r"#t=[\d.]+$", name):
        kind = "frame"
    return _of(_text(asset.get("path")) or name, name, kind, document.get("regions"), asset.get("size"))


def _of(path: str, name: str, kind: Kind, regions: Any, size: Any) -> Asset:
    path, name = _text(path), _text(name)
    read = [_region(number, _dict(each), size) for number, each in enumerate(_list(regions), 1)]
    tagged = [region for region in read if region.tags]
    return Asset(_decoded(path), name, kind, bool(_SCHEME.match(path)), tagged, len(read) - len(tagged))


def _region(number: int, region: dict[str, Any], size: Any) -> Region:
    """Read a region; of version 1, it says itself how large the picture was shown."""
    found = Region(number, _tags(region.get("tags")), "it has no box", None)
    size = region if size is None and "width" in region and "height" in region else size
    try:
        return replace(found, box=_box(region), shown=_shown(size))
    except ValueError as error:
        return replace(found, box=str(error))


def _tags(tags: Any) -> tuple[str, ...]:
    """Give the tags, each once; macOS and Windows write accents in two ways, which are one tag."""
    words = [_text(tag) for tag in ([tags] if isinstance(tags, str) else _list(tags))]
    return tuple(dict.fromkeys(word for word in (unicodedata.normalize("NFC", word).strip() for word in words) if word))


def _box(region: dict[str, Any]) -> Box:
    """Give a rectangle's own box, and of any other shape that around its points. Raises `ValueError`."""
    points = [_dict(point) for point in _list(region.get("points"))]
    own = _own_box(region)
    if points and (own is None or _text(region.get("type")).casefold() not in _RECTANGLES):
        x, y = ([_number(point.get(axis)) for point in points] for axis in "xy")
        return min(x), min(y), max(x), max(y)
    if own is None:
        raise ValueError("it has no box")
    if own[2] < own[0] or own[3] < own[1]:
        raise ValueError(f"its box has a negative size, {own[2] - own[0]:g} × {own[3] - own[1]:g}")
    return own


def _own_box(region: dict[str, Any]) -> Box | None:
    if isinstance(box := region.get("boundingBox"), dict):
        left, top, width, height = (_number(box.get(key)) for key in ("left", "top", "width", "height"))
        return left, top, left + width, top + height
    for corners in (region, _dict(region.get("box"))):
        if "x1" in corners:
            left, top, right, bottom = (_number(corners.get(key)) for key in ("x1", "y1", "x2", "y2"))
            return left, top, right, bottom
    return None


def _shown(size: Any) -> tuple[float, float] | None:
    if size is None:
        return None
    width, height = _number(_dict(size).get("width")), _number(_dict(size).get("height"))
    if width < 1 or height < 1:
        raise ValueError(f"the size of its picture is said to be {width:g} × {height:g}")
    return width, height


def _number(value: Any) -> float:
    """Take a number of pixels. Raises `ValueError` for anything that no picture has."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"its box has {one_line(repr(value))[:40]} where a number belongs")
    if not abs(value) <= MAX_SIDE:  # which NaN is not either
        shown = f"{value:g}" if isinstance(value, float) or abs(value) < 10**15 else "a number of many digits"
        raise ValueError(f"its box has {shown}; up to {MAX_SIDE:,} pixels are allowed")
    return float(value)


def _decoded(path: str) -> str:
    """Take a URL apart: its scheme goes, and of the web's the query, which may hold a key."""
    scheme = _SCHEME.match(path)
    if not scheme:
        return path
    rest = path[scheme.end() :]
    return unquote(rest if scheme[1].casefold() == "file" else re.split(r"[?#]", rest, maxsplit=1)[0])


def _text(value: Any) -> str:
    """Give text that can be written as UTF-8, or nothing; a number as it is written."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    if isinstance(value, float) and not math.isfinite(value):
        return ""
    return str(value).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
