"""Ranges of activations: from what a float file makes of calibration images to the values that int8 stands for."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from facectl_export.bias import Means
from facectl_export.calibration import Method
from facectl_runtime.errors import ModelError, UsageError

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Batches = Iterable[Pixels]
Activations = Callable[[Batches], Iterator[Mapping[str, Floats]]]
"""Gives, for each image of batches (uint8 N × height × width × 3), its activations, 1 × …, by their tensors' names."""
Limits = Mapping[str, tuple[float, float]]
"""By the name of a tensor of the fp32 file: the least and the largest value that int8 numbers stand for."""

PERCENTILES: dict[Method, tuple[float, ...]] = {
    "minmax": (100.0,),
    "percentile": (99.999,),
    "auto": (100.0, 99.999, 99.99),
}
"""Of 100 values, those inside the range; half of the others lie on each side."""
_BINS = 512  # of a histogram from -t to t
_LEVELS = 128  # that entropy tells apart in it; with fewer bins than four times as many it finds little to cut
_SAMPLE = 1 << 14  # values of one activation of one image that a histogram counts


@dataclass(frozen=True)
class Ranges:
    """What is known of one fp32 file's activations, for any number of quantizations of it."""

    how: str
    """How they were found, in words."""
    limits: Limits
    means: Means
    graph: Any = None
    """What the format made of the file on the way, where it needs that again."""


def find(
    file: str, activations: Activations, channels: Mapping[str, int], batches: Batches, count: int, method: Method
) -> list[Ranges]:
    """Find the range of every activation of a file over `count` images, and the mean of each channel.

    `channels`: by the name of a tensor that means are taken of, its axis of channels. `minmax`: all that was met.
    `percentile`: 99.999 % of it. `entropy`: what loses least information (Szymon Migacz, "8-bit inference with
    TensorRT", GTC 2017), as ONNX Runtime has it, by histograms of at most 16,384 values of a tensor and image; it holds
    all of `batches` in memory. `auto`: three candidates, the
    widest first. Raises `UsageError` where there is no image, and `ModelError` for values that are not finite.
    """
    images = list(batches) if method == "entropy" else batches
    percentiles = PERCENTILES.get(method, (100.0,))
    met, means = _collected(activations(images), channels, count, min(percentiles))
    if not met:
        raise UsageError("there are no images to calibrate with; give some of the training split")
    if strange := [name for name, one in met.items() if not np.isfinite(one.limits(100)).all()]:
        raise ModelError(f"{file}: {strange[0]} gives values that are not finite; train the network again")
    limits = [{name: one.limits(percentile) for name, one in met.items()} for percentile in percentiles]
    if method == "entropy":
        return [Ranges("entropy", _by_entropy(activations(images), limits[0]), means)]
    return [Ranges(_words(percentile), each, means) for percentile, each in zip(percentiles, limits, strict=True)]


def _collected(
    activations: Iterator[Mapping[str, Floats]], channels: Mapping[str, int], count: int, percentile: float
) -> tuple[dict[str, "Outermost"], Means]:
    """Go through the activations of `count` images once."""
    met: dict[str, Outermost] = {}
    sums: dict[str, Any] = dict.fromkeys(channels, 0.0)
    seen = 0
    for seen, values in enumerate(activations, 1):  # noqa: B007  # how many there were
        for name, one in values.items():
            if name not in met:
                met[name] = Outermost(1 + _outside(one.size * count, percentile))
            met[name].add(one)
        for name, axis in channels.items():
            others = tuple(place for place in range(values[name].ndim) if place != axis % values[name].ndim)
            sums[name] += values[name].mean(axis=others).astype(np.float64)
    return met, {name: total / max(seen, 1) for name, total in sums.items()}


class Outermost:
    """The outermost values of a stream of numbers: enough of them to know any percentile that leaves out fewer."""

    def __init__(self, keep: int) -> None:
        """Keep at least `keep` values at each end."""
        self.count = 0
        self._ends = _Largest(keep), _Largest(keep)  # of the values, and of their negatives

    def add(self, values: Floats) -> None:
        """Take in more values, of any shape."""
        flat = values.reshape(-1)
        self.count += flat.size
        for end, signed in zip(self._ends, (flat, -flat), strict=True):
            end.add(signed)

    def limits(self, percentile: float) -> tuple[float, float]:
        """Give the least and the largest value that lie inside a percentile."""
        rank = _outside(self.count, percentile)
        largest, negative_of_least = (end.at(rank) for end in self._ends)
        return -negative_of_least, largest


class _Largest:
    """The largest values of a stream, by a threshold that few of the later values pass."""

    def __init__(self, keep: int) -> None:
        self._keep, self._threshold = keep, -math.inf
        self._held: list[Floats] = []
        self._more = 0

    def add(self, values: Floats) -> None:
        if not float(values.max()) <= self._threshold:  # a NaN is taken in too
            passing = values[~(values <= self._threshold)]
            self._held.append(passing)
            self._more += passing.size
            if self._more > 2 * self._keep:
                self._compact()

    def _compact(self) -> None:
        values = np.concatenate(self._held)
        values = np.partition(values, values.size - self._keep)[-self._keep :]
        self._held, self._more, self._threshold = [values], values.size, float(values[0])

    def at(self, rank: int) -> float:
        """Give the value that `rank` values lie above."""
        return float(np.sort(np.concatenate(self._held))[-1 - rank])


def pieces(batches: Batches, size: int) -> Iterator[tuple[Pixels, int]]:
    """Cut batches to `size` images each, and say how many count: the last has its images over again to be as many."""
    images = (image for pixels in batches for image in pixels)
    while some := list(islice(images, size)):
        yield np.stack([some[place % len(some)] for place in range(size)]), len(some)


def _outside(count: int, percentile: float) -> int:
    """Say how many of `count` values lie outside a percentile on each side."""
    return int(count * (100 - percentile) / 200)


def _words(percentile: float) -> str:
    return "minmax" if percentile == 100 else f"percentile {percentile:g}"


def _by_entropy(activations: Iterator[Mapping[str, Floats]], met: Limits) -> Limits:
    from onnxruntime.quantization.calibrate import HistogramCollector

    collector = HistogramCollector(
        method="entropy", symmetric=False, num_bins=_BINS, num_quantized_bins=_LEVELS, percentile=100, scenario="same"
    )
    # The collector adds bins of the first image's width for every wider image, without end: so it is told the width.
    for name, (low, high) in met.items():
        widest = np.float32(max(-low, high))
        edges = np.linspace(-widest, widest, _BINS + 1, dtype=np.float32)
        nothing = np.zeros(_BINS, np.int64)
        collector.histogram_dict[name] = nothing, edges, np.float32(low), np.float32(high), widest
    random = np.random.default_rng(0)
    for values in activations:
        collector.collect({name: _sample(found, random) for name, found in values.items()})
    found = collector.compute_collection_result()
    return {name: (float(low), float(high)) for name, (low, high, *_) in found.items()}


def _sample(values: Floats, random: np.random.Generator) -> Floats:
    values = values.reshape(-1)
    return values if values.size <= _SAMPLE else values[random.integers(0, values.size, _SAMPLE)]
