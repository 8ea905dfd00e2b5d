"""A video written frame by frame: H.264, each frame at its own time, and few of them in memory."""

from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from facectl_runtime.devices import usable_cores
from facectl_runtime.errors import FacectlError, reason
from facectl_runtime.files import remove_abandoned, scratch_beside, unwritable
from facectl_runtime.video.frames import pyav

VIDEOS = {".mp4": "mp4", ".mkv": "matroska", ".mov": "mov"}
"""Suffixes of the videos that can be written, and FFmpeg's names for them."""
_TICKS = 90_000  # a second
_LEAST = _TICKS // 1000  # from frame to frame: Matroska keeps milliseconds
# x264 waits for `rc-lookahead` frames. With frames coded by later ones (`bf`), an MP4 whose rate varies ends too early.
_CODER = {"preset": "veryfast", "crf": "20", "rc-lookahead": "4", "bf": "0"}
_BT709, _LIMITED = 1, 1
_FAILURES = (OSError, ValueError, RuntimeError)  # PyAV's own errors are of these classes too


class VideoWriter:
    """Writes pictures into a video beside `target`, which takes its name once it is whole; one that fails is removed.

    All have the size of the first, to the even number below, or are fitted into it.
    """

    def __init__(self, target: Path, size: tuple[int, int], series: str | None = None) -> None:
        """Begin a video of `size` (width, height). Raises what `unwritable` gives, and `MissingExtraError`.

        What killed processes left of this target is removed, or of all targets of its `series`.
        """
        self._target, self._size = target, (max(2, size[0] & ~1), max(2, size[1] & ~1))
        self.is_whole = False
        """Whether the video is there."""
        self.last: float | None = None
        """Seconds of the last frame, as they were given."""
        self._first = 0.0
        self._ticks = -_TICKS // 30  # as if a frame had been there before, so that a single one is shown for as long
        self._lasted = 0
        av = pyav(f"--draw {target}: a video")
        self._frame, self._converter = av.VideoFrame.from_ndarray, av.video.reformatter.VideoReformatter()
        self._stack, self._failed = ExitStack(), False
        beside = target.with_name(f"{series}{target.suffix}") if series else target
        remove_abandoned(beside)
        self._whole = self._stack.enter_context(scratch_beside(beside)) / target.name
        try:
            self._file = av.open(str(self._whole.absolute()), "w", format=VIDEOS[target.suffix.lower()])
            self._stream = self._file.add_stream("libx264", rate=30)  # in name: each frame has its time
            _configure(self._stream.codec_context, *self._size)
        except _FAILURES as error:
            raise self._give_up(error) from error

    def write(self, picture: Image.Image, seconds: float) -> None:
        """Add an RGB picture at a time; the first is shown at once, whatever its time.

        Raises what `unwritable` gives.
        """
        if self.last is None:
            self._first = seconds
        self.last = seconds
        ticks = max(self._ticks + _LEAST, round((seconds - self._first) * _TICKS))
        self._ticks, self._lasted = ticks, ticks - self._ticks
        try:
            frame = self._converter.reformat(
                self._frame(np.asarray(self._fitted(picture)), "rgb24"),
                format="yuv420p",
                dst_colorspace=_BT709,
                dst_color_range=_LIMITED,
                threads=1,
            )
            frame.pts, frame.time_base = ticks, Fraction(1, _TICKS)
            self._file.mux(self._stream.encode(frame))
        except _FAILURES as error:
            raise self._give_up(error) from error

    def close(self) -> None:
        """Finish the file, whose last frame is shown for as long as the one before; nothing where it has failed.

        Raises what `unwritable` gives.
        """
        if self._failed:
            return
        try:
            packets = self._stream.encode()
            for packet in packets[-1:]:
                packet.duration = self._lasted
            self._file.mux(packets)
            self._file.close()
            self._whole.replace(self._target)
        except _FAILURES as error:
            raise self._give_up(error) from error
        self._stack.close()
        self.is_whole = True

    def _fitted(self, picture: Image.Image) -> Image.Image:
        width, height = self._size
        if 0 <= picture.width - width <= 1 and 0 <= picture.height - height <= 1:
            return picture.crop((0, 0, width, height))
        return ImageOps.pad(picture, self._size)

    def _give_up(self, error: Exception) -> FacectlError:
        """Remove what was written, and give the error to raise."""
        self._failed = True
        self._stack.close()
        return unwritable(f"--draw {self._target}: the video", error)


def cause(error: FacectlError) -> str:
    """Give what the system said of a video that cannot be written."""
    said = error.__cause__ or error
    return getattr(said, "strerror", None) or reason(said)


def _configure(context: Any, width: int, height: int) -> None:
    context.width, context.height, context.pix_fmt = width, height, "yuv420p"
    context.time_base = Fraction(1, _TICKS)
    context.thread_count = max(1, usable_cores() // 2)  # the others answer meanwhile
    context.options = _CODER
    context.colorspace = context.color_primaries = context.color_trc = _BT709
    context.color_range = _LIMITED
