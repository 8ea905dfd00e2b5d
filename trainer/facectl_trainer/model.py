"""The whole classifier as one flat Keras model."""

from pathlib import Path
from typing import Any

from facectl_trainer.backbones import Backbone


def assemble(body: Backbone, classes: int, weights: Path | None = None) -> Any:
    """Join a backbone and a softmax head: uint8 N × height × width × 3 → float32 N × classes.

    `weights` are the backbone's; without, its values are random, as the head's are.
    """
    import tf_keras

    features = body.build(weights)
    last = tf_keras.layers.Dense(classes, activation="softmax", name=HEAD)
    return tf_keras.Model(features.input, last(features.output), name=body.name)


HEAD = "probabilities"
