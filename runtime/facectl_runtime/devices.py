"""Devices: the words of `--device`, the same in training and running."""

import os
import re
from dataclasses import dataclass

from facectl_runtime.errors import UsageError


@dataclass(frozen=True)
class Device:
    """A device asked for."""

    kind: str
    """`auto`, `cpu` or `cuda`."""
    index: int = 0
    """Which GPU."""

    def __str__(self) -> str:
        return f"cuda:{self.index}" if self.kind == "cuda" else self.kind


def parse_device(text: str) -> Device:
    """Read `auto`, `cpu`, `cuda` or `cuda:N`. Raises `UsageError` for anything else."""
    if match := re.fullmatch(r"auto|cpu|cuda(?::(\d{1,3}))?", text):
        return Device(text.partition(":")[0], int(match[1] or 0))
    raise UsageError(f"--device {text!r} is not known; use auto, cpu, cuda or cuda:N")


def usable_cores() -> int:
    """Count the processors that this process may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1
