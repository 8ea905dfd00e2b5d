"""Decisions by triplets on people who were not trained on: a head on a frozen InceptionV3, by sampling, three seeds.

400 triplets of LFW's `peopleDevTest` are 800 decisions whether two photographs are of one person; the head is trained
on all of `peopleDevTrain` who have two photographs or more. Nobody is in both. Beside it what is trained on none of
them: InceptionV3's own features, and FaceNet. A fold's decisions are made at the distance that is best on the others.
"""

import json
import sys
import tempfile
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from common import FACECTL, facectl, keep, printed
from facectl_runtime.output import columns
from lfw_view2 import link_people, people_of

SEEDS, COUNT = (0, 1, 2), 400
SAMPLING = ("random", "semi-hard", "weighted")
READY = {
    "InceptionV3, its features as they are": ("--pretrained",),
    "FaceNet, the middle of the picture": ("--variant", "facenet-plain"),
    "FaceNet, found and aligned": ("--variant", "facenet"),
}
"""What is measured without training."""


def main() -> None:
    """Link the photographs, draw the triplets, measure each way, and print and keep the table."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        people = {part: link_people(scratch / part, people_of(f"peopleDev{part}")) for part in ("Train", "Test")}
        photographs = len(list((scratch / "Train").rglob("*.jpg")))
        facectl("data", "triplets", "--data", scratch / "Test", "--to", scratch / "triplets.csv", "--count", COUNT)
        figures = {
            f"InceptionV3 and head, {how}": _spread(
                [_measured(scratch, "--sampling", how, "--seed", seed) for seed in SEEDS]
            )
            for how in SAMPLING
        }
        figures |= {what: _spread([_measured(scratch, *options)]) for what, options in READY.items()}
    train, test = people["Train"], people["Test"]
    print(f"{train:,} people with {photographs:,} photographs to train on; {COUNT} triplets of {test:,} people")
    print(text(figures))
    counts = {"train_people": train, "train_photographs": photographs, "test_people": test}
    keep("triplets", {"triplets": COUNT, "seeds": len(SEEDS), **counts, "ways": figures})


def _measured(scratch: Path, *options: object) -> dict[str, Any]:
    """Make a run, and give what `facectl evaluate RUN --triplets` says of it."""
    run = scratch / "run"
    words = ("--data", scratch / "Train", "--out", run, "--force", "--no-report", "--quiet")
    facectl("train", "triplet", *options, *words)
    triplets = ("--data", scratch / "Test", "--triplets", scratch / "triplets.csv", "--json", "--quiet")
    found: dict[str, Any] = json.loads(printed([FACECTL, "evaluate", run, *triplets], allowed=(0, 3)))
    one = {**found["verification"], **{name: found[name] for name in ("triplet_loss", "in_order")}}
    print(f"{' '.join(map(str, options))}: {one['accuracy']:.4f}", file=sys.stderr)
    return {**one, "left_out": len(found["unreadable"])}


def _spread(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Give means over the seeds, the spread of the accuracy, and all of each run."""
    names = ("accuracy", "auc", "in_order", "triplet_loss")
    spread = stdev([run["accuracy"] for run in runs]) if len(runs) > 1 else None
    decisions = runs[0]["same"] + runs[0]["different"]
    means = {name: mean(run[name] for run in runs) for name in names}
    return {**means, "spread": spread, "n": decisions, "left_out": runs[0]["left_out"], "each": runs}


def text(figures: dict[str, Any]) -> str:
    """Lay out the table."""
    rows = [("embedding", "accuracy", "spread", "AUC", "positive nearer", "triplet loss", "seeds", "n")]
    for what, one in figures.items():
        spread = "" if one["spread"] is None else f"{one['spread']:.4f}"
        measures = (f"{one['auc']:.4f}", f"{one['in_order']:.4f}", f"{one['triplet_loss']:.4f}")
        rows.append((what, f"{one['accuracy']:.4f}", spread, *measures, str(len(one["each"])), str(one["n"])))
    return columns(rows, right=range(1, 8))


if __name__ == "__main__":
    main()
