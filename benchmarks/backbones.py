"""Top-1 on twenty animals by a softmax layer on each backbone's frozen features, five folds pooled."""

import sys

from common import keep, pooled, test_data, train
from facectl_runtime.errors import FacectlError
from facectl_runtime.metrics import wilson
from facectl_runtime.output import columns
from facectl_trainer.backbones import BACKBONES
from facectl_trainer.weights import locate

FOLDS = 5


def main() -> None:
    """Train each backbone whose weights are here on every fold, and print and keep the table."""
    data = test_data("zoo")
    rows = [("backbone", "side", "top-1", "95 % interval", "n")]
    figures = {}
    for name in filter(_here, BACKBONES):
        folds = [train("zoo", "--data", data, "--backbone", name, "--fold", f"{k + 1}/{FOLDS}") for k in range(FOLDS)]
        table = pooled(folds)
        hits, n = int(table.trace()), int(table.sum())
        low, high = wilson(hits, n)
        figures[name] = {"side": BACKBONES[name].side, "top1": hits / n, "interval": [low, high], "n": n}
        rows.append((name, str(BACKBONES[name].side), f"{hits / n:.4f}", f"{low:.4f} to {high:.4f}", str(n)))
    print(columns(rows, right=(1, 2, 4)))
    keep("backbones", {"folds": FOLDS, "backbones": figures})


def _here(name: str) -> bool:
    try:
        return bool(BACKBONES[name].weights and locate(BACKBONES[name].weights))
    except FacectlError as error:
        print(f"without {name}: {error}", file=sys.stderr)
        return False


if __name__ == "__main__":
    main()
