"""Cold start, whole processes in turn: `facectl predict` against the least a program can do, --help against typer."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import FACECTL, facectl, keep, middle, test_data
from facectl_runtime.output import columns

ROUNDS, WARM_UP = 31, 3
FLOOR = Path(__file__).with_name("floor.py")


def main() -> None:
    """Train a model, then time it."""
    data = test_data("zoo")
    photograph = sorted(data.rglob("*.jpg"))[0]
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, "zoo")
        facectl("train", "zoo", "--data", data, "--out", run, "--quiet")
        facectl("export", run, "--quantize", "int8", "--quiet")
        model = run / "export" / "zoo.int8.onnx"
        predict = compare(
            [FACECTL, "predict", str(model), str(photograph), "--json"],
            [sys.executable, str(FLOOR), str(model), str(photograph)],
        )
    help_ = compare([FACECTL, "--help"], [sys.executable, "-c", "import typer"])
    rows = [("command", "ms", "floor", "ms", "median ratio", "at most")]
    rows.append(("facectl predict MODEL IMAGE --json", *_cells("bare script", predict), "1.25"))
    rows.append(("facectl --help", *_cells("import typer", help_), "1.5"))
    print(columns(rows, right=(1, 3, 4, 5)))
    keep("cold_start", {"rounds": ROUNDS, "predict": predict, "help": help_})


def compare(command: list[str], floor: list[str]) -> dict[str, float]:
    """Time two commands in turn; the seconds and the ratio of the pair whose ratio is the median."""
    pairs = [(_seconds(command), _seconds(floor)) for _ in range(WARM_UP + ROUNDS)][WARM_UP:]
    return middle([{"seconds": mine, "floor_seconds": least, "ratio": mine / least} for mine, least in pairs])


def _seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def _cells(floor: str, figures: dict[str, float]) -> tuple[str, str, str, str]:
    return f"{figures['seconds'] * 1e3:.0f}", floor, f"{figures['floor_seconds'] * 1e3:.0f}", f"{figures['ratio']:.2f}"


if __name__ == "__main__":
    main()
