"""From a Keras model to TFLite: float32, half-precision weights, int8 weights, and int8 throughout."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from facectl_export.bias import Means
from facectl_export.calibration import Method
from facectl_export.formats.quiet import quiet
from facectl_export.formats.tflite_bias import WITH_BIAS, correct
from facectl_export.formats.tflite_graph import Graph, integer_share, layers
from facectl_export.formats.tflite_metadata import write_spec
from facectl_runtime.devices import usable_cores
from facectl_runtime.errors import MissingExtraError, ModelError, UsageError, did_you_mean
from facectl_runtime.spec import ModelSpec
from facectl_trainer.framework import tensorflow

__all__ = [
    "calibrate",
    "integer_share",
    "layers",
    "require_packages",
    "write_fp16",
    "write_fp32",
    "write_int8",
    "write_int8_weights",
    "write_spec",
]

INPUT = "pixels"
PERCENTILE = 99.999  # of 100 values, those inside the range; half of the others lie on each side
_BINS = 512  # of a histogram from -t to t
_LEVELS = 128  # that entropy tells apart in it; with fewer bins than four times as many it finds little to cut

_SAMPLE = 1 << 14  # values of one activation of one image that a histogram counts

Limits = Mapping[str, tuple[float, float]]
"""By the name of a tensor of the fp32 file: the least and the largest value that int8 numbers stand for."""
Batches = Iterable[npt.NDArray[np.uint8]]


@dataclass(frozen=True)
class Ranges:
    """What is known of one fp32 file's activations, for any number of quantizations of it."""

    limits: Limits
    means: Means


def write_fp32(model: Any, spec: ModelSpec, path: Path, batch: int | None = 1) -> None:
    """Convert a Keras model (uint8 N × height × width × 3 → float32 N × size).

    The file takes `batch` images at once, or any number where it is None. It names its input `pixels`, and its output
    `probabilities` or `embedding`.
    """
    with quiet():
        tf = tensorflow()

        traced = tf.function(
            lambda pixels: {spec.output.kind: model(pixels, training=False)},
            input_signature=[tf.TensorSpec((batch, spec.input.height, spec.input.width, 3), tf.uint8, name=INPUT)],
        )
        converter = tf.lite.TFLiteConverter.from_concrete_functions([traced.get_concrete_function()], model)
        path.write_bytes(converter.convert())


def write_fp16(fp32: Path, path: Path) -> None:
    """Cast the weights of convolutions and matrix products to half precision; all is computed in float32."""
    with quiet():
        from ai_edge_quantizer.quantizer import AlgorithmName

        quantizer = _quantizer(fp32)
        quantizer.add_weight_only_config(".*", "*", num_bits=16, algorithm_key=AlgorithmName.FLOAT_CASTING)
        path.write_bytes(_quantized(quantizer))


def write_int8_weights(fp32: Path, path: Path) -> None:
    """Round weights to int8 per channel; LiteRT rounds activations as they come ("dynamic range")."""
    with quiet():
        from ai_edge_quantizer import recipe

        path.write_bytes(_quantized(_quantizer(fp32, recipe.dynamic_wi8_afp32())))


def calibrate(fp32: Path, batches: Batches, method: Method) -> Ranges:
    """Find the range of every activation over `batches`, uint8 N × height × width × 3 each, of training images.

    `minmax`: all that was met. `percentile`: without the outermost values. `entropy`: what loses least information
    (Szymon Migacz, "8-bit inference with TensorRT", GTC 2017). The last two are ONNX Runtime's implementation, and
    hold all of `batches` in memory, activations one image at a time. Raises `UsageError` where there is no image.
    """
    with quiet():
        if method == "minmax":
            return _met(fp32, batches)
        images = list(batches)
        met = _met(fp32, images)
        return Ranges(_by_histogram(fp32, images, method, met.limits), met.means)


def write_int8(fp32: Path, ranges: Ranges, path: Path, keep: Collection[str] = ()) -> None:
    """Quantize statically: int8 activations within `ranges`, int8 weights per channel, biases corrected.

    What comes before the first weights (the scaling of pixels) and after the last (softmax, normalization) stays float,
    and so do the Keras layers named in `keep`. Raises `UsageError` where `keep` names one that the file has not.
    """
    graph, kept = Graph(fp32), set(keep)
    if unknown := sorted(kept.difference(*(op.layers for op in graph.ops))):
        known = layers(fp32)
        raise UsageError(
            f"layer {unknown[0]!r} to keep float is not in {fp32.name}{did_you_mean(unknown[0], known)}; "
            f"its layers are {', '.join(known)}"
        )
    with quiet():
        from ai_edge_quantizer import recipe
        from ai_edge_quantizer.quantizer import AlgorithmName

        quantizer = _quantizer(fp32, recipe.static_wi8_ai8())
        for op in graph.ops:
            if op.name in graph.around or kept.intersection(op.layers):
                scope = f"^{re.escape(op.name)};$"  # how the quantizer writes an op's name
                quantizer.update_quantization_recipe(scope, "*", algorithm_key=AlgorithmName.NO_QUANTIZE)
        int8 = _quantized(quantizer, ranges.limits)
    path.write_bytes(correct(int8, fp32.read_bytes(), ranges.means))


