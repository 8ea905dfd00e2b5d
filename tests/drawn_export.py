"""An export as it is measured of EfficientNet-Lite0 on two cores, with figures of that order, made up."""

from facectl_export.gate import Comparison, EmbeddingComparison
from facectl_export.measured import (
    Disagreement,
    Export,
    Exported,
    IntegerShare,
    KeptFloat,
    Tuning,
)
from facectl_export.precision import PRECISIONS
from facectl_runtime.bench.latency import Latency
from facectl_runtime.metrics import wilson

SUFFIX = {"onnx": ".onnx", "tflite": ".tflite", "coreml": ".mlpackage"}
N, RIGHT = 251, 242
# format, precision: MB, zipped MB, images lost, images answered otherwise, largest |Δp|, milliseconds
FIGURES = {
    ("onnx", "fp32"): (13.5, 12.5, 0, 0, 2e-6, 7.9),
    ("onnx", "fp16"): (6.8, 6.2, 0, 0, 0.004, 8.8),
    ("onnx", "int8"): (3.8, 3.4, 0, 3, 0.21, 4.1),
    ("onnx", "int8-qat"): (3.8, 3.4, -1, 2, 0.18, 4.1),
    ("tflite", "fp32"): (13.4, 12.4, 0, 0, 3e-6, 9.6),
    ("tflite", "fp16"): (6.7, 6.2, 0, 0, 0.003, 10.4),
    ("tflite", "int8"): (4.0, 3.5, 1, 3, 0.34, 11.2),
    ("tflite", "int8-weights"): (3.9, 3.4, 1, 2, 0.12, 14.9),
    ("tflite", "int8-qat"): (4.0, 3.5, 0, 2, 0.2, 5.2),
    ("tflite", "pruned"): (13.4, 7.3, 2, 4, 0.41, 9.7),
    ("tflite", "clustered"): (13.4, 3.0, 2, 6, 0.55, 9.6),
    ("coreml", "fp16"): (6.8, 6.2, 0, 0, 0.004, None),
    ("coreml", "int8-weights"): (3.6, 3.3, 1, 2, 0.11, None),
    ("coreml", "palette6"): (2.7, 2.5, 2, 5, 0.31, None),
    ("coreml", "palette4"): (1.9, 1.7, 9, 17, 0.88, None),
}
PHOTOGRAPHS = ("sheep/014.jpg", "horse/102.jpg", "wolf/031.jpg", "squirrel/007.jpg", "cat/150.jpg", "deer/088.jpg")


def compared(lost=0, otherwise=0, largest=2e-6):
    right = (RIGHT - lost) / N
    return Comparison(
        n=N,
        accuracy_trained=RIGHT / N,
        accuracy=right,
        agreement=1 - otherwise / N,
        agreement_interval=wilson(N - otherwise, N),
        largest=largest,
        mean=largest / 40,
        kl=largest / 90,
        drop=lost / N,
        drop_interval=(lost / N - 0.011, lost / N + 0.013),
        disagreements=PHOTOGRAPHS[: min(otherwise, 6)],
        lost=max(lost, 0),
        won=max(-lost, 0),
    )


def embedded(cosine=0.9999):
    return EmbeddingComparison(N, cosine, (cosine - 2e-5, cosine + 2e-5), cosine - 0.004, (1 - cosine) * 8)


def row(kind="onnx", precision="fp32", name="zoo", **more):
    """Make a row with nothing measured but its size."""
    tag = "" if precision == "fp32" else f".{precision}"
    given = {
        "file": f"{name}{tag}{SUFFIX[kind]}",
        "format": kind,
        "precision": precision,
        "target": PRECISIONS[precision].targets[kind],
        "size": 1000,
        "zipped": 900,
        "gate": "passed",
        "created": "2026-11-20T10:11:12Z",
        "seconds": 1.0,
    }
    return Exported(**{**given, **more})


def export(*files, **more):
    """Make an export of a classifier."""
    given = {
        "name": "zoo",
        "task": "classify",
        "network_sha256": "a" * 64,
        "created": "2026-11-20T10:11:12Z",
        "machine": "x86_64, Linux, 2 cores",
        "n_test": N,
        "accuracy": RIGHT / N,
        "seconds": 431.0,
        "peak_bytes": 2_900_000_000,
    }
    return Export(**{**given, **more}, files=files)


def whole():
    """Make one of 15 files: some slower than float, two not verified, one let out though it falls short."""
    return export(*(measured(*key, *values) for key, values in FIGURES.items()))


def measured(kind, precision, size, zipped, lost, otherwise, largest, ms):
    unverified, degraded = (kind, precision) == ("coreml", "fp16"), precision == "palette4"
    recipe = PRECISIONS[precision]
    return row(
        kind,
        precision,
        size=round(size * 1e6),
        zipped=round(zipped * 1e6),
        gate="unverified" if unverified else "degraded" if degraded else "passed",
        comparison=None if unverified else compared(lost, otherwise, largest),
        shortfalls=("agreement 0.9323, at least 0.9681 is needed", "largest |Δp| 0.88, at most 0.75 is allowed")
        if degraded
        else (),
        integer=integer(recipe.integer, kind),
        calibration="minmax over 512 training images" if recipe.integer == "arithmetic" else "",
        latency=ms and Latency(ms, ms * 1.22, 240, "onnxruntime 1.31.1", "cpu"),
        slower_than_float=recipe.integer is not None and bool(ms) and ms > 9.6,
        kept_float=KeptFloat(
            ("stem_conv", "blocks_1_depthwise", "blocks_2_depthwise"), 0.951, 0.984, 148, 3_700_000, 3_790_000
        )
        if (kind, precision) == ("onnx", "int8")
        else None,
        tuning=Tuning(recipe.network, 5, 0.962, 0.958, 0.957, 74.0) if recipe.network != "trained" else None,
        worst=worst(min(otherwise, 6), largest),
    )


def integer(wanted, kind):
    if wanted is None:
        return None
    return IntegerShare(47 if wanted == "arithmetic" else 0, 50, 3_310_000, 3_340_000 if kind == "onnx" else 3_310_000)


def worst(count, largest):
    answers = ("sheep", "horse", "wolf", "squirrel", "cat", "deer")
    others = ("goat", "donkey", "dog", "chipmunk", "lynx", "elk")
    return tuple(
        Disagreement(path, truth, truth, 0.61 - 0.02 * place, other, 0.48 + 0.03 * place, largest / (1 + place))
        for place, (path, truth, other) in enumerate(zip(PHOTOGRAPHS[:count], answers, others, strict=False))
    )


def embedding():
    """Make an export of an embedding, of four files."""
    return export(
        row("onnx", "fp32", size=93_000_000, zipped=86_000_000, comparison=embedded(1.0)),
        row("onnx", "int8", size=24_000_000, zipped=21_000_000, comparison=embedded(0.9961)),
        row("tflite", "fp16", size=47_000_000, zipped=43_000_000, comparison=embedded(0.99998)),
        row("coreml", "palette4", size=12_000_000, zipped=11_000_000, comparison=embedded(0.9712)),
        task="embed",
        accuracy=None,
    )
