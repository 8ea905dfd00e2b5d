"""Where a network looked: activation maps, and Grad-CAM (Selvaraju et al. 2017)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from facectl_runtime.errors import ImageError, ModelError, UsageError, did_you_mean, few
from facectl_runtime.image import Pixels, load
from facectl_trainer.framework import tensorflow
from facectl_trainer.run import Run, read_run

if TYPE_CHECKING:
    from facectl_trainer.reports.cards import Card

Maps = npt.NDArray[np.float32]
MOSAIC = 16
"""Most channels that a picture of activation maps shows."""
COARSE = 5
"""Rows and columns below which maps hardly tell one place from another."""
_RECTIFIED = ("ReLU", "Activation", "LeakyReLU")


@dataclass(frozen=True)
class Layers:
    """The layers whose maps are shown where nobody names one."""

    lower: str
    upper: str


def map_layers(model: Any) -> list[str]:
    """Name the layers that give maps (N × h × w × channels, larger than 1 × 1), from the first convolution on."""
    names: list[str] = []
    for layer in model.layers:
        if names or any(len(weight.shape) == 4 for weight in layer.weights):
            shape: Any = getattr(layer.output, "shape", ())
            if len(shape) == 4 and (shape[1] or 2) * (shape[2] or 2) > 1:
                names.append(layer.name)
    return names


def default_layers(model: Any) -> Layers:
    """Choose the last layer with maps of at least 5 × 5, and the one a quarter of the way to it.

    Where no such layer is one that all goes through, the last that gives maps. Raises `UsageError`.
    """
    names = _known_layers(model)
    # The map itself, rather than the cells that a head may have averaged it into.
    places = [place for place, name in enumerate(names) if _kind(model, name) != "AveragePooling2D"]
    last = places[-1] if places else len(names) - 1
    if _coarse(model, names[last]):
        joints = _joints(model)
        fine = [place for place in places if names[place] in joints and not _coarse(model, names[place])]
        last = fine[-1] if fine else last
    rectified = (place for place in range(last // 4, last) if _kind(model, names[place]) in _RECTIFIED)
    return Layers(names[next(rectified, last // 4)], names[last])


def activation_maps(model: Any, pixels: Pixels, layer: str) -> Maps:
    """Give what `layer` makes of a picture.

    `pixels`: uint8 RGB, height × width × 3, as the model takes them. Gives float32, h × w × channels, of the layer's
    own size. Raises `UsageError` for a layer that is not there or gives no maps.
    """
    import tf_keras

    tensorflow()
    upto = tf_keras.Model(model.input, _layer(model, layer).output)
    return np.asarray(upto(pixels[None], training=False)[0], np.float32)


def grad_cam(model: Any, pixels: Pixels, class_index: int, layer: str | None = None) -> Maps:
    """Give what speaks for a class in a picture: float32, height × width, 0 to 1.

    `pixels`: uint8 RGB, height × width × 3. The maps of `layer` (the upper of `default_layers` where None) are weighted
    by the mean gradient of the class's logit, and what is left above 0 is scaled to the picture's size and to a largest
    value of 1; all 0 where nothing speaks for the class. Raises `UsageError` for a layer that is not there or gives no
    maps.
    Source: Selvaraju et al., Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization, ICCV
    2017.
    """
    import tf_keras

    tf = tensorflow()
    chosen, last = _layer(model, layer or default_layers(model).upper), model.layers[-1]
    both = tf_keras.Model(model.input, [chosen.output, last.input])
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        # Pixels are integers, and a frozen network watches nothing by itself: the maps are reached through its values.
        tape.watch([variable for variable in model.variables if variable.dtype.is_floating])
        maps, features = both(pixels[None], training=False)
        kernel, *bias = last.weights
        logits = tf.matmul(tf.cast(features, tf.float32), tf.cast(kernel, tf.float32))
        logit = logits[0, class_index] + (tf.cast(bias[0], tf.float32)[class_index] if bias else 0.0)
    gradient = tape.gradient(logit, maps)
    if gradient is None:
        raise UsageError(f"layer {chosen.name!r}: the answer does not depend on it; there are {_listed(model)}")
    return _heat(np.asarray(maps[0], np.float32), np.asarray(gradient[0], np.float32), pixels.shape)


def map_size(model: Any, layer: str) -> str:
    """Write the height and width of a layer's maps, and whether that is coarse. Raises `UsageError`."""
    _, height, width, _ = _layer(model, layer).output.shape
    return f"{height} × {width}" + (" (coarse)" if _coarse(model, layer) else "")


