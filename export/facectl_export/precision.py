"""Precisions: what is done to a network's numbers, what it may cost, and where each can run, in one table."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from facectl_runtime.spec import Precision

FileFormat = Literal["onnx", "tflite", "coreml"]
Network = Literal["trained", "quantize-aware", "pruned", "clustered"]


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
    cosine: float
    """Least mean cosine to the trained model's embeddings."""
    least: float
    """Least cosine of any one image: a mean hides a face that has become somebody else's."""
    golden: float
    """Largest |Δp| when the golden images are replayed on another machine: float kernels differ in the last digits,
    integer ones by a rounding step of each layer."""


_EXACT = Tolerance(agreement=1.0, largest=1e-3, mean=1e-4, kl=1e-4, drop=0.0, cosine=0.999, least=0.99, golden=1e-3)
_HALF = Tolerance(agreement=0.99, largest=0.05, mean=0.005, kl=0.005, drop=0.005, cosine=0.999, least=0.99, golden=0.02)
_COARSE = Tolerance(agreement=0.97, largest=0.75, mean=0.03, kl=0.1, drop=0.01, cosine=0.99, least=0.9, golden=0.1)


@dataclass(frozen=True)
class PrecisionRecipe:
    """One way to make a network smaller or faster."""

    about: str
    """What it does, in a line."""
    tolerance: Tolerance
    targets: dict[FileFormat, str]
    """By format, the least that runs it."""
    refused: dict[FileFormat, str]
    """By format that has no such files: why, and what to take instead."""
    network: Network = "trained"
    """Which weights: those of the run, or those that a fine-tuning on its training split made of them."""
    integer: Literal["arithmetic", "weights"] | None = None
    """What must be integer in the file, or it is int8 by name only."""


_NO_QUANTIZED_CORE_ML = (
    "coremltools sets the scales of activations by running the model, which it does on macOS only; take int8-weights"
)
_ORT_DYNAMIC = "ONNX Runtime computes weights-only int8 ten times slower than float on convolutions; take int8"
_ORT_SPARSE = "ONNX Runtime has no sparse or clustered weights: such a file would be no smaller; take int8"
_TFLITE_PALETTE = "TFLite has no palettes of weights; take clustered, which is smaller once zipped"
_PALETTE_TARGET: dict[FileFormat, str] = {"coreml": "iOS 16"}
_PALETTE_REFUSED: dict[FileFormat, str] = {"onnx": _ORT_SPARSE, "tflite": _TFLITE_PALETTE}

PRECISIONS: dict[Precision, PrecisionRecipe] = {
    "fp32": PrecisionRecipe(
        "as it was trained",
        _EXACT,
        {"onnx": "ONNX Runtime 1.24", "tflite": "LiteRT 2", "coreml": "iOS 15"},
        {},
    ),
    "fp16": PrecisionRecipe(
        "weights, and in ONNX and Core ML activations too, as 16-bit floats",
        _HALF,
        {"onnx": "ONNX Runtime 1.24", "tflite": "LiteRT 2", "coreml": "iOS 15"},
        {},
    ),
    "int8": PrecisionRecipe(
        "8-bit weights (per channel) and activations, ranges by training images",
        _COARSE,
        {"onnx": "ONNX Runtime 1.24", "tflite": "LiteRT 2"},
        {"coreml": _NO_QUANTIZED_CORE_ML},
        integer="arithmetic",
    ),
    "int8-weights": PrecisionRecipe(
        "8-bit weights (per channel); activations stay float",
        _COARSE,
        {"tflite": "LiteRT 2", "coreml": "iOS 16"},
        {"onnx": _ORT_DYNAMIC},
        integer="weights",
    ),
    "int8-qat": PrecisionRecipe(
        "int8 after fine-tuning with the rounding simulated (tfmot)",
        _COARSE,
        {"onnx": "ONNX Runtime 1.24", "tflite": "LiteRT 2"},
        {"coreml": _NO_QUANTIZED_CORE_ML},
        network="quantize-aware",
        integer="arithmetic",
    ),
    "pruned": PrecisionRecipe(
        "the large layers' smallest weights zero, after fine-tuning (tfmot); smaller once zipped",
        _COARSE,
        {"tflite": "LiteRT 2", "coreml": "iOS 16"},
        {"onnx": _ORT_SPARSE},
        network="pruned",
    ),
    "clustered": PrecisionRecipe(
        "few different weights a layer, after fine-tuning (tfmot); smaller once zipped",
        _COARSE,
        {"tflite": "LiteRT 2"},
        {"onnx": _ORT_SPARSE, "coreml": "take palette8, palette6 or palette4: Core ML's own form of it"},
        network="clustered",
    ),
    "palette8": PrecisionRecipe("256 different weights a layer (k-means)", _COARSE, _PALETTE_TARGET, _PALETTE_REFUSED),
    "palette6": PrecisionRecipe(
        "64 different weights a layer (k-means); a tenth of the weights 8 bits",
        _COARSE,
        _PALETTE_TARGET,
        _PALETTE_REFUSED,
    ),
    "palette4": PrecisionRecipe(
        "16 different weights a large layer (k-means); the others 8 bits", _COARSE, _PALETTE_TARGET, _PALETTE_REFUSED
    ),
}
"""Its keys are the only list of precisions."""


class Cell(NamedTuple):
    """One file to make."""

    format: FileFormat
    precision: Precision

    @property
    def recipe(self) -> PrecisionRecipe:
        """Give what is done."""
        return PRECISIONS[self.precision]
