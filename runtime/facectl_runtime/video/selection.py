"""Which frames of a video or a stream are answered: `--start`, `--end` and `--every`."""

import re
from collections.abc import Callable

import msgspec

from facectl_runtime.errors import UsageError

_ROUNDING = 1e-6
_SHORTEST, _LONGEST = 0.001, 1e9  # seconds
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_LENGTH = r"(?a)(\d+(?:\.\d+)?|\.\d+)(ms|s|m|h)"
_CLOCK = r"(?a)(?:(?:(\d+):)?(\d{1,2}):)?(\d+(?:\.\d+)?|\.\d+)"


class Selection(msgspec.Struct, frozen=True):
    """From where to where, and how close together. Times are seconds from the beginning of a video."""

    start: float = 0.0
    end: float = float("inf")
    """The first time that is not answered any more."""
    every_seconds: float = 0.0
    """One answer, at most, in each such length of time from `start` on; 0 for every frame."""
    every_frames: int = 1
    """One frame in so many is answered."""

    @property
    def whole(self) -> bool:
        """Whether a video is answered from its beginning to its end."""
        return self.start == 0 and self.end == float("inf")

    def picker(self) -> Callable[[float], bool]:
        """Give a function that is told the time of each frame in turn, in seconds, and says whether it is answered."""
        met, before = 0, -1

        def picked(time: float) -> bool:
            nonlocal met, before
            if not self.start <= time < self.end:
                return False
            met += 1
            if not self.every_seconds:
                return (met - 1) % self.every_frames == 0
            # The grid stays where it is, however late a frame comes; and 0.6 s is not just before three times 0.2 s.
            slot = int((time - self.start) / self.every_seconds + _ROUNDING)
            if slot <= before:
                return False
            before = slot
            return True

        return picked


ALL = Selection()
"""Every frame."""


def parse_selection(every: str | None, start: str | None, end: str | None) -> Selection:
    """Read `--every` (`0.5s`, or `10` for one frame in ten), `--start` and `--end` (`90`, `90s`, `1:30`, `1:02:03.5`).

    Raises `UsageError`.
    """
    first = _time("--start", start) if start is not None else 0.0
    last = _time("--end", end) if end is not None else float("inf")
    if last <= first:
        raise UsageError(f"--end {end} is not after --start {start or 0}; give a later end, or an earlier start")
    if every is None:
        return Selection(first, last)
    if re.fullmatch(r"[1-9][0-9]{0,8}", every):
        return Selection(first, last, every_frames=int(every))
    if (seconds := _length(every)) is not None:
        return Selection(first, last, every_seconds=seconds)
    raise UsageError(f"--every {every!r} is not known; use a time such as 0.5s, or a number of frames such as 10")


def parse_length(option: str, text: str) -> float:
    """Read a length of time such as `5s`, `500ms` or `2m`, in seconds. Raises `UsageError`."""
    if (seconds := _length(text)) is not None:
        return seconds
    raise UsageError(f"{option} {text!r} is not a time; use one such as 5s, 500ms or 2m, of 1ms or more")


def _length(text: str) -> float | None:
    """Read a length of time in seconds; None where it is none, or too short or too long to be meant."""
    match = re.fullmatch(_LENGTH, text)
    seconds = float(match[1]) * _UNITS[match[2]] if match else 0.0
    return seconds if _SHORTEST <= seconds < _LONGEST else None


def _time(option: str, text: str) -> float:
    if match := re.fullmatch(_LENGTH, text):
        return float(match[1]) * _UNITS[match[2]]
    if match := re.fullmatch(_CLOCK, text):
        return 3600 * int(match[1] or 0) + 60 * int(match[2] or 0) + float(match[3])
    raise UsageError(f"{option} {text!r} is not a time; use seconds such as 90 or 1.5s, or a clock such as 1:30")
