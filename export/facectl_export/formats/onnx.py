"""From a Keras model to ONNX: float32, float16, and int8 with scales and zero points in the graph (QDQ)."""

import os
from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace

from facectl_export.formats.onnx_bias import correct
from facectl_export.formats.onnx_graph import (
    LAYER_OPS,
    drop_unused_domains,
    first_nodes,
    integer_share,
    is_under,
    layer_name,
    layer_positions,
)
from facectl_export.formats.onnx_ranges import QUANTIZED_OPS, calibrate
from facectl_export.formats.quiet import quiet
from facectl_export.ranges import Ranges
from facectl_runtime.errors import MissingExtraError, UsageError, did_you_mean
from facectl_runtime.onnx_metadata import graph_digest
from facectl_runtime.spec import SPEC_KEY, ModelSpec, encode

__all__ = [
    "OPSET",
    "OPSETS",
    "calibrate",
    "integer_share",
    "layers",
    "require_packages",
    "write_fp16",
    "write_fp32",
    "write_int8",
    "write_spec",
]

OPSETS = range(13, 19)
"""From the first with scales per channel to the last that both tf2onnx and ONNX Runtime's quantizer take."""
OPSET = OPSETS[-1]
INPUT, BATCH = "pixels", "N"


def write_fp32(model: Any, spec: ModelSpec, path: Path, batch: int | None = None, opset: int = OPSET) -> None:
    """Convert a Keras model: uint8 N × height × width × 3 → float32 N × size, rows of L2 norm 1 for an embedding.

    The file takes `batch` images at once, or any number where it is None. `opset` is one of `OPSETS`; raises
    `UsageError` for another.
    """
    if opset not in OPSETS:
        raise UsageError(f"--opset {opset}: use {OPSETS[0]} to {OPSETS[-1]}; other opsets cannot be quantized here")
    import onnx
    import tensorflow as tf
    import tf2onnx

    def answer(pixels: Any) -> dict[str, Any]:
        return {spec.output.kind: model(pixels, training=False)}

    signature = tf.TensorSpec((batch, spec.input.height, spec.input.width, 3), tf.uint8, name=INPUT)
    # It would copy the whole graph before each of its optimizers, to go on without one that fails: of ResNet50, 5 GB.
    os.environ.setdefault("TF2ONNX_CATCH_ERRORS", "FALSE")
    with quiet():
        converted, _ = tf2onnx.convert.from_function(tf.function(answer), input_signature=[signature], opset=opset)
    for value in (*converted.graph.input, *converted.graph.output) if batch is None else ():
        value.type.tensor_type.shape.dim[0].dim_param = BATCH
    drop_unused_domains(converted)
    onnx.checker.check_model(converted, full_check=True)
    onnx.save(converted, path)


def write_fp16(fp32: Path, path: Path) -> None:
    """Convert weights and activations to float16, from the first convolution or matrix product to the last.

    What comes before (the scaling of pixels: the squares of an image sum to far beyond 65504) and after (softmax,
    L2 norm) stays float32, as do the file's input and output.
    """
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = onnx.shape_inference.infer_shapes(onnx.load(fp32))
    nodes = list(model.graph.node)
    positions = layer_positions(nodes)
    first, last = positions[0], positions[-1] + 1
    ends = nodes[:first] + nodes[last:]
    body = _cut_out(model, nodes[first:last], ends)
    half = convert_float_to_float16(body, keep_io_types=True, op_block_list=[]).graph
    # It puts the casts of the body's inputs behind the nodes that need them.
    inside = sorted(half.node, key=lambda node: not node.name.startswith("graph_input_cast"))
    needed = {name for node in ends for name in node.input}
    weights = [tensor for tensor in model.graph.initializer if tensor.name in needed]
    graph = onnx.helper.make_graph(
        [*nodes[:first], *inside, *nodes[last:]],
        model.graph.name,
        model.graph.input,
        model.graph.output,
        [*weights, *half.initializer],
    )
    model.graph.CopyFrom(graph)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def write_int8(fp32: Path, ranges: Ranges, path: Path, keep: Collection[str] = ()) -> None:
    """Quantize statically: uint8 activations within `ranges`, int8 weights per channel, biases corrected.

    Pixel scaling, the first layers and the softmax stay float, and so do the Keras layers named in `keep`. Raises
    `UsageError` where `keep` names a layer that the file does not have.
    """
    import onnx

    nodes = ranges.graph.graph.node
    for layer in keep:
        if not any(is_under(node.name, layer) for node in nodes):
            raise UsageError(f"{fp32.name}: no layer {layer!r} to keep float{did_you_mean(layer, layers(fp32))}")
    paths = [*(node.name for node in first_nodes(nodes)), *keep]
    floats = [node.name for node in nodes if any(is_under(node.name, path) for path in paths)]
    model = onnx.ModelProto()
    model.CopyFrom(ranges.graph)
    with quiet():
        quantizer = _quantizer(model, ranges, floats)
        quantizer.quantize_model()
    graph = quantizer.model.model.graph
    correct(graph, ranges.graph.graph, ranges.means)
    _hold_float(graph)
    drop_unused_domains(quantizer.model.model)
    quantizer.model.save_model_to_file(path)


