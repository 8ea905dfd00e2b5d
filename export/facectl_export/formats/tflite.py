"""From a Keras model to TFLite: float32, half-precision weights, int8 weights, and int8 throughout."""

import re
from collections.abc import Collection, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from facectl_export.calibration import Method
from facectl_export.formats.quiet import quiet
from facectl_export.formats.tflite_bias import WITH_BIAS, correct
from facectl_export.formats.tflite_graph import Graph, integer_share, layers
from facectl_export.formats.tflite_metadata import write_spec
from facectl_export.ranges import Batches, Floats, Limits, Ranges, find, pieces
from facectl_runtime.devices import usable_cores
from facectl_runtime.errors import MissingExtraError, UsageError, did_you_mean
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
        holder = tf.Module()  # of Keras's own model the converter would trace every layer, five times as long
        holder.held = model.variables
        converter = tf.lite.TFLiteConverter.from_concrete_functions([traced.get_concrete_function()], holder)
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


def calibrate(fp32: Path, batches: Batches, count: int, method: Method) -> list[Ranges]:
    """Find the range of every activation over `count` training images, as `ranges.find` does."""
    graph = Graph(fp32)
    channels = {graph.tensors[op.inputs[0]].name: -1 for op in graph.ops if op.kind in WITH_BIAS}
    with quiet():
        return find(fp32.name, _Activations(fp32, graph), channels, batches, count, method)


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


class _Activations:
    """Runs a float file, and gives what its ops make."""

    def __init__(self, fp32: Path, graph: Graph) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(
            model_content=fp32.read_bytes(), num_threads=usable_cores(), experimental_preserve_all_tensors=True
        )
        self._interpreter.allocate_tensors()
        made = [number for op in graph.ops for number in op.outputs if graph.tensors[number].type == "FLOAT32"]
        self._names = {number: graph.tensors[number].name for number in made}

    def __call__(self, batches: Batches) -> Iterator[Mapping[str, Floats]]:
        """Give the activations of each image, by tensor."""
        (taken,) = self._interpreter.get_input_details()
        for pixels, count in pieces(batches, int(taken["shape"][0])):
            self._interpreter.set_tensor(taken["index"], pixels)
            self._interpreter.invoke()
            whole = {name: self._interpreter.get_tensor(number) for number, name in self._names.items()}
            for place in range(count):
                yield {name: values[place : place + 1] for name, values in whole.items()}
