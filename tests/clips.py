"""Short videos of known flat colours, written with PyAV."""

import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from numpy.typing import NDArray
from PIL import Image

RGB = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "grey": (128, 128, 128)}
WHEEL = ("red", "green", "blue")
Picture = NDArray[np.uint8]
TAGS = {
    "bt601": (Colorspace.SMPTE170M, ColorPrimaries.SMPTE170M, ColorTrc.SMPTE170M),
    "bt709": (Colorspace.ITU709, ColorPrimaries.BT709, ColorTrc.BT709),
}
Where = TypeVar("Where", Path, io.BytesIO)
BITS = 16
FINE = {"qmin": "1", "qmax": "4"}
QUICK = {
    "libx264": {"preset": "ultrafast", "crf": "10"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=error"},
}


def picture(colour: str | tuple[int, int, int], size: tuple[int, int] = (64, 48), number: int | None = None) -> Picture:
    """Give height × width × 3 of one colour (uint8), with `number` as black and white blocks in the top quarter.

    The blocks add the same to red, green and blue, so that they do not change which of them is the most.
    """
    width, height = size
    flat = np.full((height, width, 3), RGB.get(colour, colour) if isinstance(colour, str) else colour, np.uint8)
    if number is not None:
        bits = [number >> bit & 1 for bit in range(BITS)]
        flat[: height // 4] = np.repeat(bits, width // BITS)[None, : width // BITS * BITS, None] * np.uint8(255)
    return flat


def number_of(pixels: Picture) -> int:
    """Read the number in a picture, which may have been coded and resized since."""
    height, width = pixels.shape[:2]
    row = pixels[height // 8].mean(axis=-1)
    return sum(int(row[int((bit + 0.5) * width / BITS)] > 128) << bit for bit in range(BITS))


def numbered(count: int, size: tuple[int, int] = (64, 48), hold: int = 10) -> list[Picture]:
    """Give pictures with their numbers in them, red, green and blue in turn, `hold` of each."""
    return [picture(WHEEL[number // hold % 3], size, number) for number in range(count)]


def jpeg(pixels: Picture, **options: Any) -> bytes:
    """Give a picture as JPEG, or as what `format` says."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, **{"format": "JPEG", "quality": 90, **options})
    return stream.getvalue()


def write_clip(
    path: Where,
    frames: Sequence[str | Picture],
    *,
    fps: float = 30,
    size: tuple[int, int] = (64, 48),
    codec: str = "libx264",
    pix_fmt: str = "",
    rotation: int = 0,
    gop: int = 12,
    bframes: int = 0,
    matrix: str | None = None,
    full: bool = False,
    times: Sequence[float] | None = None,
    last: float | None = None,
    start: float = 0,
    container: str | None = None,
    options: dict[str, str] | None = None,
    coder: dict[str, str] | None = None,
) -> Where:
    """Write a video of pictures, or of colours by name, and give where it went.

    `rotation` is by how many degrees clockwise a player has to turn it. `matrix` is bt601 or bt709, and tags the file;
    none leaves it untagged, and codes by BT.601 as everyone then assumes. `times` (seconds) makes the rate vary, the
    last picture stands for `last` seconds, and `start` (seconds) moves all times. `options` are the container's,
    such as `{"movflags": "faststart"}`, and `coder` the codec's.
    """
    pictures = [picture(frame, size) if isinstance(frame, str) else frame for frame in frames]
    space = Colorspace.ITU709 if matrix == "bt709" else Colorspace.ITU601
    span = ColorRange.JPEG if full or codec == "mjpeg" else ColorRange.MPEG
    with av.open(str(path) if isinstance(path, Path) else path, "w", format=container, options=options or {}) as file:
        rate = Fraction(fps).limit_denominator(1001)
        stream = file.add_stream(codec, rate=rate)
        context = stream.codec_context
        context.height, context.width = pictures[0].shape[:2]
        context.pix_fmt = pix_fmt or ("yuvj420p" if codec == "mjpeg" else "yuv420p")
        context.time_base = Fraction(1, 30_000) if times or start else 1 / rate
        context.gop_size, context.max_b_frames, context.thread_count = gop, bframes, 1
        context.options = QUICK.get(codec, FINE) | (coder or {})
        context.color_range = span
        if matrix:
            context.colorspace, context.color_primaries, context.color_trc = TAGS[matrix]
        if rotation:
            stream.set_display_rotation(-rotation)
        for index, pixels in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(pixels).reformat(
                format=context.pix_fmt, dst_colorspace=space, dst_color_range=span
            )
            seconds = start + (times[index] if times else index / fps)
            frame.time_base, frame.pts = context.time_base, round(seconds / context.time_base)
            file.mux(stream.encode(frame))
        packets = stream.encode()
        if last is not None:
            packets[-1].duration = round(last / packets[-1].time_base)
        file.mux(packets)
    return path


def clip_bytes(frames: Sequence[str | Picture], container: str = "mpegts", **options: Any) -> bytes:
    """Give what `write_clip` writes; containers are FFmpeg's, such as mpegts, matroska, h264."""
    stream = io.BytesIO()
    write_clip(stream, frames, container=container, **options)
    return stream.getvalue()


def joined(path: Path, *pieces: bytes) -> Path:
    """Write pieces one after another, as MPEG-TS allows: sizes and codecs may change where the next begins."""
    path.write_bytes(b"".join(pieces))
    return path


def cut(path: Path, share: float) -> Path:
    """Keep only the first part of a file."""
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    return path
