"""From a picture file to the graph's uint8 RGB input: the one decode and resize of training, calibration and running.

Every step is written down in docs/preprocessing.md and held by the vectors in docs/vectors; change the three together.
"""

import logging
import re
import stat
import warnings
from functools import lru_cache
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from facectl_runtime.errors import ImageError
from facectl_runtime.spec import CenterCrop, FaceAlign, InputSpec, Letterbox

if TYPE_CHECKING:
    from PIL.ImageCms import ImageCmsTransform

Pixels = npt.NDArray[np.uint8]
Box = tuple[float, float, float, float]

DECODE_VERSION = 1
"""Raised with every change that moves a pixel: what was computed from the pixels is then computed again."""
MAX_BYTES = 2**29
"""Largest file, in bytes."""
MAX_PIXELS = 2**27
"""Most pixels in a picture: a photograph of 108 megapixels passes."""
MAX_SIDE = 65_535
"""Longest side in pixels, which is JPEG's own limit: a resize's table of weights grows with the side alone."""
MAX_PROFILE = 2**22
"""Largest ICC profile that is looked at, in bytes; those for print take one or two million."""
REDUCED_ROOM = 3
"""A JPEG is decoded at reduced scale where this many times the pixels needed are left in each direction.

Of photographs, the input then differs from that of a full decode by 5 grey levels at most; with 2 it would be 11.
"""

# Pillow module → how its files begin. Naming the reader, rather than asking Image.open, imports one plugin of forty,
# and leaves out those that run programs, such as EPS.
_SIGNATURES = {
    "Jpeg": rb"\xff\xd8\xff",
    "Png": rb"\x89PNG\r\n\x1a\n",
    "WebP": rb"RIFF....WEBP",
    "Gif": rb"GIF8[79]a",
    "Bmp": rb"BM",
    "Tiff": rb"II[*+]\0|MM\0[*+]",
    "Ppm": rb"P[1-6]\s",
}
TOO_MUCH = "takes more memory than this machine has; scale it down"
_FORMATS = "JPEG, PNG, WebP, GIF, BMP, TIFF, PPM, AVIF, HEIC"
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Pillow warns of sizes and tags that are judged here; a warning would stand among the answers. `catch_warnings` is not
# for threads, so the filter is set once, and only for Pillow's readers.
warnings.filterwarnings("ignore", module=r"PIL\.(Image|\w+ImagePlugin)$")
logging.getLogger("PIL").addHandler(logging.NullHandler())  # else Python prints the errors that Pillow logs


class Header(NamedTuple):
    """What a picture file says of its pixels before they are decoded."""

    format: str
    mode: str
    """Pillow's name of the kind of pixels, such as RGB, L, P, CMYK, I;16."""
    transparent: bool
    width: int
    height: int
    """In pixels, as they are stored: before it is turned upright."""
    orientation: int
    """EXIF, 1 to 8; 1 of a TIFF, which Pillow turns by itself."""


def decode(source: Path | bytes, spec: InputSpec | None = None) -> Image.Image:
    """Read a picture: its first frame, upright, in sRGB, transparency on white, mode RGB.

    With `spec`, a JPEG may come at 1/2, 1/4 or 1/8 of its size, so use the result for that `spec` alone. Raises
    `ImageError` whatever the file holds.
    """
    return decode_with_header(source, spec)[0]


