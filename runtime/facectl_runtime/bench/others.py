"""How busy other processes keep this machine while something is measured."""

import os
from collections.abc import Callable
from pathlib import Path

_STAT = Path("/proc/stat")


def watch_others() -> Callable[[], float | None]:
    """Begin to watch; what is given tells the share (0 to 1) of all processors that other processes have taken since.

    That share is None where the system does not say: elsewhere than on Linux.
    """
    begun = _clocks()

    def share() -> float | None:
        now = _clocks()
        if begun is None or now is None:
            return None
        total, busy, own = (after - before for after, before in zip(now, begun, strict=True))
        return min(1.0, max(0.0, busy - own) / total) if total > 0 else None

    return share


def _clocks() -> tuple[float, float, float] | None:
    """Give seconds of processor time so far: in all, busy, and busy with this process and those that it waited for."""
    try:
        line = _STAT.read_text(encoding="ascii").split("\n", 1)[0]
        ticks = [int(field) for field in line.split()[1:9]]  # the two after them are counted among the first
        each = os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError):
        return None
    total, resting = sum(ticks), ticks[3] + ticks[4]  # idle, and waiting for a disk
    return total / each, (total - resting) / each, sum(os.times()[:4])
