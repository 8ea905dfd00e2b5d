"""The gate: an exported file against the trained model, image by image, on the test split."""

import math
from dataclasses import dataclass

import msgspec
import numpy as np

from facectl_export.precision import Tolerance
from facectl_runtime.evaluate import Answered
from facectl_runtime.metrics import kl_divergence, paired_drop, wilson


class Comparison(msgspec.Struct, frozen=True):
    """How an exported file's answers differ from the trained model's."""

    n: int
    accuracy_trained: float
    accuracy: float
    agreement: float
    """Share of images with the same likeliest class."""
    agreement_interval: tuple[float, float]
    """95 % Wilson score interval."""
    largest: float
    """Largest |Δp|."""
    mean: float
    """Mean |Δp|: half its sum over the classes (the total variation), averaged over the images."""
    kl: float
    """Mean KL(trained ‖ exported), in nats."""
    drop: float
    """Accuracy lost, 0.01 being one point; negative where it was won."""
    drop_interval: tuple[float, float]
    """95 % interval for matched pairs."""
    disagreements: tuple[str, ...]
    """Paths of the images with another likeliest class."""


@dataclass(frozen=True)
class Shortfall:
    """One measure that lies outside its tolerance."""

    measure: str
    value: float
    allowed: float

    def __str__(self) -> str:
        side = "at least" if self.value < self.allowed else "at most"
        return f"{self.measure} {self.value:.4g}, {side} {self.allowed:g} is needed"


def compare(trained: Answered, exported: Answered) -> Comparison:
    """Compare two models' answers to the same images. Raises `ValueError` where the images differ."""
    if trained.images != exported.images:
        raise ValueError("the two models answered different images")
    p, q = trained.probabilities.astype(np.float64), exported.probabilities.astype(np.float64)
    same = p.argmax(axis=1) == q.argmax(axis=1)
    n, difference = len(same), np.abs(p - q)
    drop, low, high = paired_drop(trained.right, exported.right)
    return Comparison(
        n=n,
        accuracy_trained=float(trained.right.mean()),
        accuracy=float(exported.right.mean()),
        agreement=float(same.mean()),
        agreement_interval=wilson(int(same.sum()), n),
        largest=float(difference.max()),
        mean=float(difference.sum(axis=1).mean() / 2),
        kl=float(kl_divergence(p, q).mean()),
        drop=drop,
        drop_interval=(low, high),
        disagreements=tuple(image.path for image, agrees in zip(trained.images, same, strict=True) if not agrees),
    )


def shortfalls(measured: Comparison, tolerance: Tolerance) -> list[Shortfall]:
    """List what lies outside the tolerance. A measure that is no number always does.

    Images flip and are lost whole: what agreement and drop allow is rounded up to one, so that a single image is no
    failure where there are too few to show a share so small.
    """
    agreement = 1 - _whole(1 - tolerance.agreement, measured.n)
    found = []
    if not measured.agreement >= agreement:
        found.append(Shortfall("agreement", measured.agreement, agreement))
    for name, value, allowed in (
        ("largest |Δp|", measured.largest, tolerance.largest),
        ("mean |Δp|", measured.mean, tolerance.mean),
        ("KL divergence", measured.kl, tolerance.kl),
        ("drop in accuracy", measured.drop, _whole(tolerance.drop, measured.n)),
    ):
        if not value <= allowed:
            found.append(Shortfall(name, value, allowed))
    return found


def _whole(share: float, n: int) -> float:
    """Round a share of n images up to whole images."""
    return math.ceil(round(share * n, 9)) / n