def decode_with_header(
    source: Path | bytes, spec: InputSpec | None = None, *, grey: bool = False
) -> tuple[Image.Image, Header]:
    """Read a picture as `decode` does, and what its file says of itself. Raises `ImageError`.

    With `grey` it comes in mode L: the luma of a JPEG as it is stored, which spares the rest, and else that of the
    RGB picture. To compare pictures by, and no input of a model.
    """
    data = source if isinstance(source, bytes) else read(source)
    try:
        image = _open(data)
        stored = (image.format or "", image.mode, image.has_transparency_data, *image.size)
        _reduce_jpeg(image, spec, "L" if grey else None)
        image, orientation = _upright(image)
        if not (grey and image.mode == "L" and stored[0] == "JPEG"):
            image = _to_rgb(image).convert("L") if grey else _to_rgb(image)
        return image, Header(*stored, orientation)
    except (ImageError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(f"the picture has more than {MAX_PIXELS} pixels; scale it down") from error
    except Exception as error:  # Pillow's readers raise nearly every kind when the bytes are damaged
        raise ImageError(f"the picture is damaged ({_one_line(error)}); save it again as JPEG or PNG") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Bring a picture that Pillow has opened, or made, to what `decode` gives of its file. Raises `ImageError`."""
    try:
        return _to_rgb(_upright(image)[0])
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # Pillow reads the pixels only now
        raise ImageError(f"the picture is damaged ({_one_line(error)}); save it again as JPEG or PNG") from error


def to_input(image: Image.Image | Pixels, spec: InputSpec, landmarks: npt.ArrayLike | None = None) -> Pixels:
    """Bring an RGB picture (or uint8 array, height x width x 3) to the model's size: uint8, height x width x 3.

    `landmarks` are for `face_align` alone: five points (x, y) in pixels of `image`, whose left upper corner is (0, 0)
    and whose first pixel has its centre at (0.5, 0.5). Without them, the face that the picture is of is looked for.
    Raises `ImageError`, also where there is none, and `UsageError` where the detector's weights are not here.
    """
    image = _as_image(image)
    if isinstance(spec.resize, FaceAlign):
        from facectl_runtime.faces.align import align

        return align(image, spec.width, spec.height, spec.resize, landmarks)
    box, size = _region(image.size, spec)
    image = scaled(image, box, size)
    if isinstance(spec.resize, Letterbox):
        red, green, blue = spec.resize.fill
        ground = Image.new("RGB", (spec.width, spec.height), (red, green, blue))
        ground.paste(image, ((spec.width - size[0]) // 2, (spec.height - size[1]) // 2))
        image = ground
    return np.array(image)


def read(path: Path) -> bytes:
    """Give the bytes of a picture file. Raises `ImageError` for what is no regular file or too long."""
    try:
        status = path.stat()
        if stat.S_ISREG(status.st_mode) and status.st_size <= MAX_BYTES:
            return path.read_bytes()
    except MemoryError as error:
        raise ImageError(TOO_MUCH) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or _one_line(error)
        raise ImageError(f"cannot be read: {reason}; check the path and its permissions") from error
    if stat.S_ISREG(status.st_mode):
        raise ImageError(_too_long(status.st_size))
    kind = "a directory" if stat.S_ISDIR(status.st_mode) else "not a regular file"
    raise ImageError(f"is {kind}; give an image file")


def load(source: Path | bytes, spec: InputSpec) -> Pixels:
    """Read a picture straight to the model's input: uint8, height x width x 3. Raises `ImageError`."""
    try:
        return to_input(decode(source, spec), spec)
    except MemoryError as error:
        raise ImageError(TOO_MUCH) from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _too_long(size: int) -> str:
    return f"has {size} bytes; at most {MAX_BYTES} are allowed: scale it down"


def _open(data: bytes) -> Image.Image:
    """Read the header, and refuse what is too large before any pixel is decoded."""
    if len(data) > MAX_BYTES:
        raise ImageError(_too_long(len(data)))
    image: Image.Image = _reader(data)(BytesIO(data))
    width, height = image.size
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise ImageError(
            f"the picture has {width} x {height} pixels; at most {MAX_PIXELS} pixels and sides of {MAX_SIDE} "
            "are allowed: scale it down"
        )
    if image.format == "PNG" and image.mode in ("L", "RGB", "I;16"):
        _scale_transparent_colour(image, bit_depth=data[24])
    return image


def _reader(data: bytes) -> Any:
    """Find the class that reads such bytes, by how they begin."""
    if data[4:8] == b"ftyp":
        brands = data[8 : min(int.from_bytes(data[:4]), 256)]
        if b"avif" in brands or b"avis" in brands:
            return import_module("PIL.AvifImagePlugin").AvifImageFile
        if re.search(rb"hei[cxms]|hev[cxms]|mif1|msf1", brands):
            return _heif_reader()
    for name, signature in _SIGNATURES.items():
        if re.match(signature, data, re.DOTALL):
            return getattr(import_module(f"PIL.{name}ImagePlugin"), f"{name}ImageFile")
    found = f"begins with {data[:8]!r}" if data else "is empty (0 bytes)"
    raise ImageError(f"is not an image that facectl reads: it {found}; allowed are {_FORMATS}")


def _heif_reader() -> Any:
    try:
        from pillow_heif import HeifImageFile
    except ImportError as error:
        raise ImageError("HEIC needs the extra: pip install 'facectl[heic]'") from error
    return HeifImageFile


def _scale_transparent_colour(image: Image.Image, bit_depth: int) -> None:
    """Bring PNG's transparent colour to 8 bits: Pillow does so with the pixels, but leaves the colour as it stands."""
    key = image.info.get("transparency")
    if isinstance(key, int | tuple):
        values = key if isinstance(key, tuple) else (key,)
        scaled = tuple(v >> 8 if bit_depth == 16 else v * 255 // (2**bit_depth - 1) for v in values)
        image.info["transparency"] = scaled if isinstance(key, tuple) else scaled[0]


def _upright(image: Image.Image) -> tuple[Image.Image, int]:
    """Read the pixels and turn them; give the EXIF orientation too, which of a TIFF is 1 once Pillow has read it."""
    image.load()
    orientation = _orientation(image)
    return (image.transpose(_TURNS[orientation]) if orientation > 1 else image), orientation


def _orientation(image: Image.Image) -> int:
    """Give the EXIF orientation, 1 to 8; 1 where there is none, or none that can be read."""
    try:
        value = image.getexif().get(_ORIENTATION)
    except Exception:  # whatever damaged EXIF raises, the pixels are still good
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _reduce_jpeg(image: Image.Image, spec: InputSpec | None, mode: str | None) -> None:
    """Ask the JPEG decoder for the smallest scale that leaves `REDUCED_ROOM` times what is needed, and for a mode.

    Only a scale that divides both sides: at others the last pixel stands for a part of one, and the picture shifts.
    Landmarks are in pixels of the full picture, so a face is decoded in full.
    """
    if image.format == "JPEG":
        scale = _scale_of_jpeg(image, spec) if spec else 1
        if mode or scale > 1:
            image.draft(mode, (image.width // scale, image.height // scale))


def _scale_of_jpeg(image: Image.Image, spec: InputSpec) -> int:
    if isinstance(spec.resize, FaceAlign):
        return 1
    width, height = image.size
    upright = (height, width) if _orientation(image) >= 5 else (width, height)
    box, size = _region(upright, spec)
    room = min((box[2] - box[0]) / size[0], (box[3] - box[1]) / size[1])
    for scale in (8, 4, 2):
        if room >= REDUCED_ROOM * scale and width % scale == 0 and height % scale == 0:
            return scale
    return 1


def _to_rgb(image: Image.Image) -> Image.Image:
    image, alpha = _split_alpha(_to_8_bit(image))
    profile = image.info.get("icc_profile")
    if isinstance(profile, bytes) and (transform := _transform_to_srgb(profile, image.mode)):
        image = transform.apply(image)
    if image.mode != "RGB":
        image = image.convert("RGB")
    if alpha:
        image = Image.composite(image, Image.new("RGB", image.size, "white"), alpha)
    return image


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Keep the high byte of grey samples of 16 bits; Pillow's readers do the same with colour."""
    if getattr(image, "tag_v2", {}).get(258) == (12,):
        raise ImageError("the picture has samples of 12 bits; 8 and 16 are allowed: save it again as PNG")
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        grey = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        grey.info = image.info
        return grey
    return image


def _split_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Give the colours, in mode L, RGB or CMYK, and the transparency where there is one."""
    if image.mode not in ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB"):
        raise ImageError(f"the picture has pixels of kind {image.mode}, whose range is not known; save it as 8-bit PNG")
    colour = "L" if image.mode in ("1", "L", "LA", "La") else "CMYK" if image.mode == "CMYK" else "RGB"
    if not image.has_transparency_data:
        return (image if image.mode == colour else image.convert(colour)), None
    image = image.convert("LA" if colour == "L" else "RGBA")
    return image.convert(colour), image.getchannel("A")


@lru_cache(maxsize=8)
def _transform_to_srgb(profile: bytes, mode: str) -> "ImageCmsTransform | None":
    """Build the way from a profile to sRGB, or None where the profile cannot be used or is sRGB within a grey level."""
    from PIL import ImageCms

    spaces = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}
    # Without NOCACHE, LittleCMS does not promise that several threads may share one transform.
    flags = ImageCms.Flags.BLACKPOINTCOMPENSATION | ImageCms.Flags.HIGHRESPRECALC | ImageCms.Flags.NOCACHE
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile[: MAX_PROFILE + 1]))
        if len(profile) > MAX_PROFILE or source.profile.xcolor_space.strip() != spaces[mode]:
            return None
        transform = ImageCms.buildTransform(
            source, ImageCms.createProfile("sRGB"), mode, "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC, flags
        )
    except (OSError, ImageCms.PyCMSError):
        return None
    return None if mode != "CMYK" and _is_identity(transform, mode) else transform


def _is_identity(transform: "ImageCmsTransform", mode: str) -> bool:
    """Tell whether 17 levels of each channel, in every combination, come out within one grey level."""
    levels = np.linspace(0, 255, 17).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3) if mode == "RGB" else levels[None]
    probe = Image.fromarray(grid)
    change = np.asarray(transform.apply(probe)).astype(int) - np.asarray(probe.convert("RGB"))
    return bool(np.abs(change).max() <= 1)


def _as_image(image: Image.Image | Pixels) -> Image.Image:
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
            raise ImageError(f"the array is {image.dtype} {image.shape}; uint8 height x width x 3 RGB is needed")
        return Image.fromarray(image)
    if image.mode != "RGB" or min(image.size) == 0:
        raise ImageError(f"the picture is {image.mode} {image.size}; RGB is needed: open it with decode()")
    return image


def _region(size: tuple[int, int], spec: InputSpec) -> tuple[Box, tuple[int, int]]:
    """Say which box (left, upper, right, lower) of an upright picture is used, and the width and height it becomes."""
    width, height = size
    if isinstance(spec.resize, CenterCrop):
        # A side of the box is never under one pixel, so a small fraction of a thin picture is still something.
        box_width = max(min(width, height * spec.width / spec.height) * spec.resize.fraction, 1)
        box_height = max(min(height, width * spec.height / spec.width) * spec.resize.fraction, 1)
        left, upper = (width - box_width) / 2, (height - box_height) / 2
        return (left, upper, width - left, height - upper), (spec.width, spec.height)
    if isinstance(spec.resize, Letterbox):
        # In whole numbers, so that no language rounds it another way.
        fit_width = min(spec.width, (2 * width * spec.height + height) // (2 * height))
        fit_height = min(spec.height, (2 * height * spec.width + width) // (2 * width))
        return (0, 0, width, height), (max(fit_width, 1), max(fit_height, 1))
    return (0, 0, width, height), (spec.width, spec.height)


def scaled(image: Image.Image, box: Box, size: tuple[int, int]) -> Image.Image:
    """Bring a box (left, upper, right, lower) of an RGB picture to a width and height, by the filter of the page."""
    # Rows, then columns: in one call, Pillow takes an order that depends on its version and the sizes.
    left, upper, right, lower = box
    image = image.resize((size[0], image.height), Image.Resampling.BILINEAR, (left, 0, right, image.height))
    return image.resize(size, Image.Resampling.BILINEAR, (0, upper, size[0], lower))
