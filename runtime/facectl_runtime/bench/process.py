"""What a whole process of `facectl predict` takes for one image: its time from start to exit, and its memory."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import numpy as np

from facectl_runtime.devices import Device
from facectl_runtime.errors import ModelError, one_line

PROCESSES = 5
"""Counted of each model; one before them fills the system's file cache."""
LIMIT = 300.0
"""Seconds after which a process counts as one that never ends."""
LAUNCHER = """
import os, subprocess, sys, time
begun = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
try:
    if hasattr(os, "wait4"):
        _, status, usage = os.wait4(process.pid, 0)
        code, peak = os.waitstatus_to_exitcode(status), usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    else:
        code, peak = process.wait(), 0
except BaseException:
    process.kill()
    raise
print(time.perf_counter() - begun, peak)
sys.exit(code != 0)
"""
"""Linux counts a process's memory at its start, when it still is its parent's: this parent has little."""
_SIDES = (640, 480)


class ColdStart(msgspec.Struct, frozen=True):
    """Seconds from the start of a process to its exit, with one image answered between."""

    median: float
    least: float
    most: float
    runs: int


class Process(msgspec.Struct, frozen=True):
    """What processes of one model took."""

    cold_start: ColdStart
    peak_bytes: int | None
    """Most memory resident in any of them; None on Windows."""


def processes(models: Sequence[Path], device: Device, advance: Callable[[float], None]) -> dict[Path, Process]:
    """Start `facectl predict MODEL IMAGE --json` again and again for each model, all in turn; by model.

    `advance` is told of each model's share that is done. Raises `ModelError` where a process fails or does not end.
    """
    found: dict[Path, list[tuple[float, int]]] = {model: [] for model in models}
    with _drawn_image() as image:
        for _ in range(PROCESSES + 1):
            for model in models:
                found[model].append(_process(model, image, device))
                advance(1 / (PROCESSES + 1))
    return {model: _summed_up(took[1:]) for model, took in found.items()}


def _summed_up(took: Sequence[tuple[float, int]]) -> Process:
    seconds, peaks = zip(*took, strict=True)
    return Process(ColdStart(float(np.median(seconds)), min(seconds), max(seconds), len(seconds)), max(peaks) or None)


def _process(model: Path, image: Path, device: Device) -> tuple[float, int]:
    """Give the seconds that one process took, and its peak memory in bytes, or 0. Raises `ModelError`."""
    options = ["--json", "--quiet", "--device", str(device), "--threads", str(device.cores)]
    command = [sys.executable, "-m", "facectl_runtime", "predict", *options, "--", str(model), str(image)]
    # A group of its own, so that all of it can be ended; Ctrl-C then comes to this process alone.
    with subprocess.Popen(
        [sys.executable, "-S", "-c", LAUNCHER, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        process_group=0,
    ) as launcher:
        try:
            took, said = launcher.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired as error:
            raise ModelError(
                f"{model}: facectl predict does not end within {LIMIT:g} s for one image; leave it out"
            ) from error
        finally:
            if launcher.poll() is None:
                _end(launcher)
    if launcher.returncode:
        lines = said.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise ModelError(f"{model}: facectl predict fails on it: {one_line(lines[-1].removeprefix('facectl: '))}")
    seconds, peak = took.split()
    return float(seconds), int(peak)


def _end(launcher: subprocess.Popen[bytes]) -> None:
    """Kill a launcher and what it launched."""
    if os.name == "posix":
        with suppress(ProcessLookupError):
            os.killpg(launcher.pid, signal.SIGKILL)
    else:
        end = ["taskkill", "/T", "/F", "/PID", str(launcher.pid)]
        subprocess.run(end, capture_output=True)


@contextmanager
def _drawn_image() -> Iterator[Path]:
    """Give a PNG of a smooth pattern, as long as it is needed."""
    from PIL import Image

    across, down = (np.linspace(0, 255, side) for side in _SIDES)
    pixels = np.stack(np.broadcast_arrays(across, down[:, None], 255 - across), axis=-1).astype(np.uint8)
    with tempfile.TemporaryDirectory(prefix="facectl-") as folder:
        path = Path(folder, "pattern.png")
        Image.fromarray(pixels).save(path)
        yield path


def size_of(model: Path) -> int:
    """Give the bytes of a file, or of all files of a folder."""
    files = [model] if model.is_file() else [path for path in model.rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files)
