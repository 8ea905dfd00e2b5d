"""What the benchmarks share: where the data is, how facectl is called, how figures are kept."""

import contextlib
import io
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "benchmarks" / "results"
FACECTL = str(Path(sys.executable).with_name("facectl"))


class Measured(NamedTuple):
    """One whole process: what it printed, the seconds it took, its largest resident size in MB."""

    printed: str
    seconds: float
    peak_mb: float


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


def near_duplicates(folder: Path) -> list[list[str]]:
    """Give the groups of photographs that `facectl data check` takes for one, as paths below `folder`."""
    done = subprocess.run([FACECTL, "data", "check", folder, "--json", "--quiet"], stdout=subprocess.PIPE)
    if done.returncode not in (0, 1):
        sys.exit(f"facectl data check {folder}: exit code {done.returncode}")
    return [
        [photograph["path"] for photograph in finding["photographs"]]
        for finding in json.loads(done.stdout)["findings"]
        if finding["kind"] in ("duplicate", "near-duplicate", "conflict")
    ]


def printed(command: Sequence[object], *, env: Mapping[str, str] | None = None, allowed: tuple[int, ...] = (0,)) -> str:
    """Run a command and give what it prints; ends with its last line of stderr at an exit code not allowed."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, env=env)
    if done.returncode not in allowed:
        said = done.stderr.strip().splitlines() or ["it said nothing"]
        sys.exit(f"{' '.join(words)}: exit code {done.returncode}: {said[-1]}")
    return done.stdout


def measured(
    command: Sequence[object], *, env: Mapping[str, str] | None = None, allowed: tuple[int, ...] = (0,)
) -> Measured:
    """Run a command as `printed` does, and measure it."""
    launched = [sys.executable, ROOT / "benchmarks" / "launch.py", *command]
    *lines, seconds, kib = printed(launched, env=env, allowed=allowed).splitlines()
    return Measured("\n".join(lines).strip(), float(seconds), int(kib) * 1024 / 1e6)


def pip(*arguments: object) -> None:
    """Run this Python's pip; ends where it fails."""
    words = [sys.executable, "-m", "pip", "--quiet", *map(str, arguments)]
    if subprocess.run(words).returncode:
        sys.exit(f"pip {' '.join(map(str, arguments))}: failed")


def size_mb(folder: Path) -> float:
    """Give the size of what is below a folder, less bytecode, in MB."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and file.suffix != ".pyc") / 1e6


def keep(name: str, figures: dict[str, Any]) -> None:
    """Write figures to benchmarks/results/NAME.json, with the machine they were measured on."""
    OUT.mkdir(exist_ok=True)
    machine = {"machine": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()}
    (OUT / f"{name}.json").write_text(json.dumps({**figures, **machine}, indent=1) + "\n", encoding="utf-8")


def train(recipe: str, *options: object) -> dict[str, Any]:
    """Run `facectl train RECIPE --json` in this process, which then loads TensorFlow once; ends where it fails."""
    from facectl_runtime.cli import run
    from facectl_trainer.framework import forget_graphs

    said = io.StringIO()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(said):
        words = ["train", recipe, "--out", Path(folder, "run"), "--json", "--no-report", "--quiet", *options]
        if code := run([str(word) for word in words]):
            sys.exit(f"facectl {' '.join(map(str, words))}: exit code {code}")
    forget_graphs()
    result: dict[str, Any] = json.loads(said.getvalue())
    print(f"{recipe} {' '.join(map(str, options))}: {result['test']['accuracy']:.4f}", file=sys.stderr)
    return result


def middle(rounds: list[dict[str, float]]) -> dict[str, float]:
    """Give the round whose `ratio` is the median (of an even number: the upper), so that its figures agree with it."""
    return sorted(rounds, key=lambda one: one["ratio"])[len(rounds) // 2]


def spread(values: list[float]) -> dict[str, Any]:
    """Give mean, sample standard deviation and each value, of one run a seed."""
    return {"mean": statistics.mean(values), "spread": statistics.stdev(values), "each": values}


def pooled(results: list[dict[str, Any]]) -> Any:
    """Add the confusion matrices of several folds; a row for the true class."""
    import numpy as np

    return np.sum([result["test"]["confusion"] for result in results], axis=0)


def balanced_accuracy(confusion: Any) -> float:
    """Give the mean of the classes' recalls."""
    return float((confusion.diagonal() / confusion.sum(axis=1)).mean())


def variants_over_seeds(recipe: str, data: Path, variants: Mapping[str | None, str], seeds: tuple[int, ...]) -> None:
    """Train a recipe's variants (None: the recipe itself) on every seed; print and keep each one's top-1."""
    from facectl_runtime.output import columns

    rows = [("trained", "top-1", "spread", "n")]
    figures = {}
    for variant, what in variants.items():
        option = ("--variant", variant) if variant else ()
        results = [train(recipe, "--data", data, *option, "--seed", seed) for seed in seeds]
        measured, n = spread([result["test"]["accuracy"] for result in results]), results[0]["test"]["n"]
        figures[variant or "recipe"] = {"what": what, **measured, "n": n}
        rows.append((what, f"{measured['mean']:.4f}", f"{measured['spread']:.4f}", str(n)))
    print(columns(rows, right=(1, 2, 3)))
    keep(recipe, {"seeds": len(seeds), "variants": figures})


def has_results(name: str) -> bool:
    """Tell whether a benchmark's figures are there."""
    return (OUT / f"{name}.json").is_file()


def read_results(name: str) -> dict[str, Any]:
    """Read the figures that a benchmark kept."""
    figures: dict[str, Any] = json.loads((OUT / f"{name}.json").read_text(encoding="utf-8"))
    return figures


def table(header: str, rows: Iterable[Sequence[object]]) -> list[str]:
    """Give the lines of a table in Markdown; ` | ` parts the columns of the header, and cells are Markdown too."""
    columns = header.split(" | ")
    return [f"| {' | '.join(map(str, cells))} |" for cells in (columns, ["---"] * len(columns), *rows)]
