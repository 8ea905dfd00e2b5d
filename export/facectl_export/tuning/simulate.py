"""The TensorFlow Model Optimization toolkit's three simulations: put around a network, trained, and taken off again.

Sources: quantization-aware training, Jacob et al. 2018 (arXiv:1712.05877); magnitude pruning by a polynomial schedule,
Zhu & Gupta 2017 (arXiv:1710.01878); weight clustering, Han, Mao & Dally 2016 (arXiv:1510.00149).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from facectl_export.precision import Network
from facectl_export.tuning.fold import LOGITS
from facectl_runtime.errors import UsageError

SPARSITY = 0.3
"""Share of the weights of each large layer that pruning makes zero."""
CLUSTERS = 64
"""Different weights of each large layer: what 6 bits can name."""
_RAMP = 0.4
"""Share of the steps in which the sparsity rises; in the rest the network recovers."""


@dataclass(frozen=True)
class Simulated:
    """A network with a simulation in it."""

    model: Any
    """uint8 N × height × width × 3 → float32 N × size, sharing no weights with the network it was made of."""
    strip: Callable[[], Any]
    """Gives the plain network with the weights as they are now."""
    settles: float = 0.0
    """After which share of the steps the network is as small as it will be; 0: from the beginning."""


def quantize_aware(model: Any, steps: int) -> Simulated:  # noqa: ARG001  # the shape of every simulation
    """Round weights to int8 per channel and activations to uint8 per tensor, as the int8 files will.

    `model` is folded. Its activations have no ranges yet: `observe_ranges` gives them.
    """
    import tensorflow_model_optimization as tfmot
    import tf_keras

    from facectl_export.tuning.fake_quant import config_of

    # Each layer is wrapped by itself. The toolkit's `quantize_apply` has patterns that would leave a kernel as it is
    # where a ReLU follows, since it counts on a batch norm between them.
    def wrap(layer: Any) -> Any:
        config = config_of(model.get_layer(layer.name), model)
        copied = _copy(layer)
        return copied if config is None else tfmot.quantization.keras.QuantizeWrapperV2(copied, config)

    simulated = tf_keras.models.clone_model(model, clone_function=wrap)
    trained = _weights(simulated)
    for place, weight in _weights(model).items():
        trained[place].assign(weight)
    return Simulated(simulated, lambda: _unwrapped(model, simulated))


def pruned(model: Any, steps: int) -> Simulated:
    """Set the smallest weights of each large layer to zero, more of them with every few steps."""
    import tensorflow_model_optimization as tfmot
    import tf_keras

    api, large = tfmot.sparsity.keras, _large(model)
    schedule = api.PolynomialDecay(0.0, SPARSITY, 0, max(int(_RAMP * steps), 1), frequency=max(steps // 32, 1))

    def wrap(layer: Any) -> Any:
        copied = _copy(layer)
        return api.prune_low_magnitude(copied, pruning_schedule=schedule) if layer.name in large else copied

    simulated = tf_keras.models.clone_model(model, clone_function=wrap)
    for layer in simulated.layers:
        inner = getattr(layer, "layer", layer)
        inner.set_weights(model.get_layer(inner.name).get_weights())
    step = api.UpdatePruningStep()
    step.set_model(simulated)
    step.on_train_begin()

    def strip() -> Any:
        step.on_epoch_end(0)  # zeros what the last step moved away from zero
        return api.strip_pruning(simulated)

    return Simulated(simulated, strip, settles=_RAMP)


def clustered(model: Any, steps: int) -> Simulated:  # noqa: ARG001  # the shape of every simulation
    """Give each weight of a large layer the value of its nearest centroid; centroids and weights are trained."""
    import tensorflow_model_optimization as tfmot
    import tf_keras

    api, large = tfmot.clustering.keras, _large(model)
    built = tf_keras.models.clone_model(model)  # a wrapper asks a layer for its weights
    built.set_weights(model.get_weights())

    def wrap(layer: Any) -> Any:
        if layer.name not in large:
            return _copy(layer)
        begin = api.CentroidInitialization.LINEAR
        return api.cluster_weights(layer, number_of_clusters=CLUSTERS, cluster_centroids_init=begin)

    simulated = tf_keras.models.clone_model(built, clone_function=wrap)
    for layer in simulated.layers:
        if not hasattr(layer, "cluster_centroids"):
            layer.set_weights(model.get_layer(layer.name).get_weights())
            continue
        for name, centroids in layer.cluster_centroids.items():
            centroids.assign(_centroids(layer.original_clusterable_weights[name].numpy()))
            layer.update_clustered_weights_associations()
    return Simulated(simulated, lambda: api.strip_clustering(simulated))


def _centroids(kernel: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Give the `CLUSTERS` values of least squared distance to a kernel's, ascending (k-means).

    The toolkit's own k-means++ picks where to begin, and stops there: on EfficientNet-Lite0 four answers in five stay.
    Here it begins with the best values for a normal distribution (Panter & Dite 1951).
    """
    from scipy.stats import norm
    from sklearn.cluster import KMeans

    # Of a million weights their quantiles say all there is to know.
    values = np.quantile(kernel, np.linspace(0, 1, min(kernel.size, 8192)))[:, None]
    shares = (np.arange(CLUSTERS) + 0.5) / CLUSTERS
    begin = np.clip(norm.ppf(shares, kernel.mean(), np.sqrt(3) * kernel.std()), kernel.min(), kernel.max())[:, None]
    found = KMeans(CLUSTERS, init=begin, n_init=1, max_iter=100).fit(values)
    return np.sort(found.cluster_centers_[:, 0]).astype(np.float32)


