"""Llama or gerenuk: ResNet50 frozen, then its last block trained further; five folds of each of three seeds."""

import tempfile
from pathlib import Path
from typing import Any

from common import keep, pooled, spread, test_data, train
from facectl_runtime.output import columns

SEEDS, FOLDS = (0, 1, 2), 5
VARIANTS = {"resnet50_frozen": "ResNet50, frozen", "resnet50": "its last block trained further"}


def main() -> None:
    """Train both stages on every fold of every seed, and print and keep the table."""
    rows = [("trained", "top-1", "spread", "n")]
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        for label in ("llama", "gerenuk"):
            Path(folder, label).symlink_to(test_data("zoo").resolve() / label)
        for variant, what in VARIANTS.items():
            runs = [_folds(folder, variant, seed) for seed in SEEDS]
            tables = [pooled(folds) for folds in runs]
            last = [list(run["kept"].values())[-1] for folds in runs for run in folds]
            if idle := sum(epoch == 0 for epoch in last):
                what += f", which bettered val in {len(last) - idle} of {len(last)} runs"
            measured = spread([float(table.trace() / table.sum()) for table in tables])
            figures[variant] = {"what": what, **measured, "n": int(tables[0].sum())}
            rows.append((what, f"{measured['mean']:.4f}", f"{measured['spread']:.4f}", str(tables[0].sum())))
    print(columns(rows, right=(1, 2, 3)))
    keep("pair", {"seeds": len(SEEDS), "folds": FOLDS, "variants": figures})


def _folds(data: str, variant: str, seed: int) -> list[dict[str, Any]]:
    numbers = range(1, FOLDS + 1)
    return [
        train("zoo", "--variant", variant, "--data", data, "--fold", f"{k}/{FOLDS}", "--seed", seed) for k in numbers
    ]


if __name__ == "__main__":
    main()
