"""Live sources, ready to be read, by the words that people type."""

import sys
from collections.abc import Callable, Sequence
from functools import partial

from facectl_runtime.errors import UsageError
from facectl_runtime.sources import PICAMERA, is_stream, shown
from facectl_runtime.video.live import Connect, Live
from facectl_runtime.video.selection import Selection


def live_sources(
    words: Sequence[str],
    selection: Selection,
    *,
    retries: int | None,
    timeout: float,
    say: Callable[[str], None],
) -> list[Live]:
    """Prepare the live sources that `words` name; none is opened yet.

    `timeout`: seconds without anything after which one counts as lost. The others are as `Live` has them. Raises
    `UsageError` where one is named twice, and `MissingExtraError` where it needs a package that is not here.
    """
    if twice := {word for word in words if words.count(word) > 1}:
        raise UsageError(f"{shown(min(twice))} is given twice; a live source can be read once")
    if not selection.whole:
        raise UsageError("--start and --end are of video files; a live source begins now: leave them out")
    return [
        Live(name, _connect(word, name, timeout), selection=selection, retries=retries, say=say)
        for word, name in zip(words, _names(words), strict=True)
    ]


def _names(words: Sequence[str]) -> list[str]:
    """Give each word as it may be printed; words that differ in what is hidden get numbers."""
    names = [shown(word) for word in words]
    return [
        name if names.count(name) == 1 else f"{name} ({names[: index + 1].count(name)})"
        for index, name in enumerate(names)
    ]


def _connect(word: str, name: str, timeout: float) -> Connect:
    if word == PICAMERA:
        from facectl_runtime.video.rpicam import find_program, open_picamera

        find_program()
        return partial(open_picamera, timeout)
    from facectl_runtime.video.frames import pyav
    from facectl_runtime.video.stream import open_camera, open_stream

    if is_stream(word):
        scheme, _, place = word.partition("://")
        if not place.strip("/"):
            raise UsageError(f"{name}: it names no machine; give the whole address, such as rtsp://192.168.1.20/live")
        pyav(f"{name}: a stream")
        return partial(open_stream, f"{scheme.lower()}://{place}", name, timeout)
    if sys.platform not in ("linux", "darwin"):
        raise UsageError(f"{word}: cameras by number are read on Linux and macOS alone; give the address of a stream")
    pyav(f"{word}: a camera")
    return partial(open_camera, word, timeout)