SIMULATIONS: dict[Network, Callable[[Any, int], Simulated]] = {
    "quantize-aware": quantize_aware,
    "pruned": pruned,
    "clustered": clustered,
}


def _large(model: Any) -> set[str]:
    """Name the layers worth making smaller: those with at least half as many weights as the mean, without the logits.

    The others hold a few per cent of a network's weights, and most of its accuracy: half of all weights gone at once,
    EfficientNet-Lite0 answers 4 % of photographs as before; half of the large layers' gone, 77 %.
    Raises `UsageError` where there is no layer but the logits.
    """
    from tf_keras import layers

    sizes = {
        layer.name: int(layer.kernel.shape.num_elements())
        for layer in model.layers
        if isinstance(layer, layers.Conv2D | layers.Dense)
        and not isinstance(layer, layers.DepthwiseConv2D)
        and layer.name != LOGITS
    }
    if not sizes:
        raise UsageError(
            f"{model.name}: only its last layer has weights, which stay as they are: there is nothing to prune or "
            "cluster; take int8"
        )
    mean = sum(sizes.values()) / len(sizes)
    return {name for name, size in sizes.items() if size >= mean / 2}


def _copy(layer: Any) -> Any:
    return type(layer).from_config(layer.get_config())


def _unwrapped(model: Any, simulated: Any) -> Any:
    """Give a network like `model` with the weights that are trained under the roundings of `simulated`.

    Its kernels are rounded, and stay as they are when a file rounds them again: the biases have learnt to go with them,
    and a layer that is kept float in a file answers as it learnt to.
    """
    import tf_keras

    from facectl_export.tuning.fake_quant import rounded

    plain = tf_keras.models.clone_model(model)
    trained = _weights(simulated)
    for layer in plain.layers:
        for weight in layer.weights:
            name = weight.name.rpartition("/")[2]
            value = trained[layer.name, name].numpy()
            weight.assign(rounded(layer, value) if "kernel" in name else value)
    return plain


def _weights(model: Any) -> dict[tuple[str, str], Any]:
    """Give a network's variables by the name of the layer, unwrapped, and their own."""
    return {
        (getattr(layer, "layer", layer).name, weight.name.rpartition("/")[2]): weight
        for layer in model.layers
        for weight in layer.weights
    }
