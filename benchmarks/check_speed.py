"""`facectl data check` against decoding alone, whole processes in turn; and its memory on 100,000 pictures."""

import io
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from common import FACECTL, ROOT, keep, middle, test_data
from facectl_runtime.output import columns
from mosaics import write_mosaics

ROUNDS, MOSAICS = 5, 200
FEW, MANY = 10_000, 100_000
PEAK = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status) not in (0, 1))
"""
"""The largest resident size of the process and of each that it waited for."""


def main() -> None:
    """Measure three kinds of photographs, then memory."""
    rows = [("photographs", "number", "decode alone, a second", "check, a second", "ratio")]
    figures = {}
    with tempfile.TemporaryDirectory() as scratch:
        mosaics = Path(scratch, "mosaics")
        write_mosaics(test_data("zoo"), mosaics / "one", MOSAICS)
        sets = {
            "animals, 300 pixels": test_data("zoo"),
            "faces, 250 pixels": test_data("lfw"),
            "12 megapixels": mosaics,
        }
        for name, folder in sets.items():
            rounds = [_round(folder) for _ in range(ROUNDS)]
            figures[name] = {**(one := middle(rounds)), "rounds": rounds}
            cells = (f"{one[key]:.0f}" for key in ("n", "decode", "check"))
            rows.append((name, *cells, f"{one['ratio']:.2f}"))
        print(columns(rows, right=(1, 2, 3, 4)))
        memory = {count: _many(Path(scratch, str(count)), count) for count in (FEW, MANY)}
    for count, one in memory.items():
        print(f"{count:,} pictures: {one['peak_mb']:.0f} MB, {one['seconds']:.0f} s")
    keep("check_speed", {"sets": figures, "many": memory})


def _round(folder: Path) -> dict[str, float]:
    n = len(list(folder.rglob("*.jpg")))
    alone = n / _seconds([sys.executable, ROOT / "benchmarks" / "decode_alone.py", folder])
    check = n / _seconds([FACECTL, "data", "check", folder, "--quiet"])
    return {"n": n, "decode": alone, "check": check, "ratio": check / alone}


def _seconds(command: list[object]) -> float:
    started = time.perf_counter()
    done = subprocess.run([str(word) for word in command], stdout=subprocess.DEVNULL)
    if done.returncode not in (0, 1):
        sys.exit(f"{' '.join(map(str, command))}: exit code {done.returncode}")
    return time.perf_counter() - started


def _many(folder: Path, count: int) -> dict[str, float]:
    """Check so many small pictures, all different."""
    with ProcessPoolExecutor() as pool:
        list(pool.map(_draw, [(folder, start, min(start + 1000, count)) for start in range(0, count, 1000)]))
    started = time.perf_counter()
    command = [sys.executable, "-c", PEAK, FACECTL, "data", "check", str(folder), "--quiet"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return {"peak_mb": int(done.stdout) * 1024 / 1e6, "seconds": time.perf_counter() - started}


def _draw(part: tuple[Path, int, int]) -> None:
    folder, first, last = part
    within = folder / f"{first:06}"
    within.mkdir(parents=True)
    random = np.random.default_rng(first)
    for number in range(first, last):
        small = Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8))
        file = io.BytesIO()
        small.resize((96, 96), Image.Resampling.BICUBIC).save(file, "JPEG")
        within.joinpath(f"{number:06}.jpg").write_bytes(file.getvalue())


if __name__ == "__main__":
    main()
