"""Batch normalization folded into the layers before it: the network as every converter will have it.

What is pruned, clustered or rounded must be the numbers that a file holds. Converters fold each batch norm into its
convolution; folded after a fine-tuning, it would scale every channel and undo the clusters.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from facectl_trainer.model import PROBABILITIES

LOGITS = "logits"
_Values = list[npt.NDArray[np.float32]]


def fold(model: Any) -> Any:
    """Rebuild a flat Keras model of the same answers, with no batch norm after a convolution or dense layer.

    The softmax becomes a layer of its own, so that what comes before it can be quantized and it can stay float.
    Dropout goes: it does nothing in what is exported. The other layers keep their names. `model`: uint8 N × height ×
    width × 3 → float32 N × size.
    """
    import tf_keras

    after = _consumers(model)
    tensors: dict[str, Any] = {}
    values: dict[str, _Values] = {}
    for layer in model.layers:
        if isinstance(layer, tf_keras.layers.InputLayer):
            image = layer.output
            tensors[layer.name] = tf_keras.layers.Input(image.shape[1:], dtype=image.dtype, name=layer.name)
            continue
        sources = _sources(layer)
        given = [tensors[source] for source in sources]
        if isinstance(layer, tf_keras.layers.Dropout) or _is_absorbed(layer, model.get_layer(sources[0]), after):
            tensors[layer.name] = given[0]
            continue
        tensors[layer.name] = _rebuilt(layer, given, after.get(layer.name, []), values)
    begin, end = ([tensors[one.node.layer.name] for one in ends] for ends in (model.inputs, model.outputs))
    folded = tf_keras.Model(begin[0], end[0], name=model.name)
    for name, arrays in values.items():
        folded.get_layer(name).set_weights(arrays)
    return folded


def _rebuilt(layer: Any, given: list[Any], after: list[Any], values: dict[str, _Values]) -> Any:
    """Make a layer anew on `given`, and note the values it is to have."""
    from tf_keras import layers

    x = given if len(given) > 1 else given[0]
    config = layer.get_config()
    if _is_linear(layer) and [type(one) for one in after] == [layers.BatchNormalization]:
        values[layer.name] = _folded_values(layer, after[0])
        return type(layer).from_config(config | {"use_bias": True})(x)
    if isinstance(layer, layers.Dense) and layer.name == PROBABILITIES:
        values[LOGITS] = layer.get_weights()
        dense = layers.Dense.from_config(config | {"activation": "linear", "name": LOGITS})
        return layers.Softmax(name=PROBABILITIES, dtype="float32")(dense(x))
    if layer.weights:
        values[layer.name] = layer.get_weights()
    return type(layer).from_config(config)(x)


def _folded_values(layer: Any, norm: Any) -> _Values:
    """Give kernel and bias of a layer that does what it and the batch norm after it did."""
    from tf_keras import layers

    deviation = np.sqrt(norm.moving_variance.numpy().astype(np.float64) + norm.epsilon)
    scale = (norm.gamma.numpy() if norm.scale else 1.0) / deviation
    kernel, *bias = layer.get_weights()
    shift = (bias[0] if bias else 0.0) - norm.moving_mean.numpy()
    offset = norm.beta.numpy() if norm.center else 0.0
    # A depthwise kernel's channels are its third axis, every other's its last.
    by_channel = scale[:, None] if isinstance(layer, layers.DepthwiseConv2D) else scale
    return [np.asarray(kernel * by_channel, np.float32), np.asarray(offset + shift * scale, np.float32)]


def _is_linear(layer: Any) -> bool:
    from tf_keras import layers

    kinds = (layers.Conv2D, layers.DepthwiseConv2D, layers.Dense)
    return isinstance(layer, kinds) and layer.get_config()["activation"] == "linear"


def _is_absorbed(layer: Any, source: Any, after: dict[str, list[Any]]) -> bool:
    """Say whether a layer is a batch norm that is in the layer before it by now."""
    from tf_keras.layers import BatchNormalization

    return isinstance(layer, BatchNormalization) and _is_linear(source) and len(after[source.name]) == 1


def _consumers(model: Any) -> dict[str, list[Any]]:
    """Give, by the name of a layer, the layers that take its output."""
    found: dict[str, list[Any]] = {}
    for layer in model.layers[1:]:
        for name in _sources(layer):
            found.setdefault(name, []).append(layer)
    return found


def _sources(layer: Any) -> list[str]:
    given = layer.get_input_at(0)
    return [one.node.layer.name for one in (given if isinstance(given, list | tuple) else [given])]
