"""Which numbers of a layer are rounded while a network is trained to be rounded; needs the optimization toolkit.

The toolkit's own defaults round a depthwise kernel with one scale for all its channels, which no exported file does
and which costs several points on folded networks.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tensorflow_model_optimization as tfmot
from tf_keras import layers

_api: Any = tfmot.quantization.keras
_FLOAT = (layers.InputLayer, layers.Rescaling, layers.Softmax, layers.BatchNormalization)
_UNCHANGED = (layers.MaxPooling2D, layers.ZeroPadding2D, layers.Flatten, layers.Reshape)
_ATTRIBUTES = {layers.DepthwiseConv2D: "depthwise_kernel", layers.Conv2D: "kernel", layers.Dense: "kernel"}


def rounded(layer: Any, kernel: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Round the kernel of a layer as `PerChannel` does."""
    channels = int(np.prod(kernel.shape[-_axes(layer) :]))
    flat = kernel.reshape(-1, channels)
    scale = np.abs(flat).max(axis=0) / 127
    return np.asarray(np.rint(flat / np.where(scale, scale, 1)) * scale, np.float32).reshape(kernel.shape)


def _axes(layer: Any) -> int:
    """Give how many of a kernel's last axes are its output channels."""
    return 2 if isinstance(layer, layers.DepthwiseConv2D) else 1


class PerChannel(_api.quantizers.LastValueQuantizer):  # type: ignore[misc]  # it has no types
    """int8, symmetric, a scale for each output channel of a kernel, its last axes being `axes` in number."""

    def __init__(self, axes: int = 1) -> None:
        super().__init__(num_bits=8, per_axis=True, symmetric=True, narrow_range=True)
        self.axes = axes

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:
        """Make the ranges, one a channel."""
        shape = (int(np.prod(tensor_shape[-self.axes :])),)
        return {f"{end}_var": layer.add_weight(f"{name}_{end}", shape=shape, trainable=False) for end in ("min", "max")}

    def __call__(self, inputs: Any, training: bool, weights: Any, **kwargs: Any) -> Any:
        """Round a kernel."""
        channels = int(np.prod(inputs.shape[-self.axes :]))
        flat = tf.reshape(inputs, (-1, channels))
        return tf.reshape(super().__call__(flat, training, weights, **kwargs), inputs.shape)

    def get_config(self) -> dict[str, Any]:
        """Give what makes another of it."""
        return {"axes": self.axes}


class Rounding(_api.QuantizeConfig):  # type: ignore[misc]  # it has no types
    """What of one layer is rounded: its kernel, its output, or both."""

    def __init__(self, kernel: str | None, output: bool) -> None:
        self.kernel, self.output = kernel, output

    def get_weights_and_quantizers(self, layer: Any) -> list[tuple[Any, Any]]:
        """Give the kernel, where it is rounded, and how."""
        return [(getattr(layer, self.kernel), PerChannel(_axes(layer)))] if self.kernel else []

    def set_quantize_weights(self, layer: Any, quantize_weights: list[Any]) -> None:
        """Put the rounded kernel in the place of the kernel."""
        for value in quantize_weights:
            setattr(layer, str(self.kernel), value)

    def get_activations_and_quantizers(self, layer: Any) -> list[tuple[Any, Any]]:  # noqa: ARG002
        """Give none: a layer's output is rounded after its activation."""
        return []

    def set_quantize_activations(self, layer: Any, quantize_activations: list[Any]) -> None:
        """Do nothing: there are none."""

    def get_output_quantizers(self, layer: Any) -> list[Any]:  # noqa: ARG002
        """Give how the output is rounded, where it is."""
        asymmetric = {"num_bits": 8, "per_axis": False, "symmetric": False, "narrow_range": False}
        return [_api.quantizers.MovingAverageQuantizer(**asymmetric)] if self.output else []

    def get_config(self) -> dict[str, Any]:
        """Give what makes another of it."""
        return {"kernel": self.kernel, "output": self.output}


def config_of(layer: Any, model: Any) -> Rounding | None:
    """Say what of a layer of `model` is rounded; None where nothing is.

    Integer engines compute a convolution and the ReLU after it as one, and the value between is never rounded. Pixels,
    softmax and what only moves values about stay as they are.
    """
    kernel = next((name for kind, name in _ATTRIBUTES.items() if isinstance(layer, kind)), None)
    if isinstance(layer, (*_FLOAT, *_UNCHANGED)) or type(layer).__module__.startswith("facectl_"):
        return None
    fused = kernel is not None and _feeds_only_relu(layer, model)
    is_answer = layer.name in {tensor.node.layer.name for tensor in model.outputs}
    return Rounding(kernel, output=not fused and not is_answer)


def _feeds_only_relu(layer: Any, model: Any) -> bool:
    after = [node.outbound_layer for node in layer.outbound_nodes if node.outbound_layer in model.layers]
    kinds = {"relu", "relu6"}
    return len(after) == 1 and (
        isinstance(after[0], layers.ReLU)
        or (isinstance(after[0], layers.Activation) and after[0].get_config()["activation"] in kinds)
    )


def observe_ranges(simulated: Any, batches: Iterable[npt.NDArray[np.uint8]]) -> None:
    """Set the ranges of all rounded activations to the least and largest values met in `batches`.

    The toolkit begins with -6 to 6, and would take thousands of steps to find out.
    """
    seen: dict[str, tuple[Any, float, float]] = {}

    def note(values: Any, ranges: Any) -> None:
        low, high = float(tf.reduce_min(values)), float(tf.reduce_max(values))
        name = ranges["min_var"].name
        _, least, most = seen.get(name, (ranges, 0.0, 0.0))
        seen[name] = ranges, min(least, low), max(most, high)

    with _watched(note):
        for batch in batches:
            simulated(batch, training=True)  # so that the kernels are rounded by their own ranges
    for ranges, low, high in seen.values():
        ranges["min_var"].assign(low)
        ranges["max_var"].assign(high)


@contextmanager
def _watched(note: Callable[[Any, Any], None]) -> Iterator[None]:
    """Hand each activation to `note` instead of rounding it."""
    quantizer = _api.quantizers.MovingAverageQuantizer
    rounding = quantizer.__call__

    def call(self: Any, inputs: Any, training: bool, weights: Any, **kwargs: Any) -> Any:  # noqa: ARG001
        note(inputs, weights)
        return inputs

    quantizer.__call__ = call
    try:
        yield
    finally:
        quantizer.__call__ = rounding
