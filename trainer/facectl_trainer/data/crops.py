"""Crops of what was tagged in photographs, in a folder for each tag."""

import math
from collections import Counter, defaultdict
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from PIL import Image

from facectl_runtime.devices import usable_cores
from facectl_runtime.errors import ImageError, UsageError, describe, one_line
from facectl_runtime.image import decode_with_header
from facectl_runtime.names import Names, folder_name
from facectl_runtime.sources import IMAGE_SUFFIXES, display_name
from facectl_trainer.data.contents import Progress
from facectl_trainer.data.files_below import FilesBelow
from facectl_trainer.data.tree import check_apart, check_new, new_folder
from facectl_trainer.data.vott import Asset, Box, LeftOut, Region, read_vott

LEAST = 10
"""Least width and height of a region, in pixels of its picture."""
MOST_MARGIN = 10.0
_Size = tuple[int, int]
_Pixels = tuple[int, int, int, int]
"""Left, top, right, bottom; the last two are the first that are no longer in it."""
_COMPRESSION = 1  # of PNG: five times as fast as the usual 6, for files a sixth larger
_NO_PICTURE = "no such picture below the folder of images"
_VIDEO = "a frame of a video; export it as a picture of that name, or cut the video into pictures and tag those"


@dataclass(frozen=True)
class Shape:
    """How a region becomes a crop."""

    square: bool = False
    """Grown to a square around its centre, shifted to stay inside the picture, as far as the picture reaches."""
    margin: float = 0.0
    """Share of its width and height that is added on each side."""


@dataclass(frozen=True)
class Cut:
    """What was cut out of photographs."""

    pictures: int
    """How many gave a crop."""
    crops: dict[str, int]
    """Tag → crops."""
    several_tags: int
    """Regions with a crop under each of their tags."""
    untagged: int
    """Regions without a tag, of which nothing is made."""
    renamed: dict[str, str]
    """Tag → the folder's name, where they differ."""
    left_out: list[LeftOut]


@dataclass(frozen=True)
class _Crop:
    name: str
    region: Region


@dataclass(frozen=True)
class _Picture:
    path: Path
    crops: Sequence[_Crop]


def cut_crops(source: Path, images: Path | None, out: Path, shape: Shape, progress: Progress) -> Cut:
    """Write a PNG for each region tagged in VoTT to `out`/tag; what cannot be cut is told and costs no other.

    `images` is the folder that holds the photographs, by default that of the JSON; nothing outside is read. The same
    data gives the same names: `photo.png`, `photo-2.png` for a photograph's second region, and so on where another
    photograph has the same name. Raises `UsageError` where `out` is there or cannot be written, where nothing of VoTT
    can be read, and where there is no crop at all.
    """
    check_new(out)
    if not (math.isfinite(shape.margin) and 0 <= shape.margin <= MOST_MARGIN):
        raise UsageError(f"--margin {shape.margin}: a share of the region from 0 to {MOST_MARGIN:g} is allowed")
    assets, left_out = read_vott(source)
    root = images or (source if source.is_dir() else source.parent)
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder; give the one that holds the photographs with --images")
    check_apart(out, root)
    found, not_found = _find(root, assets)
    pictures = list(_named(found))
    folders, unusable = _folders({tag for asset in assets for region in asset.regions for tag in region.tags})
    done: list[tuple[_Picture, list[_Crop]]] = []
    with new_folder(out) as folder:
        with (  # closed before the folder is removed, wherever this is interrupted
            progress("cutting", len(pictures)) as advance,
            closing(_in_order(root, folder, pictures, folders, shape)) as cutting,
        ):
            for picture, made, lost in cutting:
                done.append((picture, made))
                not_found += lost
                advance(1)
        left_out = [*left_out, *not_found, *_of_bad_tags(pictures, unusable)]
        if not any(made for _, made in done):
            why = describe(left_out_lines(left_out))
            raise UsageError(f"{source}: no region with a tag gives a crop: {why}")
    regions = [[tag for tag in crop.region.tags if tag in folders] for _, made in done for crop in made]
    return Cut(
        sum(bool(made) for _, made in done),
        dict(sorted(Counter(tag for tags in regions for tag in tags).items())),
        sum(len(tags) > 1 for tags in regions),
        sum(asset.untagged for asset in assets),
        {tag: name for tag, name in sorted(folders.items()) if tag != name},
        sorted(left_out, key=lambda each: (each.file, each.region or 0, each.why)),
    )


