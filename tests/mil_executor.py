"""Runs a saved ML Program op by op, with TensorFlow's kernels on its numbers: what Core ML does, without a Mac.

Each op computes in 32 bits and rounds its result to the type that the program gives it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from coremltools.converters.mil.frontend.milproto.load import load
from coremltools.converters.mil.mil import types
from coremltools.proto import Model_pb2


class Executor:
    """One program: `infer` takes uint8 RGB N × height × width × 3 and gives float32 N × size."""

    def __init__(self, package: Path) -> None:
        place = package / "Data" / "com.apple.CoreML"
        self.spec = Model_pb2.Model.FromString((place / "model.mlmodel").read_bytes())
        program = load(self.spec, self.spec.specificationVersion, file_weights_dir=str(place / "weights"))
        self.main = program.functions["main"]
        self.constants: dict[str, Any] = {}

    def infer(self, pixels: Any) -> Any:
        return np.concatenate([self._answer(image) for image in pixels])

    def labels(self, pixels: Any) -> list[str]:
        """Give the `classLabel` of each image."""
        (op,) = [op for op in self.main.operations if op.op_type == "classify"]
        classes = op.inputs["classes"].val
        return [classes[row.argmax()] for row in self.infer(pixels)]

    def _answer(self, image: Any) -> Any:
        (name,) = self.main.inputs
        values = {name: tf.constant(image[None].transpose(0, 3, 1, 2), tf.float32)}
        for op in self.main.operations:
            if op.op_type == "classify":
                return values[op.inputs["probabilities"].name].numpy()
            if op.op_type == "const":
                continue
            self._run(op, values)
        return values[self.main.outputs[0].name].numpy()

    def _run(self, op: Any, values: dict[str, Any]) -> None:
        if op.op_type.startswith("constexpr_"):
            if op.name not in self.constants:
                self.constants[op.name] = op.materialized_val_inference()
            values[op.outputs[0].name] = self.constants[op.name]
            return
        given = {key: self._value(each, values) for key, each in op.inputs.items() if each is not None}
        answer = OPS[op.op_type](**given)
        kind = types.nptype_from_builtin(op.outputs[0].dtype)
        values[op.outputs[0].name] = tf.cast(answer, kind)

    def _value(self, each: Any, values: dict[str, Any]) -> Any:
        if isinstance(each, list | tuple):
            return [self._value(one, values) for one in each]
        value = values.get(each.name, each.val)
        floats = getattr(value, "dtype", None) in (np.float16, tf.float16)
        return tf.cast(value, tf.float32) if floats else value


def spatial(kernel: Callable[[Any], Any], x: Any) -> Any:
    """Run a kernel that wants channels last."""
    return tf.transpose(kernel(tf.transpose(x, (0, 2, 3, 1))), (0, 3, 1, 2))


def pads(pad_type: str, pad: Any) -> Any:
    if pad_type != "custom":
        return pad_type.upper()
    top, bottom, left, right = pad
    return [[0, 0], [top, bottom], [left, right], [0, 0]]


def conv(x: Any, weight: Any, strides: Any, pad_type: str, pad: Any, dilations: Any, groups: int, bias: Any = 0) -> Any:
    kernel = tf.transpose(weight, (2, 3, 1, 0))
    edges = pads(pad_type, pad)
    if groups == 1:
        y = spatial(lambda x: tf.nn.conv2d(x, kernel, strides, edges, dilations=dilations), x)
    else:
        assert groups == x.shape[1] == weight.shape[0]
        deep = tf.transpose(kernel, (0, 1, 3, 2))
        steps = (1, *strides, 1)
        edges = edges if isinstance(edges, str) else [[0, 0], *edges[1:3], [0, 0]]
        y = spatial(lambda x: tf.nn.depthwise_conv2d(x, deep, steps, edges, dilations=dilations), x)
    return y + tf.reshape(tf.cast(bias, tf.float32), (1, -1, 1, 1))


def max_pool(x: Any, kernel_sizes: Any, strides: Any, pad_type: str, pad: Any, ceil_mode: bool) -> Any:
    assert not ceil_mode
    return spatial(lambda x: tf.nn.max_pool2d(x, kernel_sizes, strides, pads(pad_type, pad)), x)


def avg_pool(
    x: Any,
    kernel_sizes: Any,
    strides: Any,
    pad_type: str,
    pad: Any,
    ceil_mode: bool,
    exclude_padding_from_average: bool,
) -> Any:
    assert not ceil_mode
    assert exclude_padding_from_average or pad_type == "valid"
    return spatial(lambda x: tf.nn.avg_pool2d(x, kernel_sizes, strides, pads(pad_type, pad)), x)


def batch_norm(x: Any, mean: Any, variance: Any, gamma: Any, beta: Any, epsilon: float) -> Any:
    mean, variance, gamma, beta = (np.reshape(each, (-1, 1, 1)) for each in (mean, variance, gamma, beta))
    return (x - mean) * tf.math.rsqrt(variance + epsilon) * gamma + beta


def padded(x: Any, pad: Any, mode: str, constant_val: Any) -> Any:
    pairs = np.reshape(pad, (-1, 2))
    edges = [[0, 0]] * (len(x.shape) - len(pairs)) + pairs.tolist()
    return tf.pad(x, edges, mode, constant_val)


def linear(x: Any, weight: Any, bias: Any) -> Any:
    return tf.matmul(x, tf.cast(weight, tf.float32), transpose_b=True) + bias


OPS: dict[str, Callable[..., Any]] = {
    "add": lambda x, y: x + y,
    "avg_pool": avg_pool,
    "batch_norm": batch_norm,
    "cast": lambda x, **_: x,  # to the output's type, as every answer
    "clip": lambda x, alpha, beta: tf.clip_by_value(x, alpha, beta),
    "concat": lambda values, axis, **_: tf.concat(values, axis),
    "conv": conv,
    "expand_dims": lambda x, axes: tf.reshape(x, np.expand_dims(np.empty(x.shape), tuple(axes)).shape),
    "linear": linear,
    "matmul": lambda x, y, transpose_x, transpose_y: tf.matmul(x, y, bool(transpose_x), bool(transpose_y)),
    "max_pool": max_pool,
    "maximum": lambda x, y: tf.maximum(x, y),
    "mul": lambda x, y: x * y,
    "pad": padded,
    "real_div": lambda x, y: x / y,
    "reduce_mean": lambda x, axes, keep_dims: tf.reduce_mean(x, axes, keep_dims),
    "reduce_sum": lambda x, axes, keep_dims: tf.reduce_sum(x, axes, keep_dims),
    "relu": lambda x: tf.nn.relu(x),
    "relu6": lambda x: tf.nn.relu6(x),
    "reshape": lambda x, shape: tf.reshape(x, shape),
    "rsqrt": lambda x, epsilon: tf.math.rsqrt(x + epsilon),
    "sigmoid": lambda x: tf.sigmoid(x),
    "sigmoid_hard": lambda x, alpha, beta: tf.clip_by_value(alpha * x + beta, 0, 1),
    "silu": lambda x: tf.nn.silu(x),
    "softmax": lambda x, axis: tf.nn.softmax(x, axis),
    "sqrt": lambda x: tf.sqrt(x),
    "square": lambda x: x * x,
    "squeeze": lambda x, axes: tf.squeeze(x, axes),
    "sub": lambda x, y: x - y,
    "transpose": lambda x, perm: tf.transpose(x, perm),
}
