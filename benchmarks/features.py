"""Feature extraction against the bare backbone, in turn; and `lfw10` from data to trained head, cold and warm."""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from common import keep, test_data, train
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

COUNT, PAIRS = 320, 5


def main() -> None:
    """Measure both, and print and keep the table."""
    figures = {name: _against_bare(name) for name in ("efficientnet_lite0", "inception_v3")}
    cold, warm = _data_to_head()
    rows = [("what", "images a second", "bare backbone", "ratio")]
    for name, one in figures.items():
        rows.append((f"features by {name}", f"{one['extract']:.1f}", f"{one['bare']:.1f}", f"{one['ratio']:.2f}"))
    print(columns(rows, right=(1, 2, 3)))
    print(f"lfw10 from data to trained head: {cold:.0f} s with a cold cache, {warm:.0f} s with a warm one")
    keep("features", {"extraction": figures, "count": COUNT, "lfw10_cold_s": cold, "lfw10_warm_s": warm})


def _against_bare(name: str) -> dict[str, float]:
    """Read, decode, compute and keep the features of photographs, against the forward pass alone on as many pixels."""
    recipe, body = load_recipe("zoo")[1], backbone(name)
    model = pretrained(body, recipe, locate(body.weights), 2)
    halves = halve(model, begins_at(model, "head"))
    root = test_data("zoo")
    images = class_folders(root)[:COUNT]
    spec = InputSpec(body.side, body.side, recipe.resize)
    pixels = np.random.default_rng(0).integers(0, 256, (BATCH, body.side, body.side, 3), np.uint8)

    def bare() -> None:
        for _ in range(len(images) // BATCH):
            halves.trunk.predict_on_batch(pixels)

    def whole() -> None:
        with tempfile.TemporaryDirectory() as folder:
            cache = FeatureCache("benchmark", Path(folder, "features.sqlite"))
            hashes = {image.path: content_hash(root / image.path) for image in images}
            rows = np.zeros((len(images), 1, halves.size), np.float32)
            Extractor(halves.vectors, spec, root, hashes, cache).extract(images, rows, lambda _: None)

    bare()
    times = [(_seconds(bare), _seconds(whole)) for _ in range(PAIRS)]
    ratio = statistics.median(alone / all_ for alone, all_ in times)
    fastest = [len(images) / min(column) for column in zip(*times, strict=True)]
    return {"bare": fastest[0], "extract": fastest[1], "ratio": ratio}


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
