"""What is measured of an exported file: the contents of `report.json`, and what the report and the card are made of."""

import math
from typing import Literal

import msgspec

from facectl_export.gate import Comparison, EmbeddingComparison, IntegerShare
from facectl_export.precision import PRECISIONS, FileFormat, Network
from facectl_runtime.bench.latency import Latency
from facectl_runtime.spec import Gate, Precision


class KeptFloat(msgspec.Struct, frozen=True):
    """Layers that stayed float in an int8 file, and what it was for. Measured on val."""

    layers: tuple[str, ...]
    """Names as in the Keras model, those that quantization hurts most first."""
    agreement_before: float
    """Share of these images with the trained model's likeliest class, or their mean cosine, everything quantized."""
    agreement: float
    """With these layers float."""
    n: int
    """Images of val that it was measured on."""
    bytes_before: int
    """Size of the file with everything quantized, before its spec is in it."""
    bytes: int
    """With these layers float."""


class Tuning(msgspec.Struct, frozen=True):
    """A fine-tuning by the TensorFlow Model Optimization toolkit; accuracies on val, 0 to 1."""

    network: Network
    epochs: int
    accuracy_before: float
    """Of the run's own model."""
    accuracy_tuned: float
    """With the toolkit's simulation in the graph."""
    accuracy_stripped: float
    """Without it: what is converted."""
    seconds: float


class Disagreement(msgspec.Struct, frozen=True):
    """A test image that the file answers most unlike the trained model."""

    path: str
    """Relative to the data folder."""
    label: str
    trained: str
    trained_probability: float
    exported: str
    exported_probability: float
    """Of `exported`, by the file."""
    largest: float
    """Largest |Δp| over the classes."""


class Exported(msgspec.Struct, frozen=True):
    """One file and all that is known of it."""

    file: str
    """Its name in the export's folder; a folder itself for Core ML."""
    format: FileFormat
    precision: Precision
    target: str
    """The least that runs it."""
    size: int
    """Bytes."""
    zipped: int
    """Bytes of it as a zip archive (deflate): what a download or an app bundle carries."""
    gate: Gate | Literal["failed"]
    """`failed` is only in the page of an export that did not leave."""
    created: str
    """When it was exported: UTC, ISO 8601."""
    seconds: float
    """Spent on this file: conversion, quantization, gate. What several files share is counted with the first."""
    engine: str = ""
    """What answered for it; empty where it is unverified."""
    comparison: Comparison | EmbeddingComparison | None = None
    """With the trained model on the test split; None where it is unverified."""
    shortfalls: tuple[str, ...] = ()
    """What lay outside the tolerance, in words."""
    integer: IntegerShare | None = None
    calibration: str = ""
    """How ranges of activations were found, and on how many images; empty where they are not in the file."""
    latency: Latency | None = None
    slower_than_float: bool = False
    """Whether an integer file took longer than the fp32 file of its format here."""
    kept_float: KeptFloat | None = None
    tuning: Tuning | None = None
    worst: tuple[Disagreement, ...] = ()
    """Most unlike first; empty where it answers alike."""

    @property
    def is_number(self) -> bool:
        """Whether the file's answers are numbers, which a spec and a report can hold."""
        return self.comparison is None or math.isfinite(self.comparison.largest)

    @property
    def is_integer(self) -> bool:
        """Whether this file is to compute on integers, or to store its weights as such."""
        return PRECISIONS[self.precision].integer is not None


class Export(msgspec.Struct, frozen=True):
    """One export: the contents of `report.json`."""

    name: str
    task: Literal["classify", "embed"]
    network_sha256: str
    """Of the trained network (layers, wiring, values): which run it is of."""
    created: str
    """UTC, ISO 8601."""
    machine: str
    """Processor architecture, system and cores."""
    n_test: int
    accuracy: float | None
    """Of the trained model on the test split; None for an embedding."""
    seconds: float
    peak_bytes: int
    """Most memory that the exporting process held."""
    files: tuple[Exported, ...]

    @property
    def calibration(self) -> str:
        """How ranges of activations were found, in all files: the ways first, then over what."""
        ways: dict[str, set[str]] = {}
        for one in self.files:
            how, over, images = one.calibration.partition(" over ")
            if over:
                ways.setdefault(images, set()).add(how)
        return "; ".join(f"{', '.join(sorted(hows))} over {images}" for images, hows in sorted(ways.items()))
