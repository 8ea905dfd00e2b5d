"""A folder of 12-megapixel photographs: images per second against what decode and session allow, and peak memory."""

import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from common import FACECTL, facectl, keep, middle, test_data
from facectl_runtime import image
from facectl_runtime.classifier import BATCH
from facectl_runtime.devices import Device, usable_cores
from facectl_runtime.engines import Engine, format_of
from facectl_runtime.output import columns
from facectl_runtime.spec import InputSpec
from mosaics import write_mosaics

COUNT, ROUNDS, FEW, MANY = 300, 3, 100, 1000
LAUNCHER = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status) != 0)
"""
"""Linux counts a process's memory at its start, when it still is its parent's: this parent has little."""


def main() -> None:
    """Measure D, S and `facectl predict` in turn, then memory."""
    data = test_data("zoo")
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, "zoo")
        facectl("train", "zoo", "--data", data, "--out", run, "--quiet")
        facectl("export", run, "--quantize", "int8", "--quiet")
        model = run / "export" / "zoo.int8.onnx"
        photographs = write_mosaics(data, Path(folder, "photographs"), COUNT)
        reader = format_of(model)
        spec = reader.read_spec(model)
        engine = reader.open(model, spec, Device("cpu"))
        rounds = [_round(model, engine, spec.input, photographs) for _ in range(ROUNDS)]
        memory = {count: _peak_memory(model, _linked(photographs, Path(folder), count)) for count in (FEW, MANY)}
    shown = middle(rounds)
    rows = [("", "images a second"), ("decode alone, D", f"{shown['decode']:.1f}")]
    rows += [("session alone, S", f"{shown['session']:.1f}"), ("bound 1 / (1/D + 1/S)", f"{shown['bound']:.1f}")]
    rows += [
        ("facectl predict, whole process", f"{shown['predict']:.1f}"),
        ("share of the bound (at least 0.9)", f"{shown['ratio']:.3f}"),
    ]
    print(columns(rows, right=(1,)))
    print(f"peak memory: {memory[FEW]:.0f} MB for {FEW} images, {memory[MANY]:.0f} MB for {MANY}")
    keep("folder", {"count": COUNT, **shown, "rounds": rounds, "peak_mb": memory})


def _round(model: Path, engine: Engine, spec: InputSpec, photographs: list[Path]) -> dict[str, float]:
    n = len(photographs)
    started = time.perf_counter()
    with ThreadPoolExecutor(usable_cores()) as pool:
        pixels = np.stack(list(pool.map(lambda path: image.load(path, spec), photographs)))
    decode = n / (time.perf_counter() - started)
    started = time.perf_counter()
    for first in range(0, n, BATCH):
        engine.infer(pixels[first : first + BATCH])
    session = n / (time.perf_counter() - started)
    started = time.perf_counter()
    command = _command(model, photographs[0].parent)
    if code := subprocess.run(command, stdout=subprocess.DEVNULL).returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {code}")
    predict = n / (time.perf_counter() - started)
    bound = 1 / (1 / decode + 1 / session)
    return {"decode": decode, "session": session, "bound": bound, "predict": predict, "ratio": predict / bound}


def _command(model: Path, folder: Path) -> list[str]:
    return [FACECTL, "predict", str(model), str(folder), "--jsonl", "--quiet"]


def _linked(photographs: list[Path], folder: Path, count: int) -> Path:
    """Make a folder of `count` names for the same photographs."""
    out = folder / f"{count}"
    out.mkdir()
    for number in range(count):
        os.link(photographs[number % len(photographs)], out / f"{number:05}.jpg")
    return out


def _peak_memory(model: Path, folder: Path) -> float:
    """Give the largest resident size of `facectl predict`, in MB."""
    command = [sys.executable, "-c", LAUNCHER, *_command(model, folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"facectl predict {model} {folder}: failed")
    return int(done.stdout) * 1024 / 1e6


if __name__ == "__main__":
    main()
