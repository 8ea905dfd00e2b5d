"""The two small networks learn, and one is normalized."""

import numpy as np
import pytest

from facectl_trainer.backbones import backbone

tf_keras = pytest.importorskip("tf_keras")


def classifier(name):
    tf_keras.utils.set_random_seed(0)
    body = backbone(name).build(32, "unit", None)
    x = tf_keras.layers.GlobalAveragePooling2D()(body.output)
    return tf_keras.Model(body.input, tf_keras.layers.Dense(2, activation="softmax")(x))


def stripes(count=64):
    """Draw horizontal stripes (class 0) and vertical ones (class 1)."""
    random = np.random.default_rng(0)
    classes = np.arange(count) % 2
    pixels = np.zeros((count, 32, 32, 3), np.uint8)
    for image, label in zip(pixels, classes, strict=True):
        wave = np.uint8(127 + 100 * np.sin(np.arange(32) * random.uniform(0.5, 1.5) + random.uniform(0, 6)))
        image[:] = (wave[:, None] if label == 0 else wave[None])[..., None]
    return pixels, classes


@pytest.mark.parametrize("name", ["convnet", "convnet_bn"])
def test_it_learns_which_way_stripes_go(name):
    model, (pixels, classes) = classifier(name), stripes()
    model.compile(tf_keras.optimizers.Adam(0.005), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(pixels, classes, batch_size=16, epochs=25, verbose=0)
    if name == "convnet":  # the running statistics of batch norm take longer than this training
        assert model.evaluate(pixels, classes, verbose=0)[1] >= 0.95
    trained = model(pixels, training=True).numpy().argmax(1)
    assert np.mean(trained == classes) >= 0.9


def test_pixels_are_divided_by_255():
    model = backbone("convnet").build(16, "unit", None)
    probe = tf_keras.Model(model.input, model.get_layer("rescale").output)
    pixels = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    np.testing.assert_allclose(probe(pixels), pixels / 255, atol=1e-7)


def test_only_one_has_batch_norms():
    kinds = {
        name: {type(layer).__name__ for layer in backbone(name).build(32, "unit", None).layers}
        for name in ("convnet", "convnet_bn")
    }
    assert kinds["convnet_bn"] - kinds["convnet"] == {"BatchNormalization"}
