"""Tiny networks of Keras for TFLite files, and the engine's answers by them."""

from drawn_run import SIDE
from facectl_export.formats import tflite
from facectl_runtime.devices import Device
from facectl_runtime.engines import format_of

LABELS = ["ant", "bée", "cat"]


def branching():
    """Build a network with a padding, a pooling, a sum, a concatenation and layers whose names begin alike."""
    import tf_keras
    from tf_keras import layers

    tf_keras.utils.set_random_seed(1)
    image = layers.Input((SIDE, SIDE, 3), dtype="uint8")
    x = layers.Rescaling(1 / 127.5, -1, name="rescale")(image)
    x = layers.Conv2D(8, 3, 2, padding="same", use_bias=False, name="conv2d_1")(x)
    x = layers.ReLU(6, name="relu")(layers.BatchNormalization(name="conv2d_1_bn")(x))
    left = layers.DepthwiseConv2D(3, padding="same", name="conv2d_17")(x)
    right = layers.Conv2D(8, 1, name="block/conv2d_1x1")(x)
    x = layers.Concatenate(name="both")([layers.Add(name="sum")([left, right]), left])
    x = layers.MaxPooling2D(2, name="pool")(layers.ZeroPadding2D(1, name="pad")(x))
    x = layers.GlobalAveragePooling2D(name="features")(x)
    return tf_keras.Model(image, layers.Dense(3, activation="softmax", name="probabilities")(x), name="branching")


def embedding():
    """Build a network with per-image standardisation before it and an L2 norm after."""
    import tf_keras
    from tf_keras import layers

    from facectl_trainer.backbones.standardise import PerImageStandardisation

    tf_keras.utils.set_random_seed(2)
    image = layers.Input((SIDE, SIDE, 3), dtype="uint8")
    x = layers.Conv2D(8, 3, 2, activation="relu", name="lower")(PerImageStandardisation(name="standardise")(image))
    x = layers.Dense(5, use_bias=False, name="bottleneck")(layers.Flatten(name="flat")(x))
    return tf_keras.Model(image, layers.UnitNormalization(name="unit")(x), name="embedding")


def answer(path, spec, pixels):
    """Write the spec into the file, and ask it through facectl's own engine."""
    tflite.write_spec(path, spec)
    reader = format_of(path)
    return reader.open(path, reader.read_spec(path), Device("cpu")).infer(pixels)


NETWORKS = ["flat", "branching", "embedding"]
