"""Two sisters in LFW, five folds: balanced accuracy of FaceNet's features, of its network further, and from scratch."""

import tempfile
from pathlib import Path

from common import balanced_accuracy, keep, pooled, spread, test_data, train
from facectl_runtime.output import columns

SISTERS = ("Serena_Williams", "Venus_Williams")
SEEDS, FOLDS = (0, 1, 2), 5
VARIANTS: dict[str | None, tuple[str, tuple[int, ...]]] = {
    None: ("FaceNet's features, frozen", SEEDS),
    "whole": ("FaceNet's network, all of it trained further", SEEDS[:1]),
    "scratch": ("the same network from random values", SEEDS[:1]),
}


def main() -> None:
    """Train each on every fold, and print and keep the table."""
    rows = [("trained", "balanced accuracy", "spread", "seeds", "n")]
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        for label in SISTERS:
            Path(folder, label).symlink_to(test_data("lfw").resolve() / label)
        for variant, (what, seeds) in VARIANTS.items():
            tables = [pooled(_folds(folder, variant, seed)) for seed in seeds]
            each = [balanced_accuracy(table) for table in tables]
            measured = spread(each) if len(each) > 1 else {"mean": each[0], "spread": None, "each": each}
            figures[variant or "recipe"] = {"what": what, **measured, "n": int(tables[0].sum())}
            shown = "" if measured["spread"] is None else f"{measured['spread']:.4f}"
            rows.append((what, f"{measured['mean']:.4f}", shown, str(len(seeds)), str(tables[0].sum())))
    print(columns(rows, right=(1, 2, 3, 4)))
    keep("twins", {"folds": FOLDS, "variants": figures})


def _folds(data: str, variant: str | None, seed: int) -> list[dict[str, object]]:
    option = ("--variant", variant) if variant else ()
    numbers = range(1, FOLDS + 1)
    return [train("twins", *option, "--data", data, "--fold", f"{k}/{FOLDS}", "--seed", seed) for k in numbers]


if __name__ == "__main__":
    main()
