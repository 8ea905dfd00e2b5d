"""Devices: the words of `--device`, the same in training and running, and how many cores there are to use."""

import math
import os
import re

import msgspec

from facectl_runtime.errors import UsageError

_MOST_THREADS = 1024


class Device(msgspec.Struct, frozen=True):
    """A device asked for."""

    kind: str
    """`auto`, `cpu` or `cuda`."""
    index: int = 0
    """Which GPU."""
    threads: int | None = None
    """Threads to compute and decode with; None for one on every usable core."""

    @property
    def cores(self) -> int:
        """How many threads to start."""
        return self.threads or usable_cores()

    def __str__(self) -> str:
        return f"cuda:{self.index}" if self.kind == "cuda" else self.kind


def parse_device(text: str, threads: int | None = None) -> Device:
    """Read `auto`, `cpu`, `cuda` or `cuda:N`, with 1 to 1024 threads. Raises `UsageError` for anything else."""
    if threads is not None and not 1 <= threads <= _MOST_THREADS:
        raise UsageError(f"--threads {threads} cannot be started; use 1 to {_MOST_THREADS}, or leave it out")
    if match := re.fullmatch(r"auto|cpu|cuda(?::([0-9]{1,3}))?", text):
        return Device(text.partition(":")[0], int(match[1] or 0), threads)
    raise UsageError(f"--device {text!r} is not known; use auto, cpu, cuda or cuda:N")


def usable_cores() -> int:
    """Count the processors that this process may use: what it may run on, and no more than a container's quota buys."""
    from facectl_runtime.cgroup import cpu_quota

    quota = cpu_quota()
    return affinity() if quota is None else min(affinity(), max(1, math.ceil(quota)))


def affinity() -> int:
    """Count the processors that this process may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1
