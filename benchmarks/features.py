"""Feature extraction against Keras's bare forward pass, in turn; `lfw10` from data to trained head, cold and warm."""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from common import keep, middle, test_data, train
from facectl_runtime.home import home
from facectl_runtime.labelled import class_folders, content_hash
from facectl_runtime.output import columns
from facectl_runtime.spec import InputSpec
from facectl_trainer.backbones import backbone
from facectl_trainer.data.cache import FeatureCache
from facectl_trainer.features import BATCH, Extractor
from facectl_trainer.model import begins_at, halve, pretrained
from facectl_trainer.recipe import load_recipe
from facectl_trainer.weights import locate

PAIRS = 5
COUNTS = {"efficientnet_lite0": 640, "inception_v3": 320}
"""Of photographs; multiples of the batch."""


def main() -> None:
    """Measure both, and print and keep the table."""
    figures = {name: _against_bare(name, count) for name, count in COUNTS.items()}
    cold, warm = _data_to_head()
    rows = [("images a second", "from photographs", "one graph alone", "Keras's forward pass", "ratio")]
    for name, one in figures.items():
        extract, graph, bare = (f"{one[key]:.1f}" for key in ("extract", "graph", "bare"))
        rows.append((f"features by {name}", extract, graph, bare, f"{one['ratio']:.2f}"))
    print(columns(rows, right=(1, 2, 3, 4)))
    print(f"lfw10 from data to trained head: {cold:.0f} s with a cold cache, {warm:.0f} s with a warm one")
    keep("features", {"extraction": figures, "counts": COUNTS, "lfw10_cold_s": cold, "lfw10_warm_s": warm})


def _against_bare(name: str, count: int) -> dict[str, float]:
    """Read, decode, compute and keep the features of photographs, against forward passes on as many pixels in memory.

    Gives images a second, of the round whose ratio is the median: `bare` by Keras's `predict_on_batch`, `graph` by the
    one graph that extraction uses, `extract` by all of it; and `ratio`, extract / bare.
    """
    recipe, body = load_recipe("zoo")[1], backbone(name)
    model = pretrained(body, recipe, locate(body.weights), 2)
    halves = halve(model, begins_at(model, "head"))
    root = test_data("zoo")
    images = class_folders(root)[:count]
    spec = InputSpec(body.side, body.side, recipe.resize)
    pixels = np.random.default_rng(0).integers(0, 256, (BATCH, body.side, body.side, 3), np.uint8)

    def alone(forward: Callable[[Any], object]) -> None:
        for _ in range(count // BATCH):
            forward(pixels)

    def whole() -> None:
        with tempfile.TemporaryDirectory() as folder:
            cache = FeatureCache("benchmark", Path(folder, "features.sqlite"))
            hashes = {image.path: content_hash(root / image.path) for image in images}
            rows = np.zeros((len(images), 1, halves.size), np.float32)
            Extractor(halves.vectors, spec, root, hashes, cache).extract(images, rows, lambda _: None)

    ways = {
        "bare": lambda: alone(halves.trunk.predict_on_batch),
        "graph": lambda: alone(halves.vectors),
        "extract": whole,
    }
    ways["bare"]()
    ways["graph"]()
    rounds = [{way: count / _seconds(work) for way, work in ways.items()} for _ in range(PAIRS)]
    return middle([{**one, "ratio": one["extract"] / one["bare"]} for one in rounds])


def _data_to_head() -> tuple[float, float]:
    data = test_data("lfw")
    os.environ.setdefault("FACECTL_WEIGHTS_DIR", str(home() / "weights"))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FACECTL_HOME"] = folder
        cold, warm = (_seconds(lambda: train("lfw10", "--data", data)) for _ in range(2))
    return cold, warm


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
