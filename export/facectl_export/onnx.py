"""From a Keras model to ONNX: float32, and int8 with scales and zero points in the graph (QDQ)."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from facectl_runtime.errors import MissingExtraError
from facectl_runtime.onnx_metadata import graph_digest
from facectl_runtime.spec import SPEC_KEY, ModelSpec, encode

OPSET = 18  # of those that tf2onnx writes, the newest that ONNX Runtime's quantizer takes
INPUT, OUTPUT, BATCH = "pixels", "probabilities", "N"

_FLOAT_LAYERS = 3

# The softmax is not among them: it stays float.
_QUANTIZED_OPS = ("Conv", "MatMul", "Gemm", "Add", "Clip", "Relu", "MaxPool", "AveragePool", "ReduceMean")


def write_fp32(model: Any, spec: ModelSpec, path: Path) -> None:
    """Convert a Keras model (uint8 N × height × width × 3 → float32 N × size) with a batch dimension left open."""
    import onnx
    import tensorflow as tf
    import tf2onnx

    shape = (None, spec.input.height, spec.input.width, 3)
    traced = tf.function(lambda pixels: {OUTPUT: model(pixels, training=False)})
    with _quiet():
        graph, _ = tf2onnx.convert.from_function(
            traced, input_signature=[tf.TensorSpec(shape, tf.uint8, name=INPUT)], opset=OPSET
        )
    for value in (*graph.graph.input, *graph.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = BATCH
    onnx.checker.check_model(graph, full_check=True)
    onnx.save(graph, path)


def write_int8(fp32: Path, batches: Iterable[npt.NDArray[np.uint8]], path: Path, scratch: Path) -> None:
    """Quantize statically: uint8 activations by min-max over `batches`, int8 weights per channel.

    `batches`: uint8 N × height × width × 3 each, of training images. `scratch`: a folder for intermediate files.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # the package has no types
        def __init__(self) -> None:
            self._batches = iter(batches)

        def get_next(self) -> dict[str, npt.NDArray[np.uint8]] | None:
            batch = next(self._batches, None)
            return None if batch is None else {INPUT: batch}

    prepared = scratch / "prepared.onnx"
    with _quiet():
        quant_pre_process(fp32, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            path,
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(_QUANTIZED_OPS),
            nodes_to_exclude=_first_nodes(prepared),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )


def write_spec(path: Path, spec: ModelSpec) -> None:
    """Put `spec` into an ONNX file's metadata, in the place of one that is there, with the digest of its graph."""
    import onnx

    model = onnx.load(path)
    others = [entry for entry in model.metadata_props if entry.key != SPEC_KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(others)
    onnx.save(model, path)
    model.metadata_props.add(key=SPEC_KEY, value=encode(replace(spec, graph_sha256=graph_digest(path))))
    onnx.save(model, path)


def require_packages() -> None:
    """Raise `MissingExtraError` where a package that exporting needs is not installed."""
    for package in ("onnx", "tf2onnx", "onnxruntime"):
        if find_spec(package) is None:  # importing tf2onnx would bring TensorFlow with its banners
            raise MissingExtraError(f"exporting needs {package}; install it with: pip install 'facectl[export,cpu]'")


def _first_nodes(path: Path) -> list[str]:
    """Name the nodes that stay float: those that scale the pixels, and the first layers.

    The first layers hold few weights and see the finest detail: rounding there is what costs most further on.
    """
    import onnx

    names: list[str] = []
    layers = 0
    for node in onnx.load(path).graph.node:
        layers += node.op_type in ("Conv", "MatMul", "Gemm")
        if layers > _FLOAT_LAYERS:
            break
        names.append(node.name)
    return names


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the converters' remarks: what matters is measured by the gate."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
