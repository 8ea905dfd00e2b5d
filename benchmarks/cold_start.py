"""Cold start, whole processes in turn: `facectl predict` against the least a program can do, --help against typer."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from common import FACECTL, facectl, keep, middle, test_data
from facectl_runtime.output import columns

ROUNDS, WARM_UP = 31, 3
MODELS = ("zoo.int8.onnx", "zoo.onnx", "zoo.int8.tflite", "zoo.tflite")
FLOORS = {".onnx": Path(__file__).with_name("floor.py"), ".tflite": Path(__file__).with_name("floor_tflite.py")}


def main() -> None:
    """Train a model, then time its files."""
    data = test_data("zoo")
    photograph = sorted(data.rglob("*.jpg"))[0]
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, "zoo")
        facectl("train", "zoo", "--data", data, "--out", run, "--no-report", "--quiet")
        facectl("export", run, "--format", "onnx,tflite", "--quantize", "fp32,int8", "--quiet")
        # As installed: with bytecode, and that of the sources as they are now.
        env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(Path(folder, "bytecode"))}
        predict = {name: _cold_start(run / "export" / name, photograph, Path(folder), env) for name in MODELS}
        help_ = compare([FACECTL, "--help"], [sys.executable, "-c", "import typer"], env)
    rows = [("command", "ms", "floor", "ms", "median ratio", "at most")]
    for name, figures in predict.items():
        rows.append((f"facectl predict {name} IMAGE --json", *_cells("bare script", figures), "1.25"))
    rows.append(("facectl --help", *_cells("import typer", help_), "1.5"))
    print(columns(rows, right=(1, 3, 4, 5)))
    keep("cold_start", {"rounds": ROUNDS, "predict": predict, "help": help_})


def _cold_start(model: Path, photograph: Path, scratch: Path, env: Mapping[str, str]) -> dict[str, float]:
    """Time a model against the floor of its format; ONNX Runtime runs the same optimized graph in both."""
    home = scratch / f"home of {model.name}"
    env = {**env, "FACECTL_HOME": str(home)}
    command = [FACECTL, "predict", str(model), str(photograph), "--json"]
    least = model
    if model.suffix == ".onnx":
        _seconds(command, env)
        (least,) = (path for path in (home / "graphs").iterdir() if path.is_file())
    return compare(command, [sys.executable, str(FLOORS[model.suffix]), str(least), str(photograph)], env)


def compare(command: list[str], floor: list[str], env: Mapping[str, str]) -> dict[str, float]:
    """Time two commands in turn; the seconds and the ratio of the pair whose ratio is the median."""
    pairs = [(_seconds(command, env), _seconds(floor, env)) for _ in range(WARM_UP + ROUNDS)][WARM_UP:]
    return middle([{"seconds": mine, "floor_seconds": least, "ratio": mine / least} for mine, least in pairs])


def _seconds(command: list[str], env: Mapping[str, str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=env, check=True)
    return time.perf_counter() - started


def _cells(floor: str, figures: dict[str, float]) -> tuple[str, str, str, str]:
    return f"{figures['seconds'] * 1e3:.0f}", floor, f"{figures['floor_seconds'] * 1e3:.0f}", f"{figures['ratio']:.2f}"


if __name__ == "__main__":
    main()
