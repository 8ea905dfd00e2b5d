"""What near duplicates on both sides of a split are worth to a zoo model: top-1 with them kept together, and not.

Ten seeds of each; EfficientNet-Lite0, frozen, on the twenty animals.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

from common import facectl, keep, near_duplicates, spread, test_data, train
from facectl_runtime.output import columns

SEEDS = range(10)
SPLITS = {"as it comes": (), "near copies together": ("--near",)}


def main() -> None:
    """Split and train both ways with every seed, and print and keep the table."""
    data = test_data("zoo")
    groups = near_duplicates(data)
    rows = [("split", "top-1", "spread", "n", "test images with a near copy among the others")]
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, options in SPLITS.items():
            files = [Path(folder, f"{len(options)}_{seed}.json") for seed in SEEDS]
            for seed, file in zip(SEEDS, files, strict=True):
                facectl("data", "split", data, "--to", file, "--seed", seed, "--quiet", *options)
            results = [
                train("zoo", "--data", data, "--split", file, "--seed", seed)
                for seed, file in zip(SEEDS, files, strict=True)
            ]
            measured = spread([result["test"]["accuracy"] for result in results])
            n = sum(result["test"]["n"] for result in results)
            straddling = sum(_straddling(json.loads(file.read_bytes()), groups) for file in files) / n
            figures[name] = {**measured, "n": n, "straddling": straddling}
            mean, deviation = (f"{measured[key]:.4f}" for key in ("mean", "spread"))
            rows.append((name, mean, deviation, str(n), f"{straddling:.1%}"))
    print(columns(rows, right=(1, 2, 3, 4)))
    keep("straddling", {"seeds": len(SEEDS), "splits": figures})


def _straddling(split: dict[str, Any], groups: list[list[str]]) -> int:
    """Count the test images of which a near copy stands in another part."""
    group_of = {path: number for number, group in enumerate(groups) for path in group}
    met = {part: [group_of.get(image["path"]) for image in images] for part, images in split["parts"].items()}
    elsewhere = {*met["train"], *met["val"]} - {None}
    return sum(group in elsewhere for group in met["test"])


if __name__ == "__main__":
    main()
