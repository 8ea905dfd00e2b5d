"""Ellipses and rectangles: the small convnet from scratch on shapes it has not seen, three seeds."""

import tempfile
from pathlib import Path

from common import facectl, keep, spread, train
from facectl_runtime.output import columns

SEEDS = (0, 1, 2)


def main() -> None:
    """Draw and train on every seed, and print and keep the table."""
    results = []
    for seed in SEEDS:
        with tempfile.TemporaryDirectory() as folder:
            drawn = Path(folder, "shapes")
            facectl("data", "shapes", "--to", drawn, "--seed", seed, "--quiet")
            results.append(train("shapes", "--data", drawn, "--seed", seed))
    measured = spread([result["test"]["accuracy"] for result in results])
    n = results[0]["test"]["n"]
    print(columns([("top-1", "spread", "n"), (f"{measured['mean']:.4f}", f"{measured['spread']:.4f}", str(n))]))
    what = "a small convnet from scratch"
    keep("shapes", {"seeds": len(SEEDS), "variants": {"recipe": {"what": what, **measured, "n": n}}})


if __name__ == "__main__":
    main()
