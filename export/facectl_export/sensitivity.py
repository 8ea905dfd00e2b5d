"""Which layers stay float in an int8 file, so that it stays within its tolerance on val."""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from facectl_export.gate import Comparison, EmbeddingComparison, shortfalls
from facectl_export.measured import KeptFloat
from facectl_export.precision import Tolerance

Quantize = Callable[[Collection[str]], Path]
"""Makes the int8 file in which the layers of these names stay float."""
Compare = Callable[[Path], Comparison | EmbeddingComparison]
"""Compares a file with the trained model on val."""


@dataclass(frozen=True)
class Whole:
    """What was found of the file in which every layer is quantized."""

    compared: Comparison | EmbeddingComparison
    size: int
    """In bytes."""


def keep_float(
    quantize: Quantize,
    compare: Compare,
    whole: Whole,
    layers: Sequence[str],
    tolerance: Tolerance,
    advance: Callable[[int], None],
) -> KeptFloat:
    """Find the layers that quantization hurts most, and keep 1, 2, 4, … of them float until val is within tolerance.

    How much a layer is hurt is how far the answers move when it alone is quantized. At most a third of the layers stay
    so: what is then still outside is for the gate to refuse. `advance` is called with 1 for each of the len(layers)
    measurements.
    """
    hurt: dict[str, float] = {}
    for layer in layers:
        hurt[layer] = distance(compare(quantize([other for other in layers if other != layer])))
        advance(1)
    worst_first = sorted(layers, key=lambda layer: -hurt[layer])
    count, most = 1, max(1, len(layers) // 3)
    kept, found = _kept(quantize, compare, whole, worst_first[:count])
    while shortfalls(found, tolerance) and count < most:
        count = min(2 * count, most)
        kept, found = _kept(quantize, compare, whole, worst_first[:count])
    return kept


def keep_named(quantize: Quantize, compare: Compare, whole: Whole, names: Sequence[str]) -> KeptFloat:
    """Keep layers float, and measure what that costs and brings."""
    return _kept(quantize, compare, whole, names)[0]


def _kept(
    quantize: Quantize, compare: Compare, whole: Whole, names: Sequence[str]
) -> tuple[KeptFloat, Comparison | EmbeddingComparison]:
    path = quantize(names)
    found, size = compare(path), path.stat().st_size
    return KeptFloat(tuple(names), _agreement(whole.compared), _agreement(found), found.n, whole.size, size), found


def distance(compared: Comparison | EmbeddingComparison) -> float:
    """Say how far a file's answers are from the trained model's: KL divergence in nats, or 1 - cosine.

    Infinitely far where they are no numbers.
    """
    found = compared.kl if isinstance(compared, Comparison) else 1 - compared.cosine
    return found if math.isfinite(found) else math.inf


def _agreement(compared: Comparison | EmbeddingComparison) -> float:
    return compared.agreement if isinstance(compared, Comparison) else compared.cosine
