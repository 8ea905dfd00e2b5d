"""The CPU quota that Linux's control groups set a process, which a container's limit of processors is."""

import math
from functools import cache
from pathlib import Path, PurePosixPath

_MOUNTS = ("sys/fs/cgroup", "sys/fs/cgroup/unified")  # of version 2, alone and beside version 1


@cache
def cpu_quota(root: Path = Path("/")) -> float | None:
    """Give the processors' worth of time that this process may use, such as 1.5; None where nothing limits it.

    The least of its own group and of all those above it counts. `root` is where `proc` and `sys` lie. A file that is
    absent, or not as the kernel writes it, limits nothing. It is read once: a quota set later goes unnoticed.
    """
    quotas = [_quota(folder) for folder in _groups(root)]
    return min((quota for quota in quotas if quota is not None), default=None)


def _groups(root: Path) -> list[Path]:
    """Name the folders of this process's group and of those above it, whether or not they are there."""
    found = []
    for line in _text(root / "proc/self/cgroup").splitlines():  # such as 0::/user.slice, or 4:cpu,cpuacct:/docker/1f
        number, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if number == "0":
            mounts = [root / mount for mount in _MOUNTS]
        elif "cpu" in controllers.split(","):
            mounts = [root / "sys/fs/cgroup" / name for name in (controllers, "cpu")]
        else:
            continue
        # A container may see its own group at the mount, and be told of it by the path that it has outside.
        own = PurePosixPath(group.lstrip("/"))
        parts = [own, *own.parents] if ".." not in own.parts else [PurePosixPath()]
        found += [mount / part for mount in mounts for part in parts]
    return found


def _quota(group: Path) -> float | None:
    """Read what one group may use, by version 2 or 1."""
    words = _text(group / "cpu.max").split() or [
        *_text(group / "cpu.cfs_quota_us").split(),
        *_text(group / "cpu.cfs_period_us").split(),
    ]
    try:
        quota, period = map(float, words)
    except ValueError:  # `max` too
        return None
    return quota / period if 0 < quota < math.inf and 0 < period < math.inf else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
