"""Precisions: what each may cost, in one table."""

from dataclasses import dataclass

from facectl_runtime.spec import Precision


@dataclass(frozen=True)
class Tolerance:
    """How far a file may be from the trained model on the test split."""

    agreement: float
    """Least share of images with the same likeliest class; what is allowed to differ is rounded up to a whole image."""
    largest: float
    """Largest |Δp| of any class of any image."""
    mean: float
    """Mean |Δp|: half its sum over the classes (the total variation), averaged over the images."""
    kl: float
    """Mean KL(trained ‖ exported), in nats."""
    drop: float
    """Largest drop in accuracy, 0.01 being one point; rounded up to a whole image."""
    golden: float
    """Largest |Δp| when the golden images are replayed on another machine: float kernels differ in the last digits,
    integer ones by a rounding step of each layer."""


TOLERANCES: dict[Precision, Tolerance] = {
    "fp32": Tolerance(agreement=1.0, largest=1e-3, mean=1e-4, kl=1e-4, drop=0.0, golden=1e-3),
    "int8": Tolerance(agreement=0.97, largest=0.75, mean=0.03, kl=0.1, drop=0.01, golden=0.1),
}
"""Its keys are the only list of precisions that can be exported."""
