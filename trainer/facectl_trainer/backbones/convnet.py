"""Two small networks that are trained from scratch: four blocks of convolution and max-pooling.

`convnet` has nothing else; `convnet_bn` has batch normalization (Ioffe & Szegedy 2015, arXiv:1502.03167) after each
convolution. Dropout is the head's, as the recipe says: between blocks so narrow it costs more than it gives.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from facectl_trainer.backbones.preprocess import image_input, preprocessed

if TYPE_CHECKING:
    import tf_keras

    from facectl_trainer.weights import Preprocess

CHANNELS = (16, 32, 64, 64)
"""Of the blocks: wide enough for simple shapes, and cheap on a CPU."""
SIDE, SMALLEST = 128, 2 ** len(CHANNELS)


def build(side: int, preprocess: Preprocess, weights: Path | None = None, normalized: bool = False) -> tf_keras.Model:
    """Make the network: uint8 N x side x side x 3 (RGB) to float32 N x side // 16 x side // 16 x 64 (0 and up).

    `normalized` adds batch normalization. There are no pretrained values, so `weights` must be None.
    """
    from tf_keras import Model, layers

    assert weights is None
    image = image_input(side)
    x = preprocessed(image, preprocess)
    for number, channels in enumerate(CHANNELS, start=1):
        x = layers.Conv2D(channels, 3, padding="same", use_bias=not normalized, name=f"block{number}_conv")(x)
        if normalized:
            x = layers.BatchNormalization(momentum=0.9, name=f"block{number}_bn")(x)  # a training has few steps
        x = layers.ReLU(name=f"block{number}_relu")(x)
        x = layers.MaxPooling2D(2, name=f"block{number}_pool")(x)
    return Model(image, x, name="convnet_bn" if normalized else "convnet")
