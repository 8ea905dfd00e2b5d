"""Top-1 on twenty animals: Keras, ONNX fp32 and ONNX int8, by five folds pooled over all images."""

import json
import tempfile
from pathlib import Path

import numpy as np

from common import facectl, keep, test_data
from facectl_runtime.metrics import wilson
from facectl_runtime.output import columns

FOLDS = 5


def main() -> None:
    """Train, export and evaluate each fold, and print the pooled table."""
    data = test_data("zoo")
    hits: dict[str, int] = {}
    n = 0
    agreed: dict[str, int] = {}
    sizes: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        for fold in range(1, FOLDS + 1):
            run = Path(folder, f"fold{fold}")
            facectl("train", "zoo", "--data", data, "--fold", f"{fold}/{FOLDS}", "--out", run)
            exported = json.loads(facectl("export", run, "--quantize", "fp32,int8", "--json"))
            models = {"Keras": run} | {f"ONNX {one['precision']}": Path(one["path"]) for one in exported}
            for one in exported:
                name, compared = f"ONNX {one['precision']}", one["comparison"]
                agreed[name] = agreed.get(name, 0) + round(compared["agreement"] * compared["n"])
                sizes[name] = max(sizes.get(name, 0), one["size"])
            for name, model in models.items():
                result = json.loads(facectl("evaluate", model, "--split", run / "split.json", "--json"))
                hits[name] = hits.get(name, 0) + int(np.trace(np.array(result["confusion"])))
            n += result["n"]
    report(hits, agreed, sizes, n)


def report(hits: dict[str, int], agreed: dict[str, int], sizes: dict[str, int], n: int) -> None:
    """Print and keep the figures."""
    rows = [("model", "top-1", "95 % interval", "agrees with Keras", "MB", "n")]
    figures = {}
    for name, count in hits.items():
        low, high = wilson(count, n)
        agreement = agreed[name] / n if name in agreed else None
        figures[name] = {"top1": count / n, "interval": [low, high], "agreement": agreement, "bytes": sizes.get(name)}
        size = f"{sizes[name] / 1e6:.2f}" if name in sizes else ""
        shown = "" if agreement is None else f"{agreement:.4f}"
        rows.append((name, f"{count / n:.4f}", f"{low:.4f} to {high:.4f}", shown, size, str(n)))
    print(columns(rows, right=(1, 3, 4, 5)))
    keep("zoo", {"folds": FOLDS, "n": n, "models": figures})


if __name__ == "__main__":
    main()