def feature_model(model: Any) -> Any:
    """Cut the last layer off: uint8 N × height × width × 3 → N × d."""
    import tf_keras

    return tf_keras.Model(model.input, model.layers[-1].input)


def overlay(pixels: Pixels, heat: Maps) -> Pixels:
    """Lay a heat map (height × width, 0 to 1) over a grey copy of the picture: uint8 RGB, height × width × 3."""
    from facectl_trainer.reports.canvas import colours

    grey = np.asarray(Image.fromarray(pixels).convert("L"), np.float32)[..., None] * np.ones(3, np.float32)
    share = (0.15 + 0.6 * heat)[..., None]
    return np.asarray(np.rint((1 - share) * grey + share * colours(heat, "inferno")), np.uint8)


def mosaic(maps: Maps, side: int = 224) -> Pixels:
    """Lay out the channels of `maps` (h × w × channels) that vary most as a square, each scaled to its own range.

    Gives uint8 RGB, about `side` × `side`: at most 16 channels, in order of their deviation.
    """
    from facectl_trainer.reports.canvas import colours

    channels = np.argsort(-maps.std(axis=(0, 1)), kind="stable")[:MOSAIC]
    across = int(np.ceil(np.sqrt(len(channels))))
    tile, gap = side // across, 2
    picture = np.full((across * tile - gap, across * tile - gap, 3), 128, np.uint8)
    for number, channel in enumerate(channels):
        row, column = (place * tile for place in divmod(number, across))
        values = maps[..., channel]
        spread = values.max() - values.min()
        scaled = (values - values.min()) / spread if spread > 0 else np.zeros_like(values)
        small = Image.fromarray(colours(scaled, "viridis")).resize((tile - gap, tile - gap), Image.Resampling.NEAREST)
        picture[row : row + tile - gap, column : column + tile - gap] = np.asarray(small)
    return picture


@dataclass(frozen=True)
class Explained:
    """A model's answer on one picture, and what it looked at."""

    answers: list[tuple[str, float]]
    """(label, probability), the likeliest first."""
    layers: Layers
    """The ones whose maps are drawn; Grad-CAM is of the upper one."""
    picture: bytes
    """A PNG."""


def explain(folder: Path, image: Path, label: str | None = None, layer: str | None = None) -> Explained:
    """Answer one picture with a run's model, and draw what speaks for the answer, and for `label`.

    `layer` takes the place of the upper of `default_layers`. Raises `ModelError`, `ImageError` and `UsageError`.
    """
    from facectl_trainer.reports.canvas import render
    from facectl_trainer.reports.cards import sheet

    run = _trained_run(folder)
    if run.spec.task != "classify":
        raise ModelError(
            f"{folder}: its task is {run.spec.task}; explain shows what speaks for a label, which it has not"
        )
    try:
        pixels = load(image, run.spec.input)
    except ImageError as error:
        raise ImageError(f"{image}: {error}") from error
    named = _index_of(label, run.spec.labels)
    model = run.model()
    layers = default_layers(model)
    layers = Layers(layers.lower, _layer(model, layer).name if layer else layers.upper)
    probabilities = np.asarray(model.predict_on_batch(pixels[None])[0])
    order = [int(place) for place in np.argsort(-probabilities, kind="stable")]
    answers = [(run.spec.labels[place], float(probabilities[place])) for place in order]
    shown = [order[0]] + ([named] if named not in (None, order[0]) else [])
    cards = _cards(model, pixels, [(run.spec.labels[place], place) for place in shown], layers, answers)
    return Explained(answers, layers, render(sheet("explain", image.name, cards), dpi=200))


