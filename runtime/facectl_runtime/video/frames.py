"""Decoded frames: from what PyAV gives to an upright picture in RGB, and the package itself."""

import importlib
import threading
from typing import Any

from PIL import Image

from facectl_runtime.errors import ImageError, MissingExtraError, reason
from facectl_runtime.image import MAX_PIXELS, MAX_SIDE

_TURNS = {90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_270}
_UNSPECIFIED = 2  # AVCOL_SPC_UNSPECIFIED
_HD = 720  # from this height on, what says nothing of its colours is BT.709, as players have it; below, BT.601
_BT709, _BT601, _FULL_RANGE = 1, 5, 2
_own = threading.local()  # a converter keeps what it has prepared for a size, and is not for several threads at once


def pyav(what: str) -> Any:
    """Give the module `av`. Raises `MissingExtraError`, which says that `what` needs it."""
    try:
        return importlib.import_module("av")
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "av":
            raise MissingExtraError(f"{what} needs PyAV; install it with: pip install 'facectl[camera]'") from error
        raise MissingExtraError(f"av is installed but does not start ({reason(error)}); install it again") from error


def decoder_options() -> dict[str, str]:
    """Give the options of a decoder that refuses pictures too large, before it sets memory aside for them."""
    return {"max_pixels": str(MAX_PIXELS)}


def to_picture(frame: Any) -> Image.Image:
    """Turn an `av.VideoFrame` into an upright RGB picture. Raises `ImageError`.

    Colours come by the matrix and the range that the frame names, or else by those that its height suggests. High
    dynamic range is not tone-mapped. Pixels that are not square stay as they are.
    """
    if frame.width * frame.height > MAX_PIXELS or max(frame.width, frame.height) > MAX_SIDE:
        raise ImageError(f"the frame has {frame.width} x {frame.height} pixels; at most {MAX_PIXELS} are allowed")
    if not hasattr(_own, "converter"):
        _own.converter = importlib.import_module("av.video.reformatter").VideoReformatter()
    matrix = frame.colorspace
    if matrix == _UNSPECIFIED:
        matrix = _BT709 if frame.height >= _HD else _BT601
    try:
        rgb = _own.converter.reformat(
            frame,
            format="rgb24",
            src_colorspace=matrix,
            src_color_range=frame.color_range,
            dst_color_range=_FULL_RANGE,
            threads=1,
        )
        plane = rgb.planes[0]
        picture = Image.frombytes("RGB", (rgb.width, rgb.height), memoryview(plane), "raw", "RGB", plane.line_size)
    except (ValueError, OSError, RuntimeError) as error:  # PyAV's own errors are of these classes too
        raise ImageError(f"the frame cannot be turned into a picture ({reason(error)})") from error
    turn = _TURNS.get(frame.rotation % 360)
    return picture.transpose(turn) if turn is not None else picture
