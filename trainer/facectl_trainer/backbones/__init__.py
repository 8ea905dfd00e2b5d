"""The networks that can be trained from, by name. The keys of `BACKBONES` are the only list of names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from facectl_runtime.errors import UsageError, did_you_mean
from facectl_runtime.faces.detect import DETECTOR
from facectl_trainer.backbones import convnet, efficientnet_lite, inception_resnet_v1, keras_applications, pretrained
from facectl_trainer.weights import Preprocess, Weights

if TYPE_CHECKING:
    import tf_keras


@dataclass(frozen=True)
class Backbone:
    """A network without its classifier."""

    name: str
    side: int
    """Width and height of the input in pixels, where a recipe does not say."""
    smallest: int
    """The least width and height that it takes."""
    weights: tuple[Weights, ...]
    """What it was pretrained with, the first choice first; empty where it is only trained from scratch.
    `weights.locate` finds the file."""
    preprocess: Preprocess
    """What is done to images where it is trained from scratch."""
    build: Callable[[int, Preprocess, Path | None], tf_keras.Model]
    """From side, preprocessing and a weights file, or None for random values: a flat model of layers, uint8 N x side x
    side x 3 (RGB, 0 to 255) to float32, either a feature map N x height x width x channels or an embedding N x d."""


def _lite(variant: efficientnet_lite.Variant, weights: Weights) -> Backbone:
    build = partial(efficientnet_lite.build, variant)
    return Backbone(variant.name, variant.side, 32, (weights,), "lite", build)


def _application(name: str, side: int, smallest: int, weights: tuple[Weights, ...]) -> Backbone:
    build = partial(keras_applications.build, name)
    return Backbone(name, side, smallest, weights, weights[0].preprocess, build)


BACKBONES: dict[str, Backbone] = {
    backbone.name: backbone
    for backbone in (
        _lite(efficientnet_lite.LITE0, pretrained.EFFICIENTNET_LITE0),
        _lite(efficientnet_lite.LITE1, pretrained.EFFICIENTNET_LITE1),
        _lite(efficientnet_lite.LITE2, pretrained.EFFICIENTNET_LITE2),
        _application("mobilenet_v2", 224, 32, pretrained.MOBILENET_V2),
        _application("mobilenet_v3", 224, 32, pretrained.MOBILENET_V3),
        _application("resnet50", 224, 32, pretrained.RESNET50),
        _application("vgg16", 224, 32, pretrained.VGG16),
        _application("inception_v3", 299, 75, pretrained.INCEPTION_V3),
        _application("efficientnet_b0", 224, 32, pretrained.EFFICIENTNET_B0),
        Backbone(
            "inception_resnet_v1",
            inception_resnet_v1.SIDE,
            inception_resnet_v1.SMALLEST,
            pretrained.INCEPTION_RESNET_V1,
            "standardise",
            inception_resnet_v1.build,
        ),
        Backbone("convnet", convnet.SIDE, convnet.SMALLEST, (), "unit", convnet.build),
        Backbone("convnet_bn", convnet.SIDE, convnet.SMALLEST, (), "unit", partial(convnet.build, normalized=True)),
    )
}


def backbone(name: str) -> Backbone:
    """Give the backbone of that name.

    Raises:
        UsageError: there is none; the message lists the names there are.
    """
    if name in BACKBONES:
        return BACKBONES[name]
    raise UsageError(f"no backbone {name!r}{did_you_mean(name, BACKBONES)}; there are {', '.join(BACKBONES)}")


def all_weights() -> dict[str, tuple[Weights, ...]]:
    """Give all that `facectl weights` knows by the name it is asked for: the backbones' and the detector's."""
    return {name: backbone.weights for name, backbone in BACKBONES.items()} | {DETECTOR.name: pretrained.YUNET}


def weights_of(name: str) -> tuple[Weights, ...]:
    """Give the alternatives of a backbone's weights, or the detector's.

    Raises:
        UsageError: there are none of that name; the message lists the names there are.
    """
    if name in (known := all_weights()):
        return known[name]
    raise UsageError(f"no backbone {name!r}{did_you_mean(name, known)}; there are {', '.join(known)}")
