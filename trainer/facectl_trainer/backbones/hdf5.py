"""Values of layers out of legacy Keras `.h5` files. Only arrays are read: no configuration, and nothing that runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from facectl_runtime.errors import ModelError, reason

if TYPE_CHECKING:
    import tf_keras

Values = list[NDArray[np.float32]]


def read_layers(path: Path) -> dict[str, Values]:
    """Give the values of every layer that has any, in the file's order of layers, as float32.

    The file is one of weights alone, or a whole model.

    Raises:
        ModelError: the file cannot be read, or is not of that kind.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            group = file.get("model_weights", file)
            layers = {name: _values(group[name]) for name in strings(group.attrs["layer_names"])}
    except (OSError, KeyError, AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"{path}: not a readable file of Keras weights ({reason(error)}); delete it and get it again"
        ) from error
    return {name: values for name, values in layers.items() if values}


def _values(layer: Any) -> Values:
    return [np.asarray(layer[name][()], np.float32) for name in strings(layer.attrs["weight_names"])]


def strings(names: Any) -> list[str]:
    """Read an attribute that h5py gives as bytes or as str, by the writer's version."""
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]


def set_values(layer: tf_keras.layers.Layer, values: Sequence[NDArray[np.float32]], path: Path) -> None:
    """Put values into a layer.

    Raises:
        ModelError: they are not as many as the layer's, or not of its shapes.
    """
    wanted = [tuple(weight.shape) for weight in layer.weights]
    met = [value.shape for value in values]
    if wanted != met:
        raise ModelError(f"{path}: the values for the layer {layer.name} have the shapes {met}, not {wanted}")
    layer.set_weights(values)
