"""Calibration: the temperature that makes probabilities mean what they say."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Truth = npt.NDArray[np.intp]

_LOG_T_DEVIATION = 0.5


def fit_temperature(logits: Floats, truth: Truth) -> float:
    """Give the temperature T for which softmax(logits / T) fits `truth` best; between 0.05 and 20.

    `logits`: N × classes. Source: Guo, Pleiss, Sun & Weinberger, On Calibration of Modern Neural Networks, ICML 2017.
    Where every image of val is answered rightly, the cross-entropy falls for ever as T goes to 0, and the model would
    be made as sure as can be on no evidence. So log T has a normal prior, mean 0 and deviation 0.5: it holds T near 1
    until the images say otherwise, and the cross-entropy on val never rises.
    """
    from scipy.optimize import minimize_scalar

    n = len(truth)
    found = minimize_scalar(
        lambda log_t: n * cross_entropy(logits / np.exp(log_t), truth) + log_t**2 / (2 * _LOG_T_DEVIATION**2),
        bounds=np.log([0.05, 20]),
        method="bounded",
    )
    return float(np.exp(found.x))


def cross_entropy(logits: Floats, truth: Truth) -> float:
    """Give the mean of -log softmax(logits)[truth], in nats."""
    return float(-np.mean(log_softmax(logits)[np.arange(len(truth)), truth]))


def logits(probabilities: Floats) -> npt.NDArray[np.float64]:
    """Give logits whose softmax is `probabilities`; one that underflowed counts as the least float32."""
    return np.log(np.maximum(np.asarray(probabilities, np.float64), np.finfo(np.float32).tiny))


def log_softmax(logits: Floats) -> npt.NDArray[np.float64]:
    """Give log softmax of each row, exact where the odds are beyond float32."""
    exact = np.asarray(logits, np.float64)
    shifted = exact - exact.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))
