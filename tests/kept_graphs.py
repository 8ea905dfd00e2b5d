"""Small networks whose graphs are kept between runs, and what they answer."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from facectl_runtime.devices import Device
from facectl_runtime.engines import onnx as engine

CPU = Device("cpu")
SIDE, CHANNELS = 16, 8


def kept(folder):
    return sorted(folder.iterdir()) if folder.exists() else []


def network(quantized=False, seed=0):
    """uint8 N × 16 × 16 × 3 → float32 N × 4: two convolutions with ReLU and a residual sum, of floats or as QDQ."""
    draw = np.random.default_rng(seed)
    nodes, constants = [], {}

    def constant(name, values):
        constants[name] = numpy_helper.from_array(values, name)
        return name

    def quantize(name, low):
        """Let a tensor pass through 8 bits."""
        if not quantized:
            return name
        parts = [constant(f"{name}_step", np.float32(0.05)), constant(f"{name}_zero", np.uint8(low))]
        nodes.append(helper.make_node("QuantizeLinear", [name, *parts], [f"{name}_q"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}_q", *parts], [f"{name}_dq"]))
        return f"{name}_dq"

    def weights(name, inputs, outputs):
        values = draw.normal(0, 0.3, (outputs, inputs, 3, 3)).astype(np.float32)
        if not quantized:
            return constant(name, values)
        steps = np.abs(values).max(axis=(1, 2, 3)) / 127
        numbers = np.rint(values / steps[:, None, None, None]).astype(np.int8)
        parts = [constant(f"{name}_q", numbers), constant(f"{name}_step", steps.astype(np.float32)),
                 constant(f"{name}_zero", np.zeros(outputs, np.int8))]  # fmt: skip
        nodes.append(helper.make_node("DequantizeLinear", parts, [name], axis=0))
        return name

    nodes.append(helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT))
    nodes.append(helper.make_node("Div", ["floats", constant("scale", np.float32(64))], ["scaled"]))
    nodes.append(helper.make_node("Transpose", ["scaled"], ["x0"], perm=[0, 3, 1, 2]))
    value = quantize("x0", 0)
    for layer, inputs in enumerate((3, CHANNELS), start=1):
        taken = [value, weights(f"w{layer}", inputs, CHANNELS)]
        nodes.append(helper.make_node("Conv", taken, [f"c{layer}"], kernel_shape=[3, 3], pads=[1] * 4))
        nodes.append(helper.make_node("Relu", [f"c{layer}"], [f"r{layer}"]))
        value = quantize(f"r{layer}", 0)
    nodes.append(helper.make_node("GlobalAveragePool", [value], ["pooled"]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["row"]))
    head = constant("head", draw.normal(0, 1, (CHANNELS, 4)).astype(np.float32))
    nodes.append(helper.make_node("MatMul", ["row", head], ["logits"]))
    nodes.append(helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1))
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["N", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 4])],
        list(constants.values()),
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)])


def written(path, model):
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


def answers(path, count=5):
    pixels = np.random.default_rng(1).integers(0, 256, (count, SIDE, SIDE, 3)).astype(np.uint8)
    return engine.open_graph(path, CPU).run(pixels)