def _quantizer(model: Any, ranges: Ranges, floats: list[str]) -> Any:
    """Give ONNX Runtime's quantizer of a model, which it changes, for all nodes but those named."""
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    limits = {name: tuple(np.array(end, np.float32) for end in ends) for name, ends in ranges.limits.items()}
    return QDQQuantizer(
        model,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, limits),
        nodes_to_quantize=[],
        nodes_to_exclude=floats,
        op_types_to_quantize=QUANTIZED_OPS,
        extra_options={},
    )


def layers(fp32: Path) -> list[str]:
    """Name the Keras layers of an fp32 file that are convolutions or matrix products, in their order."""
    import onnx

    nodes = onnx.load(fp32).graph.node
    return list(dict.fromkeys(layer_name(nodes[position].name) for position in layer_positions(nodes)))


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


def _cut_out(model: Any, nodes: list[Any], others: list[Any]) -> Any:
    """Make a model of some `nodes` of one: their inputs and outputs are what passes between them and the `others`."""
    import onnx

    made = {name for node in nodes for name in node.output}
    used = {name for node in nodes for name in node.input}
    made_elsewhere = {value.name for value in model.graph.input}.union(*(node.output for node in others))
    used_elsewhere = {value.name for value in model.graph.output}.union(*(node.input for node in others))
    values = {value.name: value for value in (*model.graph.input, *model.graph.output, *model.graph.value_info)}
    graph = onnx.helper.make_graph(
        nodes,
        model.graph.name,
        [values[name] for name in sorted(used & made_elsewhere)],
        [values[name] for name in sorted(made & used_elsewhere)],
        [tensor for tensor in model.graph.initializer if tensor.name in used],
    )
    # A constant that the others use too has its own value there.
    onnx.compose.add_prefix_graph(
        graph,
        "half/",
        rename_nodes=False,
        rename_edges=False,
        rename_inputs=False,
        rename_outputs=False,
        rename_value_infos=False,
        inplace=True,
    )
    return onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)


def _hold_float(graph: Any) -> None:
    """Put a node that changes no value behind every float layer that takes a quantized input.

    Between a DequantizeLinear and a QuantizeLinear, ONNX Runtime would round the weights of such a layer by itself when
    it loads the file, and with one scale for all channels ("WeightBiasQuantization").
    """
    import numpy as np
    import onnx

    makers = {name: node.op_type for node in graph.node for name in node.output}
    least = onnx.numpy_helper.from_array(np.array(np.finfo(np.float32).min), "least float")
    nodes = []
    for node in graph.node:
        nodes.append(node)
        rounded = [makers.get(name) == "DequantizeLinear" for name in node.input[:2]]  # the values, the weights
        if node.op_type in LAYER_OPS and rounded == [True, False]:
            name = node.output[0]
            node.output[0] = f"{name}/float"
            nodes.append(onnx.helper.make_node("Max", [node.output[0], least.name], [name], f"{node.name}/float"))
    if len(nodes) > len(graph.node):
        graph.initializer.append(least)
        graph.ClearField("node")
        graph.node.extend(nodes)
