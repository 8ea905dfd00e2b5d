"""Folding changes no answer, and leaves no batch norm behind a convolution."""

import numpy as np
import pytest

tf_keras = pytest.importorskip("tf_keras")

from tf_keras import layers  # noqa: E402

from facectl_export.tuning.fine_tune import BACKBONES as TUNABLE  # noqa: E402
from facectl_export.tuning.fold import LOGITS, fold  # noqa: E402
from facectl_trainer.backbones import BACKBONES  # noqa: E402
from helpers import slow  # noqa: E402


def network(name, side, seed=0):
    """Build a classifier on a backbone of random values, its batch norms as unlike 0 and 1 as trained ones."""
    random = np.random.default_rng(seed)
    tf_keras.utils.set_random_seed(seed)
    body = BACKBONES[name].build(side, BACKBONES[name].preprocess, None)
    x = body.output
    x = layers.GlobalAveragePooling2D(name="features")(x) if len(x.shape) == 4 else x
    x = layers.Dropout(0.5, name="classifier_dropout")(x)
    model = tf_keras.Model(body.input, layers.Dense(3, activation="softmax", name="probabilities")(x), name=name)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            low, high = (0.8, 1.2) if "gamma" in layer.weights[0].name else (-0.1, 0.1)
            values = [random.uniform(low, high, value.shape) for value in layer.get_weights()[:-1]]
            layer.set_weights([*values, random.uniform(0.5, 1.5, layer.moving_variance.shape)])
    return model


@pytest.mark.parametrize(
    "name", ["efficientnet_lite0", slow("mobilenet_v2"), slow("inception_resnet_v1"), "convnet_bn"]
)
def test_the_answers_stay_and_the_batch_norms_go(name):
    side = max(64, BACKBONES[name].smallest)
    model = network(name, side)
    pixels = np.random.default_rng(1).integers(0, 256, (3, side, side, 3), np.uint8)
    before = tf_keras.Model(model.input, model.get_layer("probabilities").input).predict_on_batch(pixels)
    folded = fold(model)
    after = tf_keras.Model(folded.input, folded.get_layer(LOGITS).input).predict_on_batch(pixels)
    assert np.abs(before).max() > 1e-4
    np.testing.assert_allclose(after, before, rtol=1e-3, atol=1e-4 * np.abs(before).max())
    np.testing.assert_allclose(folded.predict_on_batch(pixels), model.predict_on_batch(pixels), atol=1e-4)
    kinds = [type(layer) for layer in folded.layers]
    assert layers.BatchNormalization not in kinds
    assert layers.Dropout not in kinds
    assert layers.BatchNormalization in [type(layer) for layer in model.layers]


def test_a_batch_norm_that_nothing_can_take_stays():
    image = layers.Input((8, 8, 3), dtype="uint8")
    x = layers.Conv2D(4, 3, name="conv")(layers.Rescaling(1 / 255)(image))
    x = layers.Add(name="sum")([layers.BatchNormalization(name="bn")(x), x])  # the convolution feeds two layers
    x = layers.GlobalAveragePooling2D(name="features")(x)
    model = tf_keras.Model(image, layers.Dense(2, activation="softmax", name="probabilities")(x))
    model.get_layer("bn").set_weights([np.float32([2, 1, 0.5, 3]), *(np.float32([1, 2, 3, 4]) for _ in range(3))])
    pixels = np.random.default_rng(1).integers(0, 256, (3, 8, 8, 3), np.uint8)
    folded = fold(model)
    assert "bn" in [layer.name for layer in folded.layers]
    np.testing.assert_allclose(folded.predict_on_batch(pixels), model.predict_on_batch(pixels), atol=1e-5)


def test_every_backbone_that_can_be_tuned_is_one():
    assert set(TUNABLE) <= set(BACKBONES)
