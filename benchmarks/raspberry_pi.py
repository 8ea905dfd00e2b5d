"""facectl on an emulated Raspberry Pi 4 and 5: a runtime-only install, `verify`, whether `predict` answers as here.

    python benchmarks/raspberry_pi.py                                 trains and exports the zoo first
    python benchmarks/raspberry_pi.py --split RUN/split.json FILE…    files that are there

QEMU runs Debian's arm64 packages with the board's processor. What is computed is what the board would compute; the
seconds are the emulation's and say nothing about a board's. Debian alone, no root.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from aarch64 import BOARDS, Board, Emulated, set_up
from common import facectl, keep, test_data
from facectl_runtime.labelled import Split
from facectl_runtime.output import columns

PHOTOGRAPHS, ROUNDS = 40, 3
EVERY_CLASS = ("--topk", 1000, "--json", "--quiet")


def main() -> None:
    """Set it up, measure each file on each board, print and keep the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--split", type=Path, help="split.json of the run that the files come from")
    given = parser.parse_args()
    if bool(given.files) != bool(given.split):
        parser.error("give both --split and files, or neither")
    with tempfile.TemporaryDirectory() as folder:
        emulated = set_up(Path(folder))
        files, split = (given.files, given.split) if given.files else _exported(Path(folder))
        photographs = _spread(split, PHOTOGRAPHS)
        here = {file: _answers(facectl("predict", file, *photographs, *EVERY_CLASS)) for file in files}
        boards = {}
        for name, board in BOARDS.items():
            emulated.become(board)
            measures = {file.name: _measure(emulated, board, file, photographs, here[file]) for file in files}
            boards[name] = {"cpu": board.cpu, "files": measures}
    report(emulated, boards, len(photographs))


def _exported(scratch: Path) -> tuple[list[Path], Path]:
    run = scratch / "zoo"
    facectl("train", "zoo", "--data", test_data("zoo"), "--out", run, "--no-report", "--quiet")
    facectl("export", run, "--format", "onnx,tflite", "--quantize", "fp32,int8", "--quiet")
    return sorted((run / "export").glob("zoo*.*"), key=lambda path: (path.suffix, len(path.name))), run / "split.json"


def _spread(split: Path, count: int) -> list[Path]:
    """Give so many photographs of the test split, spread over the classes."""
    recorded = msgspec.json.decode(split.read_bytes(), type=Split)
    test = recorded.parts["test"]
    n = min(count, len(test))
    return [Path(recorded.root, test[number * len(test) // n].path) for number in range(n)]


def _measure(
    emulated: Emulated, board: Board, file: Path, photographs: list[Path], here: list[dict[str, float]]
) -> dict[str, Any]:
    """Verify and predict on a board; the first run also writes the bytecode that a second one finds."""
    verified = json.loads(emulated.facectl(board, "verify", file.resolve(), "--json", allowed=(0, 5)).printed)[0]
    predicted = emulated.facectl(board, "predict", file.resolve(), *photographs, *EVERY_CLASS)
    there = _answers(predicted.printed)
    cold = [
        emulated.facectl(board, "predict", file.resolve(), photographs[0], "--json", "--quiet") for _ in range(ROUNDS)
    ]
    pairs = list(zip(there, here, strict=True))
    return {
        "engine": verified["engine"],
        "verify": {key: verified[key] for key in ("passed", "largest", "tolerance", "images")},
        "agreement": statistics.mean(next(iter(one)) == next(iter(other)) for one, other in pairs),
        "largest": max(abs(one[label] - other[label]) for one, other in pairs for label in one),
        "emulated_cold_start_seconds": statistics.median(one.seconds for one in cold),
        "peak_mb": statistics.median(one.peak_mb for one in cold),
    }


def _answers(printed: str) -> list[dict[str, float]]:
    """Give each photograph's probabilities, the likeliest label first."""
    return [{top["label"]: top["probability"] for top in one["top"]} for one in json.loads(printed)["results"]]


def report(emulated: Emulated, boards: dict[str, Any], n: int) -> None:
    """Print and keep the figures."""
    install = {key: getattr(emulated, key) for key in ("downloaded_mb", "installed_mb")}
    print(f"facectl[cpu,tflite] on aarch64, Python {emulated.python}: {install['downloaded_mb']:.0f} MB to download")
    print(f"installed {install['installed_mb']:.0f} MB")
    rows = [
        ("emulated", "file", "verify", "its |Δ|", "allowed", "same label", "n", "largest |Δp|", "peak MB", "emulated s")
    ]
    for name, board in boards.items():
        for file, one in board["files"].items():
            verify = one["verify"]
            cells = (f"{verify['largest']:.1g}", f"{verify['tolerance']:g}", f"{one['agreement']:.4f}", str(n))
            cost = (f"{one['largest']:.1g}", f"{one['peak_mb']:.0f}", f"{one['emulated_cold_start_seconds']:.1f}")
            rows.append((name, file, "ok" if verify["passed"] else "differs", *cells, *cost))
    print(columns(rows, right=(3, 4, 5, 6, 7, 8, 9)))
    keep("raspberry_pi", {"emulated": True, "n": n, "emulated_python": emulated.python, **install, "boards": boards})


if __name__ == "__main__":
    main()