def require_packages() -> None:
    """Raise `MissingExtraError` where a package that exporting needs is not installed."""
    for package in ("tensorflow", "ai_edge_litert", "ai_edge_quantizer", "flatbuffers"):
        if find_spec(package) is None:
            raise MissingExtraError(f"exporting TFLite needs {package}; install it with: pip install 'facectl[export]'")


def _quantizer(fp32: Path, recipe: Any = None) -> Any:
    from ai_edge_quantizer.quantizer import Quantizer

    return Quantizer(fp32.read_bytes(), recipe)


def _quantized(quantizer: Any, limits: Limits | None = None) -> bytes:
    found = {name: {"min": np.array([low]), "max": np.array([high])} for name, (low, high) in (limits or {}).items()}
    done = quantizer.quantize(found or None, enable_progress_bar=False, enable_progress_report=False)
    return bytes(done.quantized_model)


def _met(fp32: Path, batches: Batches) -> Ranges:
    """Find the least and the largest value of every activation, and the mean of each channel that goes into a layer."""
    graph = Graph(fp32)
    into = {graph.tensors[op.inputs[0]].name for op in graph.ops if op.kind in WITH_BIAS}
    limits: dict[str, tuple[float, float]] = {}
    sums: dict[str, Any] = dict.fromkeys(into, 0.0)
    images = 0
    for activations in _activations(fp32, batches):
        images += 1
        for name, values in activations.items():
            low, high = limits.get(name, (np.inf, -np.inf))
            limits[name] = min(low, float(values.min())), max(high, float(values.max()))
            if name in into:
                sums[name] += values.reshape(-1, values.shape[-1]).mean(axis=0).astype(np.float64)
    if not images:
        raise UsageError("there are no images to calibrate with; give some of the training split")
    if strange := [name for name, range_ in limits.items() if not np.isfinite(range_).all()]:
        raise ModelError(f"{fp32.name}: {strange[0]} gives values that are not finite; train the network again")
    return Ranges(limits, {name: total / images for name, total in sums.items()})


def _by_histogram(fp32: Path, batches: Batches, method: Method, met: Limits) -> Limits:
    from onnxruntime.quantization.calibrate import HistogramCollector

    collector = HistogramCollector(
        method=method,
        symmetric=False,
        num_bins=_BINS,
        num_quantized_bins=_LEVELS,
        percentile=PERCENTILE,
        scenario="same",
    )
    # The collector adds bins of the first image's width for every wider image, without end: so it is told the width.
    for name, (low, high) in met.items():
        widest = np.float32(max(-low, high))
        edges = np.linspace(-widest, widest, _BINS + 1, dtype=np.float32)
        nothing = np.zeros(_BINS, np.int64)
        collector.histogram_dict[name] = nothing, edges, np.float32(low), np.float32(high), widest
    random = np.random.default_rng(0)
    for activations in _activations(fp32, batches):
        collector.collect({name: _sample(values, random) for name, values in activations.items()})
    found = collector.compute_collection_result()
    return {name: (float(low), float(high)) for name, (low, high, *_) in found.items()}


def _sample(values: npt.NDArray[np.float32], random: np.random.Generator) -> npt.NDArray[np.float32]:
    values = values.reshape(-1)
    return values if values.size <= _SAMPLE else values[random.integers(0, values.size, _SAMPLE)]


def _activations(fp32: Path, batches: Batches) -> Iterator[dict[str, npt.NDArray[np.float32]]]:
    """Give what every op makes of an image, by the tensor's name, image after image."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(
        model_content=fp32.read_bytes(), num_threads=usable_cores(), experimental_preserve_all_tensors=True
    )
    interpreter.allocate_tensors()
    (taken,) = interpreter.get_input_details()
    graph = Graph(fp32)
    made = [number for op in graph.ops for number in op.outputs if graph.tensors[number].type == "FLOAT32"]
    at_once = int(taken["shape"][0])
    for images in _pieces(batches, at_once):
        interpreter.set_tensor(taken["index"], images[np.arange(at_once) % len(images)])
        interpreter.invoke()
        whole = {graph.tensors[number].name: interpreter.get_tensor(number) for number in made}
        for place in range(len(images)):
            yield {name: values[place : place + 1] for name, values in whole.items()}


def _pieces(batches: Batches, size: int) -> Iterator[npt.NDArray[np.uint8]]:
    """Cut batches to as many images as the file takes at once; the last may have fewer."""
    images = (image for pixels in batches for image in pixels)
    while some := list(islice(images, size)):
        yield np.stack(some)
