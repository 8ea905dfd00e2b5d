"""What the benchmarks share: where the data is, how facectl is called, how figures are kept."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "benchmarks" / "results"
FACECTL = str(Path(sys.executable).with_name("facectl"))


def test_data(name: str) -> Path:
    """Give a folder of the public data sets, or end with where to get it."""
    folder = Path(os.environ.get("FACECTL_TEST_DATA", ROOT.parent / "shared" / "data")) / name
    if not folder.is_dir():
        sys.exit(f"{folder}: not there; docs/benchmarks.md says how to get the data, FACECTL_TEST_DATA where it lies")
    return folder


def facectl(*arguments: object) -> str:
    """Run a command of facectl, and give what it prints; ends where it fails."""
    done = subprocess.run([FACECTL, *map(str, arguments)], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"facectl {' '.join(map(str, arguments))}: exit code {done.returncode}")
    return done.stdout


def keep(name: str, figures: dict[str, Any]) -> None:
    """Write figures to benchmarks/results/NAME.json, with the machine they were measured on."""
    OUT.mkdir(exist_ok=True)
    machine = {"machine": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()}
    (OUT / f"{name}.json").write_text(json.dumps({**figures, **machine}, indent=1) + "\n", encoding="utf-8")
