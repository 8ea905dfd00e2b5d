"""Folders: photographs of 12 megapixels against what decode and session allow, memory; small ones by batch."""

import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from common import FACECTL, facectl, keep, measured, middle, test_data
from facectl_runtime import image
from facectl_runtime.bench.latency import answering, in_turn
from facectl_runtime.classifier import loader
from facectl_runtime.devices import Device, usable_cores
from facectl_runtime.engines import Engine, format_of
from facectl_runtime.output import columns
from facectl_runtime.pipeline import answers, decode_ahead, stacked
from facectl_runtime.reading import BATCH
from facectl_runtime.sources import Source
from facectl_runtime.spec import InputSpec
from mosaics import write_mosaics

COUNT, ROUNDS, FEW, MANY = 300, 3, 100, 1000
SMALL, TURNS = 400, 7
"""How many small photographs a folder has that is answered with each batch, and how often."""
MODELS = ("zoo.int8.onnx", "zoo.onnx", "zoo.int8.tflite", "zoo.tflite")
BATCHES, SECONDS = (1, 2, 4, 8, 16, 32), 10.0
"""Images that a session answers at once, and for how long each number of them is tried."""


def main() -> None:
    """Measure D, S and `facectl predict` in turn, then memory, then sessions and whole folders by batch."""
    data = test_data("zoo")
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, "zoo")
        facectl("train", "zoo", "--data", data, "--out", run, "--no-report", "--quiet")
        facectl("export", run, "--format", "onnx,tflite", "--quantize", "fp32,int8", "--quiet")
        model = run / "export" / MODELS[0]
        photographs = write_mosaics(data, Path(folder, "photographs"), COUNT)
        reader = format_of(model)
        spec = reader.read_spec(model)
        engine = reader.open(model, spec, Device("cpu"))
        rounds = [_round(model, engine, spec.input, photographs) for _ in range(ROUNDS)]
        folders = {count: _linked(photographs, Path(folder), count) for count in (FEW, MANY)}
        memory = {count: measured(_command(model, path)).peak_mb for count, path in folders.items()}
        batches = {name: _by_batch(run / "export" / name) for name in MODELS}
        small = sorted(data.rglob("*.jpg"))[:SMALL]
        whole = {name: _whole_by_batch(run / "export" / name, small) for name in MODELS[:2]}
    shown = middle(rounds)
    rows = [("", "images a second"), ("decode alone, D", f"{shown['decode']:.1f}")]
    rows += [("session alone, S", f"{shown['session']:.1f}"), ("bound 1 / (1/D + 1/S)", f"{shown['bound']:.1f}")]
    rows += [
        ("facectl predict, whole process", f"{shown['predict']:.1f}"),
        ("share of the bound (at least 0.9)", f"{shown['ratio']:.3f}"),
    ]
    print(columns(rows, right=(1,)))
    print(f"peak memory: {memory[FEW]:.0f} MB for {FEW} images, {memory[MANY]:.0f} MB for {MANY}")
    _report("session", batches)
    _report(f"a folder of {SMALL} small photographs", whole)
    figures = {"count": COUNT, **shown, "rounds": rounds, "peak_mb": memory, "batches": batches}
    keep("folder", {**figures, "small": SMALL, "whole_by_batch": whole})


def _round(model: Path, engine: Engine, spec: InputSpec, photographs: list[Path]) -> dict[str, float]:
    n = len(photographs)
    started = time.perf_counter()
    with ThreadPoolExecutor(usable_cores()) as pool:
        pixels = np.stack(list(pool.map(lambda path: image.load(path, spec), photographs)))
    decode = n / (time.perf_counter() - started)
    started = time.perf_counter()
    for first in range(0, n, BATCH):
        engine.infer(pixels[first : first + BATCH])
    session = n / (time.perf_counter() - started)
    predict = n / measured(_command(model, photographs[0].parent)).seconds
    bound = 1 / (1 / decode + 1 / session)
    return {"decode": decode, "session": session, "bound": bound, "predict": predict, "ratio": predict / bound}


def _command(model: Path, folder: Path) -> list[object]:
    return [FACECTL, "predict", model, folder, "--jsonl", "--quiet"]


def _linked(photographs: list[Path], folder: Path, count: int) -> Path:
    """Make a folder of `count` names for the same photographs."""
    out = folder / f"{count}"
    out.mkdir()
    for number in range(count):
        os.link(photographs[number % len(photographs)], out / f"{number:05}.jpg")
    return out


def _by_batch(model: Path) -> dict[int, dict[str, float]]:
    """Time a model's session with each number of images at once, in turn; one that takes one image with one alone.

    `times_used` is how many times as many images a second it answers as with the batch that `facectl predict` uses,
    the median over the turns.
    """
    reader = format_of(model)
    spec = reader.read_spec(model)
    engines = {batch: reader.open(model, spec, Device("cpu")) for batch in BATCHES}
    sizes = BATCHES if engines[1].batch is None else (1,)
    turns = in_turn({size: answering(engines[size], spec.input, size) for size in sizes}, SECONDS)
    return _against_used({size: [size / np.median(turn) for turn in turns[size]] for size in sizes})


def _whole_by_batch(model: Path, photographs: list[Path]) -> dict[int, dict[str, float]]:
    """Time a folder, decoded and answered as `facectl predict` does it, with each number of images at once, in turn."""
    reader = format_of(model)
    spec = reader.read_spec(model)
    engine, load = reader.open(model, spec, Device("cpu")), loader(spec.input)
    sources = [Source(path.name, path) for path in photographs]
    infer = stacked(engine)
    rates: dict[int, list[float]] = {size: [] for size in BATCHES}
    for _ in range(TURNS):
        for size in BATCHES:
            started = time.perf_counter()
            answered = sum(1 for _ in answers(decode_ahead(sources, load, size, eager=True), infer, engine.lanes))
            rates[size].append(answered / (time.perf_counter() - started))
    return _against_used(rates)


def _against_used(rates: dict[int, list[float]]) -> dict[int, dict[str, float]]:
    used = rates.get(BATCH, rates[1])
    return {
        size: {
            "images_a_second": float(np.median(found)),
            "times_used": float(np.median([one / other for one, other in zip(found, used, strict=False)])),
        }
        for size, found in rates.items()
    }


def _report(what: str, batches: dict[str, dict[int, dict[str, float]]]) -> None:
    """Print images a second by batch, and which batch is best."""
    rows = [(f"{what}, images a second", *map(str, BATCHES), "best", f"× batch {BATCH}")]
    for name, found in batches.items():
        best = max(found, key=lambda size: found[size]["times_used"])
        cells = (f"{found[size]['images_a_second']:.0f}" if size in found else "" for size in BATCHES)
        rows.append((name, *cells, str(best), f"{found[best]['times_used']:.3f}"))
    print(columns(rows, right=tuple(range(1, len(BATCHES) + 3))))


if __name__ == "__main__":
    main()
