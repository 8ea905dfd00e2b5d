"""What becomes of pixels before a network's first layer, as layers of its graph, so that it is exported with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tf_keras

    from facectl_trainer.weights import Preprocess

IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's pixels over 255, red first."""
_CAFFE_MEAN = (123.68, 116.779, 103.939)  # of ImageNet's pixels, red first

_LINEAR: dict[str, tuple[Any, Any]] = {
    "lite": (1 / 128, -127 / 128),
    "tf": (1 / 127.5, -1.0),
    "torch": (
        [1 / (255 * deviation) for deviation in IMAGENET_DEVIATION],
        [-mean / deviation for mean, deviation in zip(IMAGENET_MEAN, IMAGENET_DEVIATION, strict=True)],
    ),
    "caffe": (1.0, [-mean for mean in _CAFFE_MEAN]),
    "unit": (1 / 255, 0.0),
    "none": (1.0, 0.0),  # only the cast: the network does the rest itself
}
"""Factor and offset for a pixel from 0 to 255, or for its three channels, red first."""


def image_input(side: int) -> tf_keras.KerasTensor:
    """Give the input of a network: uint8 N x side x side x 3 (RGB)."""
    from tf_keras import layers

    return layers.Input((side, side, 3), dtype="uint8", name="image")


def preprocessed(image: tf_keras.KerasTensor, mode: Preprocess) -> tf_keras.KerasTensor:
    """Give the float32 image that the network's first layer takes; channels stay in the order red, green, blue.

    Caffe mode wants blue first: the first convolution is turned about when its values are read. The image is float32
    under mixed precision too.
    """
    if mode == "standardise":
        from facectl_trainer.backbones.standardise import PerImageStandardisation

        return PerImageStandardisation(name="standardise", dtype="float32")(image)
    from tf_keras import layers

    scale, offset = _LINEAR[mode]
    return layers.Rescaling(scale, offset, name="rescale", dtype="float32")(image)
