"""Measures of a classifier, with their uncertainty: pure functions on arrays."""

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.integer]

_Z95 = 1.959963984540054


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Give the 95 % score interval of a proportion (Wilson 1927). Raises `ValueError` where n is 0."""
    if n < 1 or not 0 <= hits <= n:
        raise ValueError(f"{hits} of {n} is not a proportion")
    share, square = hits / n, _Z95**2
    centre = (share + square / (2 * n)) / (1 + square / n)
    half = _Z95 / (1 + square / n) * math.sqrt(share * (1 - share) / n + square / (4 * n**2))
    return min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half))


def paired_drop(before: npt.NDArray[np.bool_], after: npt.NDArray[np.bool_]) -> tuple[float, float, float]:
    """Give the drop in accuracy from `before` to `after` on the same images, with its 95 % interval.

    `before` and `after`: N booleans, right or wrong. The interval is the adjusted Wald one for matched pairs, half an
    observation added to each cell of the 2 × 2 table (Agresti & Min 2005). Gives (drop, low, high); above 0 is worse.
    """
    n = len(before)
    lost, won = int(np.sum(before & ~after)), int(np.sum(~before & after))
    lost_adjusted, won_adjusted, n_adjusted = lost + 0.5, won + 0.5, n + 2
    centre = (lost_adjusted - won_adjusted) / n_adjusted
    spread = lost_adjusted + won_adjusted - (lost_adjusted - won_adjusted) ** 2 / n_adjusted
    half = _Z95 * math.sqrt(spread) / n_adjusted
    drop = (lost - won) / n
    return drop, min(drop, max(-1.0, centre - half)), max(drop, min(1.0, centre + half))


def confusion(truth: Ints, predicted: Ints, classes: int) -> npt.NDArray[np.int64]:
    """Count images: classes × classes int64, a row for the true class, a column for the predicted one."""
    table = np.zeros((classes, classes), np.int64)
    np.add.at(table, (truth, predicted), 1)
    return table


def precision_recall_f1(table: npt.NDArray[np.int64]) -> list[tuple[float | None, float | None, float | None]]:
    """Give (precision, recall, F1) per class of a confusion matrix; None where nothing was predicted or present."""
    hits = np.diag(table)
    rows = []
    for hit, predicted, present in zip(hits, table.sum(axis=0), table.sum(axis=1), strict=True):
        precision = float(hit / predicted) if predicted else None
        recall = float(hit / present) if present else None
        f1 = float(2 * hit / (predicted + present)) if predicted + present else None
        rows.append((precision, recall, f1))
    return rows


def kl_divergence(p: Floats, q: Floats) -> Floats:
    """Give KL(p ‖ q) in nats, per row of two N × classes arrays of probabilities; float64, N."""
    p64, q64 = np.asarray(p, np.float64), np.asarray(q, np.float64)
    tiny = 1e-12  # a probability that underflowed would make the sum infinite
    divergence = np.sum(p64 * (np.log(p64 + tiny) - np.log(q64 + tiny)), axis=1)
    return np.asarray(np.maximum(divergence, 0))  # float32 rows that sum to 1 only nearly can come out just below 0
