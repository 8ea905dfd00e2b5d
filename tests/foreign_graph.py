"""An ONNX model of others, which says nothing of itself."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

WIDTH, HEIGHT = 12, 8
LABELS = ["red", "green", "blue"]


def graph(classes=3, width=WIDTH, height=HEIGHT, ends=("Softmax",), inputs=1, outputs=1, shape=None, half=False):
    """Mean of N × 3 × height × width in float32 × 4, then `ends`: the dominant colour."""
    weights = np.eye(3, classes, dtype=np.float32) * 4
    constants = [numpy_helper.from_array(np.array([2, 3]), "axes")]
    nodes = [helper.make_node("ReduceMean", ["image0", "axes"], ["mean"], keepdims=0)]
    if half:
        constants.append(numpy_helper.from_array(weights.astype(np.float16), "half"))
        nodes.append(helper.make_node("Cast", ["half"], ["weights"], to=TensorProto.FLOAT))
    else:
        constants.append(numpy_helper.from_array(weights, "weights"))
    nodes.append(helper.make_node("MatMul", ["mean", "weights"], ["v0"]))
    for number, op in enumerate(ends):
        nodes.append(helper.make_node(op, [f"v{number}"], [f"v{number + 1}"]))
    last = f"v{len(ends)}"
    if shape:
        constants.append(numpy_helper.from_array(np.array(shape), "shape"))
        nodes.append(helper.make_node("Reshape", [last, "shape"], ["shaped"]))
        last = "shaped"
    nodes += [helper.make_node("Identity", [last], [f"out{n}"]) for n in range(outputs)]
    sides = ["N", *(shape[1:] if shape else [classes])]
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(f"image{n}", TensorProto.FLOAT, ["N", 3, height, width]) for n in range(inputs)],
        [helper.make_tensor_value_info(f"out{n}", TensorProto.FLOAT, sides) for n in range(outputs)],
        constants,
    )
    model = helper.make_model(made, ir_version=10, opset_imports=[helper.make_opsetid("", 18)])
    model.metadata_props.add(key="author", value="someone else")
    return model