def left_out_lines(left_out: Iterable[LeftOut]) -> dict[str, str]:
    """Give {file and region: why}, for `errors.describe`."""
    return {_where(each): each.why for each in left_out}


def pixels_of(box: Box, shown: tuple[float, float] | None, size: _Size, orientation: int) -> Box:
    """Bring a box from the picture as it was shown to the picture turned upright, whose `size` is (width, height).

    VoTT shows pictures upright in some versions, and as they are stored in others, at their own size or a smaller one;
    the size shown tells. Where the EXIF orientation (5 to 8) swaps width and height, and their ratio as shown is nearer
    to that of the stored picture than to that of the upright one, it was shown as it is stored: the box is scaled to
    that, each direction for itself, and turned with it. Else it was shown upright, and the box is scaled alone. What
    cannot be told, a picture on its head (2 to 4) or a square one, counts as shown upright.
    """
    if shown is None:
        return box
    width, height = size
    as_stored = orientation >= 5 and (shown[0] - shown[1]) * (width - height) < 0  # one is upright, the other lies
    across, down = (height, width) if as_stored else size
    box = _scaled(box, across / shown[0], down / shown[1])
    if not as_stored:
        return box
    corners = [_turned(x, y, size, orientation) for x, y in (box[:2], box[2:])]
    (left, right), (top, bottom) = (sorted(values) for values in zip(*corners, strict=True))
    return left, top, right, bottom


def _scaled(box: Box, across: float, down: float) -> Box:
    return box[0] * across, box[1] * down, box[2] * across, box[3] * down


def place(box: Box, size: _Size, shape: Shape) -> _Pixels | str:
    """Give the crop's place in a picture of `size`, whole pixels inside of it; or why there is none."""
    clipped = [_clipped(box[axis], box[axis + 2], size[axis]) for axis in (0, 1)]
    width, height = (high - low for low, high in clipped)
    if width <= 0 or height <= 0:
        return f"it lies outside of the picture, which has {size[0]} × {size[1]} pixels"
    if min(width, height) < LEAST:
        return f"it is {width} × {height} pixels of the picture; at least {LEAST} on each side are needed"
    grown = [(high - low) * (1 + 2 * shape.margin) for low, high in clipped]
    if shape.square:
        spans = [_shifted(*clipped[axis], max(grown), size[axis]) for axis in (0, 1)]
    else:
        extra = [(grown[axis] - (clipped[axis][1] - clipped[axis][0])) / 2 for axis in (0, 1)]
        spans = [_clipped(clipped[a][0] - extra[a], clipped[a][1] + extra[a], size[a]) for a in (0, 1)]
    (left, right), (top, bottom) = spans
    return left, top, right, bottom


def _clipped(low: float, high: float, limit: int) -> tuple[int, int]:
    return min(max(_round(low), 0), limit), min(max(_round(high), 0), limit)


def _shifted(low: int, high: int, length: float, limit: int) -> tuple[int, int]:
    """Give a span of `length`, at most `limit`, around the middle of another, shifted to stay between 0 and `limit`."""
    whole = min(_round(length), limit)
    start = min(max(_round((low + high - whole) / 2), 0), limit - whole)
    return start, start + whole


def _round(value: float) -> int:
    return math.floor(value + 0.5)


def _turned(x: float, y: float, size: _Size, orientation: int) -> tuple[float, float]:
    """Turn a point of the stored picture as its EXIF orientation, 5 to 8, turns the picture to `size`."""
    width, height = size
    return {5: (y, x), 6: (width - y, x), 7: (width - y, height - x), 8: (y, height - x)}[orientation]


def _find(root: Path, assets: Iterable[Asset]) -> tuple[dict[Path, list[Asset]], list[LeftOut]]:
    """Give ({picture below `root`: what was tagged in it}, what has no picture), for what has regions with tags."""
    files = FilesBelow(root)
    claims: dict[Path, list[tuple[int, Asset]]] = defaultdict(list)
    left_out = []
    for asset in assets:
        if asset.regions:
            found = _picture_of(root, files, asset)
            if isinstance(found, str):
                left_out.append(LeftOut(_shown(asset), None, found))
            else:
                claims[found[0]].append((found[1], asset))
    pictures = {}
    for path, claimed in claims.items():
        best = max(agreeing for agreeing, _ in claimed)
        nearest = [asset for agreeing, asset in claimed if agreeing == best]
        several = len({asset.path for asset in nearest}) > 1
        if not several:
            pictures[path] = nearest
        why = (
            f"{len(nearest)} pictures of the JSON fit {one_line(display_name(path))}; keep them in folders as they were"
        )
        left_out += [
            LeftOut(_shown(asset), None, why if several and agreeing == best else _NO_PICTURE)
            for agreeing, asset in claimed
            if several or agreeing < best
        ]
    return pictures, left_out


