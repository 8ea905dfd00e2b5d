"""Per-image standardisation as a layer. Import it inside functions: it needs TensorFlow."""

from typing import Any

import tensorflow as tf
import tf_keras


@tf_keras.utils.register_keras_serializable("facectl")
class PerImageStandardisation(tf_keras.layers.Layer):  # type: ignore[misc]  # tf_keras has no types
    """(x - mean) / max(standard deviation, 1 / sqrt(size)) over each image's pixels and channels, in float32.

    Source: David Sandberg's facenet (`prewhiten`). An image of one colour becomes zeros.
    """

    def call(self, image: Any) -> Any:
        """Give float32 N x height x width x channels of any numeric N x height x width x channels."""
        x = tf.cast(image, tf.float32)
        x -= tf.reduce_mean(x, axis=[1, 2, 3], keepdims=True)
        deviation = tf.sqrt(tf.reduce_mean(tf.square(x), axis=[1, 2, 3], keepdims=True))
        size = image.shape[1] * image.shape[2] * image.shape[3]
        return x / tf.maximum(deviation, size**-0.5)