def _cards(
    model: Any, pixels: Pixels, shown: list[tuple[str, int]], layers: Layers, answers: list[tuple[str, float]]
) -> list["Card"]:
    from facectl_trainer.reports.cards import Bar, Card

    bars = tuple(Bar(label, probability, None) for label, probability in answers[:5])
    cards = [Card((pixels,), ("as the model sees it",), bars)]
    for label, place in shown:
        heat = overlay(pixels, grad_cam(model, pixels, place, layers.upper))
        cards.append(Card((heat,), (f"speaks for {label}", "Grad-CAM", layers.upper, map_size(model, layers.upper))))
    for name, layer in (("lower maps", layers.lower), ("upper maps", layers.upper)):
        maps = mosaic(activation_maps(model, pixels, layer))
        cards.append(Card((maps,), (name, layer, map_size(model, layer))))
    return cards


def _trained_run(folder: Path) -> Run:
    if folder.exists() and (not folder.is_dir() or folder.suffix == ".mlpackage"):
        raise ModelError(
            f"{folder}: explain follows the gradients of a trained network, which an exported file has not; "
            "give the run folder that it was exported from"
        )
    return read_run(folder)


def _index_of(label: str | None, labels: Sequence[str]) -> int | None:
    if label is None or label in labels:
        return None if label is None else labels.index(label)
    raise UsageError(f"no label {label!r}{did_you_mean(label, labels)}; the model has {few(labels, 20)}")


def _kind(model: Any, name: str) -> str:
    return type(model.get_layer(name)).__name__


def _coarse(model: Any, name: str) -> bool:
    return min(size or COARSE for size in model.get_layer(name).output.shape[1:3]) < COARSE


def _joints(model: Any) -> set[str]:
    """Name the layers that all goes through, which no branch goes around; padding, which adds an empty rim, is none."""
    places = {layer.name: place for place, layer in enumerate(model.layers)}
    joints, reach = set(), 0
    for place, layer in enumerate(model.layers):  # each after those that it takes from
        if reach <= place and type(layer).__name__ != "ZeroPadding2D":
            joints.add(layer.name)
        reach = max([reach, *(places.get(node.layer.name, 0) for node in layer.outbound_nodes)])
    return joints


def _heat(maps: Maps, gradient: Maps, shape: Sequence[int]) -> Maps:
    weighted = np.maximum(maps @ gradient.mean(axis=(0, 1)), 0)
    scaled = np.asarray(Image.fromarray(weighted).resize((shape[1], shape[0]), Image.Resampling.BILINEAR), np.float32)
    largest = float(scaled.max())
    return scaled / largest if largest > 0 else np.zeros_like(scaled)


def _layer(model: Any, name: str) -> Any:
    known = _known_layers(model)
    if name in known:
        return model.get_layer(name)
    if name in {layer.name for layer in model.layers}:
        raise UsageError(f"layer {name!r} gives no maps, as a convolution does; there are {_listed(model)}")
    raise UsageError(f"no layer {name!r}{did_you_mean(name, known)}; there are {_listed(model)}")


def _known_layers(model: Any) -> list[str]:
    if names := map_layers(model):
        return names
    raise UsageError(f"{model.name}: it has no convolution, and so no maps to look at")


def _listed(model: Any) -> str:
    """Name some layers through the depth of the network, so that the message stays a line."""
    names = map_layers(model)
    step = max(1, len(names) // 12)
    shown = names[::step]
    return ", ".join(shown) + (f" and {len(names) - len(shown)} more" if len(names) > len(shown) else "")
