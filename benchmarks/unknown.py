"""Unknown animals: a classifier of fifteen of the twenty, held to a threshold, asked about the five others.

Each of the twenty is held out once, five at a time. `facectl faces calibrate` chooses the score and the threshold on
the val part and every second photograph of those held out; its own rates are measured on kinds that had no part in
choosing. Then the file is asked about what is left: the test part, and the other photographs of those held out, which
are of kinds that it was calibrated with.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

import facectl_runtime
from common import facectl, keep, test_data
from exports import exported
from facectl_runtime.labelled import Split
from facectl_runtime.metrics import wilson
from facectl_runtime.output import columns
from facectl_runtime.rows import Row
from facectl_runtime.spec import UNKNOWN
from facectl_runtime.threshold.known_scores import SCORES, score, separation
from facectl_runtime.verification import group_interval

HELD_OUT, FAR, SEED = 5, 0.05, 0
CALIBRATE, CHECK = "calibrate", "check"


def main() -> None:
    """Train, calibrate and check with each group held out, and print and keep the table."""
    zoo = test_data("zoo").resolve()
    kinds = [str(kind) for kind in np.random.default_rng(SEED).permutation(sorted(path.name for path in zoo.iterdir()))]
    groups = [sorted(kinds[start : start + HELD_OUT]) for start in range(0, len(kinds), HELD_OUT)]
    rounds = [_round(zoo, group) for group in groups]
    figures = {name: _pooled([one[name] for one in rounds]) for name in rounds[0]}
    print(text(figures))
    keep("unknown", {"held_out": groups, "far_asked": FAR, "files": figures})


def _round(zoo: Path, held_out: list[str]) -> dict[str, dict[str, Any]]:
    """Measure the files of a classifier that has not the kinds `held_out`; by their names."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        known, run = scratch / "known", scratch / "zoo"
        _link(zoo, scratch, held_out)
        facectl("train", "zoo", "--data", known, "--out", run, "--seed", SEED, "--no-report", "--quiet")
        done = exported(run, "onnx", "fp32,int8")
        files = {f"{row['format']} {row['precision']}": run / "export" / row["file"] for row in done["files"]}
        figures = {name: _measured(path, run, scratch) for name, path in files.items()}
    print(f"without {', '.join(held_out)}: {figures['onnx fp32']}", file=sys.stderr)
    return figures


def _link(zoo: Path, scratch: Path, held_out: list[str]) -> None:
    """Link the kinds that are known, and the photographs of those held out in turn into two folders."""
    for kind in sorted(path.name for path in zoo.iterdir()):
        for number, photograph in enumerate(sorted((zoo / kind).iterdir())):
            part = (CALIBRATE, CHECK)[number % 2] if kind in held_out else "known"
            place = scratch / part / kind
            place.mkdir(parents=True, exist_ok=True)
            (place / photograph.name).symlink_to(photograph)


def _measured(model: Path, run: Path, scratch: Path) -> dict[str, Any]:
    """Calibrate a file, and check it on photographs that took no part."""
    options = ("--split", run / "split.json", "--part", "val", "--unknown", scratch / CALIBRATE, "--far", FAR)
    said = facectl("faces", "calibrate", model, *options, "--folds", HELD_OUT, "--json", "--quiet")
    calibrated: dict[str, Any] = json.loads(said)["results"][0]
    split = msgspec.json.decode((run / "split.json").read_bytes(), type=Split)
    signed = facectl_runtime.load(str(model), device="cpu")
    test, strangers = split.parts["test"], sorted((scratch / CHECK).rglob("*.jpg"))
    classes = len(signed.labels)
    rows = signed.predict([Path(split.root, image.path) for image in test], topk=classes)
    others = signed.predict(strangers, topk=classes)
    right = [row for row, image in zip(rows, test, strict=True) if row.top[0].label == image.label]
    known, unknown = (_probabilities(some, signed.labels) for some in (rows, others))
    return {
        "calibrated": calibrated,
        "auroc": {kind: separation(score(kind, known), score(kind, unknown)).auroc for kind in SCORES},
        "accepted": _by_kind(strangers, [row.label != UNKNOWN for row in others]),
        "strangers": _by_kind(strangers, [True] * len(others)),
        "rejected": sum(row.label == UNKNOWN for row in right),
        "right": len(right),
        "test": len(test),
    }


def _by_kind(photographs: list[Path], chosen: list[bool]) -> dict[str, int]:
    """Count the photographs that are chosen of each kind, which is their folder's name."""
    counts = dict.fromkeys((path.parent.name for path in photographs), 0)
    for path, one in zip(photographs, chosen, strict=True):
        counts[path.parent.name] += one
    return counts


def _probabilities(rows: list[Row], labels: tuple[str, ...]) -> npt.NDArray[np.float64]:
    """Give N × classes, in the order of the labels, of answers that name every class."""
    each = [{one.label: one.probability for one in row.top} for row in rows]
    return np.array([[one[label] for label in labels] for one in each])


def _pooled(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Add up the counts of the rounds; AUROC is their mean. Each round has a threshold of its own.

    FAR on kinds that were not calibrated with has the least and the most of the rounds in place of an interval, and on
    the other photographs that of a bootstrap over the kinds.
    """
    found = [one["calibrated"] for one in rounds]
    accepts, unknown, rejects, known = (
        sum(one[name] for one in found) for name in ("false_accepts", "far_count", "false_rejects", "frr_count")
    )
    hits, counts = (np.array([n for one in rounds for n in one[name].values()]) for name in ("accepted", "strangers"))
    rejected, right = (sum(one[name] for one in rounds) for name in ("rejected", "right"))
    each = [one["far"] for one in found]
    return {
        "auroc": {kind: float(np.mean([one["auroc"][kind] for one in rounds])) for kind in SCORES},
        "scores": [one["score"] for one in found],
        "far_new": _rate(accepts, unknown, (min(each), max(each))),
        "far_check": _rate(int(hits.sum()), int(counts.sum()), group_interval(hits, counts, SEED)),
        "frr_val": _rate(rejects, known, wilson(rejects, known)),
        "frr_check": _rate(rejected, right, wilson(rejected, right)),
        "rounds": rounds,
    }


def _rate(hits: int, count: int, interval: tuple[float, float]) -> dict[str, Any]:
    return {"rate": hits / count, "interval": interval, "hits": hits, "count": count}


def text(figures: dict[str, Any]) -> str:
    """Lay out the table."""
    scores = tuple(f"AUROC, {kind.replace('_', ' ')}" for kind in SCORES)
    rates = {
        "far_new": "FAR, other kinds, least and most",
        "far_check": "FAR, other photographs",
        "frr_val": "FRR, val in folds",
        "frr_check": "FRR, test",
    }
    rows: list[tuple[str, ...]] = [("file", *scores, *rates.values())]
    for name, one in figures.items():
        shares = (f"{one['auroc'][kind]:.4f}" for kind in SCORES)
        rows.append((name, *shares, *(_interval(one[rate]) for rate in rates)))
    return columns(rows, right=range(1, len(rows[0])))


def _interval(rate: dict[str, Any]) -> str:
    low, high = rate["interval"]
    return f"{rate['rate']:.3f} [{low:.3f}, {high:.3f}] of {rate['count']}"


if __name__ == "__main__":
    main()