def _picture_of(root: Path, files: FilesBelow, asset: Asset) -> tuple[Path, int] | str:
    """Give (the picture below `root`, how many parts of its path agree), or why there is none."""
    if asset.kind == "video":
        return "a video; cut it into pictures and tag those"
    if asset.kind == "frame":
        return _exported_frame(root, files, asset.name)
    found = files.find_tail(asset.path)
    if isinstance(found, str) and not asset.encoded and "%" in asset.path:
        found = files.find_tail(unquote(asset.path))
    return _NO_PICTURE if found == "no such image" else found


def _exported_frame(root: Path, files: FilesBelow, name: str) -> tuple[Path, int] | str:
    """Find the picture that VoTT exported of a video's frame: it has the frame's name, such as `clip.mp4#t=1.5`."""
    found = files.find(name)
    if isinstance(found, Path):
        return found, 1
    is_name = bool(name) and PurePosixPath(name).name == name and "\\" not in name and "\0" not in name
    return (Path(name), 1) if is_name and name != ".." and (root / name).is_file() else _VIDEO


def _named(found: Mapping[Path, Sequence[Asset]]) -> Iterator[_Picture]:
    """Name each crop after its photograph; what is left out later takes its number with it."""
    names = Names()
    for path, assets in sorted(found.items()):
        regions = [region for asset in assets for region in asset.regions]
        stem = path.stem if path.suffix.lower() in IMAGE_SUFFIXES else path.name  # a frame, such as clip.mp4#t=1.5
        yield _Picture(path, [_Crop(names.give(stem, ".png"), region) for region in regions])


def _folders(tags: Iterable[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Give ({tag: name of its folder}, {tag: why it has none})."""
    folders, unusable = {}, {}
    for tag in sorted(tags):
        try:
            folders[tag] = folder_name(tag)
        except UsageError as error:
            unusable[tag] = str(error)
    return folders, unusable


def _of_bad_tags(pictures: Iterable[_Picture], unusable: Mapping[str, str]) -> Iterator[LeftOut]:
    for picture in pictures:
        for crop in picture.crops:
            for tag in crop.region.tags:
                if tag in unusable:
                    yield LeftOut(display_name(picture.path), crop.region.number, unusable[tag])


def _in_order(
    root: Path, folder: Path, pictures: Sequence[_Picture], folders: Mapping[str, str], shape: Shape
) -> Generator[tuple[_Picture, list[_Crop], list[LeftOut]], None, None]:
    """Cut pictures on every core, each decoded once; give (picture, crops written, what was left out of it)."""
    with ThreadPoolExecutor(usable_cores(), "crops") as pool:
        waiting = [pool.submit(_cut, root, folder, picture, folders, shape) for picture in pictures]
        try:
            for picture, future in zip(pictures, waiting, strict=True):
                yield picture, *future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _cut(
    root: Path, folder: Path, picture: _Picture, folders: Mapping[str, str], shape: Shape
) -> tuple[list[_Crop], list[LeftOut]]:
    file = display_name(picture.path)
    made, left_out = [], []
    try:
        image, header = decode_with_header(root / picture.path)
    except ImageError as error:
        return [], [LeftOut(file, None, str(error))]
    except MemoryError:
        return [], [LeftOut(file, None, "takes more memory than this machine has; scale it down")]
    for crop in picture.crops:
        box = crop.region.box
        if not isinstance(box, str):
            box = pixels_of(box, crop.region.shown, image.size, header.orientation)
        where = box if isinstance(box, str) else place(box, image.size, shape)
        if isinstance(where, str):
            left_out.append(LeftOut(file, crop.region.number, where))
        elif targets := [folder / folders[tag] for tag in crop.region.tags if tag in folders]:
            _save(image.crop(where), crop.name, targets)
            made.append(crop)
    return made, left_out


def _save(crop: Image.Image, name: str, targets: Iterable[Path]) -> None:
    crop.info = {}  # the pixels are sRGB by now, and the photograph's own profile would change them once more
    for target in targets:
        target.mkdir(exist_ok=True)
        crop.save(target / name, compress_level=_COMPRESSION)


def _shown(asset: Asset) -> str:
    return asset.path or asset.name or "a picture without a name"


def _where(left_out: LeftOut) -> str:
    return left_out.file if left_out.region is None else f"{left_out.file}, region {left_out.region}"
