"""Video files: their frames, one after the other, each as a picture to be made when it is needed."""

import stat
from collections.abc import Generator, Iterator
from functools import partial
from itertools import chain
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
_AGAIN = 1.0  # seconds by which times fall back where another recording begins; frames out of order do so by less
_BACK = (0.0, 2.0, 15.0, 120.0)  # seconds before the start to seek to, one after the other


def clip(path: Path, selection: Selection) -> Iterator[Source]:
    """Give the chosen frames of a video file in their order, and where it cannot be read to its end, an error last.

    Raises `MissingExtraError` without PyAV; whatever else goes wrong is a source with an error.
    """
    name, av = display_name(path), pyav(f"{display_name(path)}: a video")
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # to open a pipe would be to wait for who writes to it
            raise ImageError("cannot be read: it is not a regular file; give a video file")
        if not status.st_size:
            raise ImageError("is empty (0 bytes); copy it again")
        # As an open file: a path would be read as an address, and other names in the file be followed.
        with path.open("rb") as file:
            if selection.start == 0 or not (yield from _frames(av, name, file, selection, seek=True)):
                file.seek(0)
                yield from _frames(av, name, file, selection, seek=False)
    except ImageError as error:
        yield Source(name, None, str(error))
    except av.FFmpegError as error:
        why = error.strerror or reason(error)
        yield Source(name, None, f"is not a video that facectl reads, or a damaged one ({why}); copy or save it again")
    except OSError as error:
        yield Source(name, None, f"cannot be read: {error.strerror or error}; check the path and its permissions")


def _frames(av: Any, name: str, file: Any, selection: Selection, *, seek: bool) -> Generator[Source, None, bool]:
    """Give the chosen frames, and whether that was possible: with `seek`, which is quicker, it is not always."""
    options = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}
    with av.open(file, "r", container_options=options, metadata_errors="replace") as container:
        if not container.streams.video:
            raise ImageError("has no pictures in it, only sound or data; give a video")
        stream = container.streams.video[0]
        context = stream.codec_context
        if context is None:
            raise ImageError("has pictures in a coding that facectl does not read; convert it to H.264")
        context.options = {**context.options, **decoder_options()}
        # With two cores, the one that decodes has the other for pictures; more share the decoding too.
        context.thread_type, context.thread_count = "AUTO", max(1, usable_cores() // 2)
        first, at, shown = stream.start_time or 0, 0.0, 0.0
        until = first + selection.end / stream.time_base
        if seek:
            frames = _sought(av, container, stream, first, selection.start, until)
        else:
            frames = _decoded(av, container, stream, until)
        if frames is None:
            return False
        picked, number, damaged, moved = selection.picker(), -1, 0, 0.0
        for frame in frames:
            if frame is None:
                damaged += 1
                continue
            number += 1
            time = _time(frame, stream, first, number) + moved
            if time < at - _AGAIN:  # another recording begins, joined to the one before with its own clock
                moved += at - time + float(1 / (stream.average_rate or 25))
                time = _time(frame, stream, first, number) + moved
            at, shown = time, float((frame.duration or 0) * (frame.time_base or 0))
            if at >= selection.end:
                break
            if picked(at):
                damaged += frame.is_corrupt  # the decoder has made of it what it could
                yield Source(name, partial(to_picture, frame), None, None if selection.start else number, round(at, 6))
        yield from _shortfall(name, _length(container, stream), at, at + shown, number + 1, damaged, selection)
        return True


def _sought(av: Any, container: Any, stream: Any, first: int, start: float, until: float) -> Iterator[Any] | None:
    """Give the frames as `_decoded` does, from one at or before `start` seconds on; None where that cannot be done.

    Where a container has no index, as MPEG-TS, it may lead to a later frame, and is asked for one further back.
    """
    if container.format.name == "mpeg":  # most of its frames have no time of their own, which then is a guess
        return None
    for back in _BACK:
        target = max(0.0, start - back)
        try:
            container.seek(first + int(target / stream.time_base), stream=stream)
        except av.FFmpegError:
            return None
        frames = _decoded(av, container, stream, until)
        met = next((frame for frame in frames if frame is not None), None)
        if met is not None and met.pts is not None and _time(met, stream, first, 0) <= start:
            return chain([met], frames)
        if target == 0:
            break
    return None


def _decoded(av: Any, container: Any, stream: Any, until: float) -> Iterator[Any]:
    """Give the frames, and None for a packet before `until`, in the file's own time, that is damaged and holds none.

    Damage where the file ends comes last: the frames that are shown before it are whole.
    """
    damaged: list[None] = []
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except (av.error.InvalidDataError, av.error.PatchWelcomeError):
            if packet.pts is None or packet.pts < until:
                damaged.append(None)
            continue
        if packet.size:
            yield from damaged
            damaged.clear()
        yield from frames
    yield from damaged


def _time(frame: Any, stream: Any, first: int, number: int) -> float:
    """Give a frame's time in seconds; where the file does not say, by its number."""
    if frame.pts is not None:
        return float((frame.pts - first) * stream.time_base)
    return float(number / (stream.average_rate or 25))


def _length(container: Any, stream: Any) -> float | None:
    """Give how long the pictures of a file are said to last, in seconds; sound may go on longer."""
    if container.format.name == "avi" and stream.frames and stream.average_rate:
        return float(stream.frames / stream.average_rate)  # FFmpeg fits the duration to what is there of the file
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    alone = len(container.streams) == 1 and container.duration is not None
    return (container.duration - max(0, container.start_time or 0)) / 1e6 if alone else None


def _shortfall(
    name: str, length: float | None, last: float, end: float, frames: int, damaged: int, selection: Selection
) -> Iterator[Source]:
    """Say what of a video was not there to be answered: its last frame is shown from `last` to `end`, in seconds."""
    if not frames:
        why = "none of its frames can be decoded; copy or save it again"
    elif length is not None and end < min(length, selection.end) - max(_MISSING, 2 * length / frames):
        whole = int(10 * last) / 10
        why = f"breaks off at {whole:.1f} s of {length:.1f} s; copy it again, or say --end {whole:.1f}"
    elif last < selection.start:
        why = f"has nothing from {selection.start:g} s on: its last frame is at {last:.3f} s; give an earlier --start"
    elif damaged:
        places = counted(damaged, "place")
        why = f"is damaged in {places}: frames are missing, or not as they were; copy or save it again"
    else:
        return
    yield Source(name, None, why)
