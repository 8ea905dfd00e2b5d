"""What export costs: networks by formats and precisions, by folds pooled where the claim is under a point.

`python benchmarks/exports.py [NAME…]` measures these alone, and leaves the other figures as they are. `matrix` is every
file there can be of one EfficientNet-Lite0, in one process: minutes, memory and what each file costs.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from common import FACECTL, OUT, facectl, keep, test_data
from facectl_runtime.metrics import paired_drop, wilson
from facectl_runtime.output import columns

FOLDS = 5
ALL = "all"
"""Every precision that there is, or every format."""


@dataclass(frozen=True)
class Network:
    """One network on the photographs that it is measured on."""

    train: tuple[str, ...]
    """Recipe, and options of `facectl train`."""
    data: str
    quantize: str = "fp32,fp16,int8"
    wanted: Mapping[str, float] = field(default_factory=lambda: {"int8": 0.005})
    """By precision, the largest drop in top-1 that this project is content with."""


NETWORKS = {
    "EfficientNet-Lite0": Network(("zoo",), "zoo", ALL),
    "MobileNetV2": Network(
        ("zoo", "--backbone", "mobilenet_v2"),
        "zoo",
        "fp32,fp16,int8,int8-qat",
        {"int8": 0.01, "int8-qat": 0.005},
    ),
    "ResNet50": Network(("zoo", "--backbone", "resnet50"), "zoo"),
    "InceptionV3": Network(("zoo", "--backbone", "inception_v3"), "zoo"),
    "FaceNet": Network(("lfw10", "--variant", "facenet"), "lfw"),
}


def main() -> None:
    """Measure what was asked for, or all; print and keep it."""
    asked = sys.argv[1:] or [*NETWORKS, "matrix"]
    path = OUT / "exports.json"
    figures: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    figures = {"folds": FOLDS, "networks": figures.get("networks", {}), "matrix": figures.get("matrix")}
    for name in asked:
        if name == "matrix":
            figures["matrix"] = matrix()
        else:
            figures["networks"][name] = pooled(NETWORKS[name])
        keep("exports", figures)
    for name, one in figures["networks"].items():
        print(f"\n{name}\n{text(one)}")
    if figures["matrix"]:
        whole = figures["matrix"]
        print(f"\nevery file of EfficientNet-Lite0: {whole['minutes']:.1f} minutes, {whole['peak_gb']:.1f} GB")
        print(text(whole))


def pooled(network: Network) -> dict[str, Any]:
    """Train and export each fold, and add up what the files answer."""
    data = test_data(network.data)
    exports = []
    for fold in range(1, FOLDS + 1):
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder, "run")
            options = ("--fold", f"{fold}/{FOLDS}", "--out", run, "--no-report", "--quiet")
            facectl("train", *network.train, "--data", data, *options)
            exports.append(exported(run, "onnx,tflite", network.quantize))
            print(f"{' '.join(network.train)}, fold {fold}: {exports[-1]['seconds']:.0f} s", file=sys.stderr)
    names = [(row["format"], row["precision"]) for row in exports[0]["files"]]
    files = {f"{kind} {precision}": _pooled_row(exports, kind, precision) for kind, precision in names}
    n = sum(one["n_test"] for one in exports)
    hits = round(sum(one["accuracy"] * one["n_test"] for one in exports))
    for name, row in files.items():
        row["wanted"] = network.wanted.get(name.split()[1])
    return {"n": n, "trained": hits / n, "interval": wilson(hits, n), "files": files}


def matrix() -> dict[str, Any]:
    """Export every file there can be of one network, in one process."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, "run")
        facectl("train", "zoo", "--data", test_data("zoo"), "--fold", f"1/{FOLDS}", "--out", run, "--no-report")
        done = exported(run, ALL, ALL)
    names = [(row["format"], row["precision"]) for row in done["files"]]
    return {
        "minutes": done["seconds"] / 60,
        "peak_gb": done["peak_bytes"] / 1e9,
        "n": done["n_test"],
        "trained": done["accuracy"],
        "files": {f"{kind} {precision}": _pooled_row([done], kind, precision) for kind, precision in names},
        "tunings": {row["tuning"]["network"]: row["tuning"] for row in done["files"] if row["tuning"]},
    }


def exported(run: Path, formats: str, precisions: str) -> dict[str, Any]:
    """Export, letting through what falls short, so that its figures are there too."""
    words = ["export", run, "--format", formats, "--quantize", precisions]
    words += ["--allow-degraded", ALL, "--json"]
    done = subprocess.run([FACECTL, *map(str, words)], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"facectl {' '.join(map(str, words))}: exit code {done.returncode}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _pooled_row(exports: list[dict[str, Any]], kind: str, precision: str) -> dict[str, Any]:
    rows = [row for one in exports for row in one["files"] if (row["format"], row["precision"]) == (kind, precision)]
    floats = [
        next((row for row in one["files"] if (row["format"], row["precision"]) == (kind, "fp32")), None)
        for one in exports
    ]
    sizes = {"bytes": max(row["size"] for row in rows), "zipped": max(row["zipped"] for row in rows)}
    seconds = statistics.median(row["seconds"] for row in rows)
    gates = [row["gate"] for row in rows]
    common = {**sizes, "seconds": seconds, "passed": gates.count("passed"), "of": len(rows), "gate": gates[0]}
    if any(row["comparison"] is None for row in rows):
        return common
    found = [row["comparison"] for row in rows]
    n, lost, won = (sum(one[name] for one in found) for name in ("n", "lost", "won"))
    hits = sum(round(one["accuracy"] * one["n"]) for one in found)
    before = np.arange(n) < lost
    drop, low, high = paired_drop(before, (np.arange(n) >= lost) & (np.arange(n) < lost + won))
    ratios = [
        row["latency"]["median"] / base["latency"]["median"]
        for row, base in zip(rows, floats, strict=True)
        if base and row["latency"] and base["latency"]  # Core ML files have none off the Mac
    ]
    share = rows[0]["integer"]
    return {
        **common,
        "n": n,
        "top1": hits / n,
        "drop": drop,
        "drop_interval": [low, high],
        "agreement": sum(round(one["agreement"] * one["n"]) for one in found) / n,
        "largest": max(one["largest"] for one in found),
        "times_fp32": statistics.median(ratios) if ratios else None,
        "integer_ops": f"{share['ops']}/{share['ops_of']}",
        "kept_float": sorted({name for row in rows if row["kept_float"] for name in row["kept_float"]["layers"]}),
    }


def text(figures: dict[str, Any]) -> str:
    """Lay out one network's files."""
    rows = [("file", "MB", "zipped", "top-1", "drop in points", "95 %", "wanted", "agrees", "× fp32", "s", "gate")]
    for name, one in figures["files"].items():
        measured = ("",) * 6
        if "top1" in one:
            low, high = one["drop_interval"]
            times = "" if one["times_fp32"] is None else f"{one['times_fp32']:.2f}"
            points = (f"{100 * one['drop']:+.2f}", f"{100 * low:+.2f} to {100 * high:+.2f}")
            wanted = f"≤ {100 * one['wanted']:.1f}" if one.get("wanted") else ""
            measured = (f"{one['top1']:.4f}", *points, wanted, f"{one['agreement']:.4f}", times)
        sizes = (f"{one['bytes'] / 1e6:.2f}", f"{one['zipped'] / 1e6:.2f}")
        gate = f"{one['passed']} of {one['of']}" if one["passed"] else one["gate"]
        rows.append((name, *sizes, *measured, f"{one['seconds']:.0f}", gate))
    return columns(rows, right=range(1, 10))


if __name__ == "__main__":
    main()
