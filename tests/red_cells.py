"""A network with YuNet's inputs and outputs that takes a red cell of 32 × 32 pixels for a face."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

POINTS = ((0.25, 0.25), (0.75, 0.25), (0.5, 0.5), (0.25, 0.75), (0.75, 0.75))


def red_cells(path, last="Identity", side=32):
    nodes, given = [helper.make_node("Slice", ["input", "two", "three", "one"], ["red"])], []
    for stride in (8, 16, 32):
        sides = {"kernel_shape": [stride, stride], "strides": [stride, stride]}
        nodes += [
            helper.make_node("AveragePool", ["red"], [f"mean_{stride}"], **sides),
            helper.make_node("Reshape", [f"mean_{stride}", "row"], [f"row_{stride}"]),
            helper.make_node("Mul", [f"row_{stride}", "most" if stride == 32 else "zero"], [f"cls_{stride}"]),
            helper.make_node(last, [f"cls_{stride}"], [f"obj_{stride}"]),
            helper.make_node("Mul", [f"row_{stride}", "zero"], [f"zeros_{stride}"]),
            helper.make_node("Add", [f"zeros_{stride}", "box"], [f"bbox_{stride}"]),
            helper.make_node("Add", [f"zeros_{stride}", "points"], [f"kps_{stride}"]),
        ]
        given += [
            helper.make_tensor_value_info(f"{kind}_{stride}", TensorProto.FLOAT, [1, "N", size])
            for kind, size in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10))
        ]
    constants = {
        **{name: np.array([value]) for name, value in (("one", 1), ("two", 2), ("three", 3))},
        **{name: np.array([value], np.float32) for name, value in (("most", 1 / 255), ("zero", 0))},
        "row": np.array([1, -1, 1]),
        "box": np.array([0.5, 0.5, np.log(side / 32), np.log(side / 32)], np.float32),
        "points": np.array(POINTS, np.float32).ravel(),
    }
    pixels = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, "height", "width"])
    weights = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "red", [pixels], given, weights)
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)]), path)
    return path
