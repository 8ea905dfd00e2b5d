"""The gate: an exported file against the trained model, image by image."""

import math
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np

from facectl_export.precision import Tolerance
from facectl_runtime.evaluate import Answered
from facectl_runtime.metrics import kl_divergence, paired_drop, wilson
from facectl_runtime.spec import NORM_TOLERANCE


class Comparison(msgspec.Struct, frozen=True, tag_field="task", tag="classify"):
    """How an exported classifier's answers differ from the trained model's."""

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
    lost: int
    """Images that the trained model answers rightly and the file does not."""
    won: int
    """Those of the reverse."""


class EmbeddingComparison(msgspec.Struct, frozen=True, tag_field="task", tag="embed"):
    """How an exported embedding differs from the trained model's."""

    n: int
    cosine: float
    """Mean cosine between an image's two embeddings."""
    cosine_interval: tuple[float, float]
    """95 % interval of the mean (normal approximation)."""
    least: float
    """The least cosine of any image."""
    largest: float
    """Largest |difference| of any component."""
    norm: float | None = None
    """Largest | ‖q‖₂ - 1 | of the file's own embeddings, to which cosines are blind; None where it was not measured."""


class IntegerShare(msgspec.Struct, frozen=True):
    """How much of a file is integer, as the engine that runs it has it."""

    ops: int
    """Convolutions and matrix products that compute on integers."""
    ops_of: int
    """All of them."""
    weights: int
    """Weights stored in 8 bits or less."""
    weights_of: int
    """All weights of convolutions and matrix products."""


@dataclass(frozen=True)
class Shortfall:
    """One measure that lies outside its tolerance."""

    measure: str
    value: float
    allowed: float
    least: bool = False
    """Whether more is better."""

    def __str__(self) -> str:
        bound = "at least {:.4g} is needed" if self.least else "at most {:.4g} is allowed"
        return f"{self.measure} {self.value:.4g}, {bound.format(self.allowed)}"


def compare(trained: Answered, exported: Answered) -> Comparison:
    """Compare two classifiers' answers to the same images. Raises `ValueError` where the images differ."""
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
        lost=int(np.sum(trained.right & ~exported.right)),
        won=int(np.sum(~trained.right & exported.right)),
    )


def compare_embeddings(trained: Answered, exported: Answered) -> EmbeddingComparison:
    """Compare two models' embeddings (N × d in the place of probabilities) of the same images.

    Raises `ValueError` where the images differ.
    """
    if trained.images != exported.images:
        raise ValueError("the two models answered different images")
    p, q = trained.probabilities.astype(np.float64), exported.probabilities.astype(np.float64)
    norms = np.linalg.norm(q, axis=1)
    cosines = (p * q).sum(axis=1) / (np.linalg.norm(p, axis=1) * norms)
    mean, n = float(cosines.mean()), len(cosines)
    half = 1.96 * float(cosines.std(ddof=1)) / math.sqrt(n) if n > 1 else 2.0
    return EmbeddingComparison(
        n=n,
        cosine=mean,
        cosine_interval=(max(-1.0, mean - half), min(1.0, mean + half)),
        least=float(cosines.min()),
        largest=float(np.abs(p - q).max()),
        norm=float(np.abs(norms - 1).max()),
    )


def shortfalls(measured: Comparison | EmbeddingComparison, tolerance: Tolerance) -> list[Shortfall]:
    """List what lies outside the tolerance. A measure that is no number always does.

    Images flip and are lost whole: what agreement and drop allow is rounded up to one, so that a single image is no
    failure where there are too few to show a share so small.
    """
    if isinstance(measured, EmbeddingComparison):
        return _embedding_shortfalls(measured, tolerance)
    # As a mean of images is computed, so that what lies exactly at the bound is found to.
    agreement = (measured.n - _whole(1 - tolerance.agreement, measured.n)) / measured.n
    found = []
    if not measured.agreement >= agreement:
        found.append(Shortfall("agreement", measured.agreement, agreement, least=True))
    for name, value, allowed in (
        ("largest |Δp|", measured.largest, tolerance.largest),
        ("mean |Δp|", measured.mean, tolerance.mean),
        ("KL divergence", measured.kl, tolerance.kl),
        ("drop in accuracy", measured.drop, _whole(tolerance.drop, measured.n) / measured.n),
    ):
        if not value <= allowed:
            found.append(Shortfall(name, value, allowed))
    return found


def _embedding_shortfalls(measured: EmbeddingComparison, tolerance: Tolerance) -> list[Shortfall]:
    found = []
    if not measured.cosine >= tolerance.cosine:
        found.append(Shortfall("mean cosine", measured.cosine, tolerance.cosine, least=True))
    if not measured.least >= tolerance.least:
        found.append(Shortfall("least cosine", measured.least, tolerance.least, least=True))
    if measured.norm is not None and not measured.norm <= NORM_TOLERANCE:
        found.append(Shortfall("largest |norm - 1|", measured.norm, NORM_TOLERANCE))
    return found


def by_name_only(share: IntegerShare, needed: Literal["arithmetic", "weights"]) -> str | None:
    """Say in what a file is int8 by name only: fewer than half of its weights or, where needed, of its layers."""
    if 2 * share.weights < max(share.weights_of, 1):
        return f"int8 by name only: {share.weights:,} of {share.weights_of:,} weights are stored in 8 bits"
    if needed == "arithmetic" and 2 * share.ops < max(share.ops_of, 1):
        return f"int8 by name only: {share.ops} of {share.ops_of} layers compute on integers"
    return None


def _whole(share: float, n: int) -> int:
    """Say how many whole images a share of n is, rounded up."""
    return math.ceil(round(share * n, 9))
