"""Video files: their frames, one after the other, each as a picture to be made when it is needed."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from facectl_runtime.devices import usable_cores
from facectl_runtime.errors import ImageError, counted, reason
from facectl_runtime.sources import Source, display_name
from facectl_runtime.video.frames import decoder_options, pyav, to_picture
from facectl_runtime.video.selection import Selection

# What a file may be; playlists and the like, which name other files and addresses, are not among them.
_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,h264,hevc,mjpeg,ivf,gif,wav"
_MISSING = 0.5  # seconds of a file's own length without a frame that a cut-off end is known by


def clip(path: Path, selection: Selection) -> Iterator[Source]:
    """Give the chosen frames of a video file in their order, and where it cannot be read to its end, an error last.

    Raises `MissingExtraError` without PyAV; whatever else goes wrong is a source with an error.
    """
    name, av = display_name(path), pyav(f"{display_name(path)}: a video")
    try:
        # As an open file: a path would be read as an address, and other names in the file be followed.
        with path.open("rb") as file, _opened(av, file) as container:
            yield from _frames(av, name, container, selection)
    except ImageError as error:
        yield Source(name, None, str(error))
    except av.FFmpegError as error:
        why = error.strerror or reason(error)
        yield Source(name, None, f"is not a video that facectl reads, or a damaged one ({why}); copy or save it again")
    except OSError as error:
        yield Source(name, None, f"cannot be read: {error.strerror or error}; check the path and its permissions")


def _opened(av: Any, file: Any) -> Any:
    options = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}
    return av.open(file, "r", container_options=options)


def _frames(av: Any, name: str, container: Any, selection: Selection) -> Iterator[Source]:
    if not container.streams.video:
        raise ImageError("has no pictures in it, only sound or data; give a video")
    stream = container.streams.video[0]
    context = stream.codec_context
    context.options = {**context.options, **decoder_options()}
    # With two cores, the one that decodes has the other for pictures; more share the decoding too.
    context.thread_count = max(1, usable_cores() // 2)
    first, at = stream.start_time or 0, 0.0
    if sought := selection.start > 0:
        container.seek(first + int(selection.start / stream.time_base), stream=stream)
    picked, number, damaged = selection.picker(), -1, 0
    for frame in _decoded(av, container, stream):
        if frame is None:
            damaged += 1
            continue
        number += 1
        at = _time(frame, stream, first, number)
        if at >= selection.end:
            return
        if picked(at):
            yield Source(name, partial(to_picture, frame), None, None if sought else number, round(at, 6))
    yield from _shortfall(name, _length(container, stream), at, number + 1, damaged, selection)


def _decoded(av: Any, container: Any, stream: Any) -> Iterator[Any]:
    """Give the frames, and None for a packet that holds none because it is damaged."""
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            yield None
            continue
        yield from frames


def _time(frame: Any, stream: Any, first: int, number: int) -> float:
    """Give a frame's time in seconds; where the file does not say, by its number."""
    if frame.pts is not None:
        return float((frame.pts - first) * stream.time_base)
    return float(number / (stream.average_rate or 25))


def _length(container: Any, stream: Any) -> float | None:
    """Give how long the pictures of a file are said to last, in seconds; sound may go on longer."""
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    alone = len(container.streams) == 1 and container.duration is not None
    return container.duration / 1e6 if alone else None


def _shortfall(
    name: str, length: float | None, last: float, frames: int, damaged: int, selection: Selection
) -> Iterator[Source]:
    """Say what of a video was not there to be answered."""
    if not frames:
        why = "none of its frames can be decoded; copy or save it again"
    elif length is not None and last < min(length, selection.end) - max(_MISSING, 2 * length / frames):
        why = f"breaks off at {last:.1f} s of {length:.1f} s; copy it again, or say --end {last:.1f}"
    elif damaged:
        why = f"{counted(damaged, 'packet')} of its data could not be decoded; copy or save it again"
    else:
        return
    yield Source(name, None, why)
