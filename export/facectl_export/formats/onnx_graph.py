"""What an ONNX graph is made of: the layers of the Keras model that it came from, its float ends, its integer share."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from facectl_export.gate import IntegerShare

LAYER_OPS = ("Conv", "MatMul", "Gemm")
"""Convolutions and matrix products, as tf2onnx writes them."""

_FLOAT_LAYERS = 3  # of a network of twelve or more; a quarter of a smaller one

_INTEGER_OPS = {
    *("QLinearConv", "QLinearMatMul", "QGemm", "ConvInteger"),
    *("MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"),
}
_FLOAT_OPS = {
    *("Conv", "ConvTranspose", "FusedConv", "NhwcFusedConv"),
    *("Gemm", "FusedGemm", "MatMul", "FusedMatMul"),
}
_WEIGHTS_AT = dict.fromkeys((*LAYER_OPS, "ConvTranspose", "ConvInteger", "MatMulInteger"), 1) | dict.fromkeys(
    ("QLinearConv", "QLinearMatMul"), 3
)
"""Which input holds the weights."""
_REARRANGING = ("DequantizeLinear", "QuantizeLinear", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Cast")


def first_nodes(nodes: Sequence[Any]) -> Sequence[Any]:
    """Give the nodes that stay float in an int8 file: those that scale the pixels, and the first layers.

    The first layers hold few weights and see the finest detail: rounding there is what costs most further on.
    """
    positions = layer_positions(nodes)
    return nodes[: positions[min(_FLOAT_LAYERS, len(positions) // 4)]]


def layer_positions(nodes: Sequence[Any]) -> list[int]:
    """Give the positions of the convolutions and matrix products among `nodes`."""
    return [position for position, node in enumerate(nodes) if node.op_type in LAYER_OPS]


def layer_name(node: str) -> str:
    """Give the Keras layer that a node is of: `model/block1a/Conv2D` is of `block1a`, whose own name may have parts."""
    return "/".join(node.split("/")[1:-1]) or node


def is_under(node: str, path: str) -> bool:
    """Tell whether `path`, one or more whole parts, stands in a node's name: `conv2d_1` does not in `m/conv2d_17/x`."""
    return f"/{path}/" in f"/{node}/"


def drop_unused_domains(model: Any) -> None:
    """Let a model ask for no operator set that none of its nodes is of: a strict reader would refuse it for one."""
    used = {"", *(node.domain for node in model.graph.node)}
    kept = [entry for entry in model.opset_import if entry.domain in used]
    model.ClearField("opset_import")
    model.opset_import.extend(kept)


def integer_share(path: Path) -> IntegerShare:
    """Count what is integer: ops of the graph that ONNX Runtime makes of a file for this CPU, weights of the file."""
    import onnx

    ops = [node.op_type for node in _optimized(path).graph.node]
    weights = _weights(onnx.load(path).graph)
    integer = sum(op in _INTEGER_OPS for op in ops)
    return IntegerShare(
        ops=integer,
        ops_of=integer + sum(op in _FLOAT_OPS for op in ops),
        weights=sum(count for count, width in weights if width == 1),
        weights_of=sum(count for count, _ in weights),
    )


def _optimized(path: Path) -> Any:
    """Load the graph that ONNX Runtime runs; a file in QDQ form holds float ops, which only its optimizer replaces."""
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()  # the level of optimization is the default, as in the engine
    options.log_severity_level = 3  # it warns that what is saved suits this machine alone
    with TemporaryDirectory(prefix="facectl.") as folder:
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
        return onnx.load(options.optimized_model_filepath)


def _weights(graph: Any) -> list[tuple[int, int]]:
    """Give (elements, bytes an element) of the weights of every convolution and matrix product, each once."""
    import numpy as np
    import onnx

    stored = {tensor.name: tensor for tensor in graph.initializer}
    makers = {output: node for node in graph.node for output in node.output}
    found = {}
    for node in graph.node:
        if node.op_type not in _WEIGHTS_AT:
            continue
        name = node.input[_WEIGHTS_AT[node.op_type]]
        while name in makers and makers[name].op_type in _REARRANGING:
            name = makers[name].input[0]
        if name in stored:  # a product of two activations has no weights
            found[name] = stored[name]
    width = onnx.helper.tensor_dtype_to_np_dtype
    return [(int(np.prod(tensor.dims)), width(tensor.data_type).itemsize) for tensor in found.values()]
