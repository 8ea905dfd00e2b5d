"""Whole networks: programs of others, written by hand, against the same arithmetic by TensorFlow, and Keras's own."""

import numpy as np
import pytest

from facectl_export.mlprogram.onnx import to_onnx
from facectl_runtime.spec import InputSpec, ModelSpec, OutputSpec, Provenance, Squash

tf = pytest.importorskip("tensorflow")
ct = pytest.importorskip("coremltools")
import mil  # noqa: E402
from mil import mb, outputs  # noqa: E402

RANDOM = np.random.default_rng(0)
PIXELS = np.random.default_rng(5).integers(0, 256, (6, 64, 64, 3), np.uint8)
PIXELS[::2] //= np.uint8(8)


def weights(*shape, scale=None):
    fan = np.prod(shape[1:])
    return RANDOM.normal(0, scale or fan**-0.5, shape).astype(np.float32)


def channels_last(x):
    return tf.transpose(x, (0, 2, 3, 1))


def channels_first(x):
    return tf.transpose(x, (0, 3, 1, 2))


WIDTH, HEADS, PATCH, TOKENS = 24, 3, 4, 17
VIT = {
    "patches": weights(WIDTH, 3, PATCH, PATCH),
    "class_token": weights(1, 1, WIDTH),
    "positions": weights(1, TOKENS, WIDTH),
    "gamma": weights(WIDTH, scale=1),
    "beta": weights(WIDTH, scale=1),
    "qkv": weights(3 * WIDTH, WIDTH),
    "out": weights(WIDTH, WIDTH),
    "up": weights(4 * WIDTH, WIDTH),
    "down": weights(WIDTH, 4 * WIDTH),
    "head": weights(5, WIDTH),
}


def transformer(x, fused):
    """Write a vision transformer of one block, as PyTorch's frontend would."""
    w = VIT
    x = mb.conv(x=x, weight=w["patches"], strides=[PATCH, PATCH], pad_type="valid")
    x = mb.transpose(x=mb.reshape(x=x, shape=[1, WIDTH, TOKENS - 1]), perm=[0, 2, 1])
    x = mb.add(x=mb.concat(values=[mb.const(val=w["class_token"]), x], axis=1), y=w["positions"])
    y = mb.layer_norm(x=x, axes=[-1], gamma=w["gamma"], beta=w["beta"], epsilon=np.float32(1e-6))
    y = mb.reshape(x=mb.linear(x=y, weight=w["qkv"]), shape=[1, TOKENS, 3, HEADS, WIDTH // HEADS])
    parts = mb.split(x=mb.transpose(x=y, perm=[2, 0, 3, 1, 4]), num_splits=3, axis=0)
    q, k, v = (mb.squeeze(x=part, axes=[0]) for part in parts)
    if fused:
        y = mb.scaled_dot_product_attention(query=q, key=k, value=v)
    else:
        scores = mb.mul(x=mb.matmul(x=q, y=k, transpose_y=True), y=np.float32((WIDTH // HEADS) ** -0.5))
        y = mb.matmul(x=mb.softmax(x=scores, axis=-1), y=v)
    y = mb.reshape(x=mb.transpose(x=y, perm=[0, 2, 1, 3]), shape=[1, TOKENS, WIDTH])
    x = mb.add(x=x, y=mb.linear(x=y, weight=w["out"]))
    y = mb.gelu(x=mb.linear(x=x, weight=w["up"]), mode="EXACT")
    x = mb.add(x=x, y=mb.linear(x=y, weight=w["down"]))
    x = mb.gather(x=x, indices=np.int32(0), axis=1)
    return mb.softmax(x=mb.linear(x=x, weight=w["head"]), axis=-1)


def transformer_by_tensorflow(x):
    w = VIT
    x = tf.nn.conv2d(channels_last(x), tf.transpose(w["patches"], (2, 3, 1, 0)), PATCH, "VALID")
    x = tf.concat([w["class_token"], tf.reshape(x, (1, TOKENS - 1, WIDTH))], 1) + w["positions"]
    mean, variance = tf.nn.moments(x, -1, keepdims=True)
    y = tf.nn.batch_normalization(x, mean, variance, w["beta"], w["gamma"], 1e-6)
    y = tf.reshape(y @ w["qkv"].T, (1, TOKENS, 3, HEADS, WIDTH // HEADS))
    q, k, v = tf.unstack(tf.transpose(y, (2, 0, 3, 1, 4)))
    y = tf.nn.softmax(tf.matmul(q, k, transpose_b=True) / (WIDTH // HEADS) ** 0.5) @ v
    x = x + tf.reshape(tf.transpose(y, (0, 2, 1, 3)), (1, TOKENS, WIDTH)) @ w["out"].T
    x = x + tf.nn.gelu(x @ w["up"].T, approximate=False) @ w["down"].T
    return tf.nn.softmax(x[:, 0] @ w["head"].T)


@pytest.mark.parametrize(("ios", "fused"), [("iOS15", False), ("iOS17", False), ("iOS18", True)])
def test_a_vision_transformer(ios, fused):
    x = weights(1, 3, 16, 16, scale=1)
    (y,) = outputs(lambda x: transformer(x, fused), {"x": x}, ios)
    np.testing.assert_allclose(y, transformer_by_tensorflow(x), atol=1e-5)
    assert y.max() > 0.3  # or agreement would say nothing


SHUFFLE = {
    "point": weights(6, 6, 1, 1),
    "depth": weights(6, 1, 3, 3),
    "squeeze": weights(3, 12),
    "excite": weights(12, 3),
}


def shuffle_unit(x):
    """Write a unit of ShuffleNet V2 with squeeze and excitation: split, depthwise, concat, shuffle, scale."""
    w = SHUFFLE
    left, right = mb.split(x=x, num_splits=2, axis=1)
    right = mb.prelu(x=mb.conv(x=right, weight=w["point"], pad_type="valid"), alpha=np.full(6, 0.2, np.float32))
    right = mb.conv(x=right, weight=w["depth"], groups=6, pad_type="custom", pad=[1, 1, 1, 1])
    x = mb.reshape(x=mb.concat(values=[left, right], axis=1), shape=[1, 2, 6, 8, 10])
    x = mb.reshape(x=mb.transpose(x=x, perm=[0, 2, 1, 3, 4]), shape=[1, 12, 8, 10])
    s = mb.reduce_mean(x=x, axes=[2, 3], keep_dims=False)
    s = mb.sigmoid_hard(x=mb.linear(x=mb.silu(x=mb.linear(x=s, weight=w["squeeze"])), weight=w["excite"]),
                        alpha=np.float32(1 / 6), beta=np.float32(0.5))  # fmt: skip
    x = mb.mul(x=x, y=mb.expand_dims(x=s, axes=[-1, -2]))
    return mb.max_pool(x=x, kernel_sizes=[3, 3], strides=[2, 2], pad_type="custom", pad=[1, 1, 1, 1], ceil_mode=True)


def shuffle_unit_by_tensorflow(x):
    w = SHUFFLE
    left, right = tf.split(channels_last(x), 2, axis=-1)
    right = tf.nn.leaky_relu(tf.nn.conv2d(right, tf.transpose(w["point"], (2, 3, 1, 0)), 1, "VALID"), 0.2)
    right = tf.nn.depthwise_conv2d(right, tf.transpose(w["depth"], (2, 3, 0, 1)), (1, 1, 1, 1), "SAME")
    x = tf.reshape(tf.concat([left, right], -1), (1, 8, 10, 2, 6))
    x = tf.reshape(tf.transpose(x, (0, 1, 2, 4, 3)), (1, 8, 10, 12))
    s = tf.nn.relu6(tf.nn.silu(tf.reduce_mean(x, (1, 2)) @ w["squeeze"].T) @ w["excite"].T + 3) / 6
    x = tf.pad(x * s[:, None, None], [[0, 0], [1, 2], [1, 2], [0, 0]], constant_values=-np.inf)
    return channels_first(tf.nn.max_pool2d(x, 3, 2, "VALID"))[:, :, :5, :6]


def test_a_shuffle_unit():
    x = weights(1, 12, 8, 10, scale=1)
    (y,) = outputs(shuffle_unit, {"x": x}, "iOS16")
    wanted = shuffle_unit_by_tensorflow(x)
    assert y.shape == wanted.shape
    np.testing.assert_allclose(y, wanted, atol=1e-5)


def test_a_convolution_of_8_bits_throughout():
    """Quantize the input, and dequantize it and the kernel, as coremltools' activation quantization does on a Mac."""
    kernel = RANDOM.integers(-127, 128, (4, 3, 3, 3)).astype(np.int8)
    scales = RANDOM.uniform(0.005, 0.02, 4).astype(np.float32)

    def build(x):
        x = mb.quantize(input=x, scale=np.float32(0.05), zero_point=np.uint8(100), output_dtype="uint8")
        x = mb.dequantize(input=x, scale=np.float32(0.05), zero_point=np.uint8(100))
        dense = mb.constexpr_affine_dequantize(
            quantized_data=kernel, scale=scales, zero_point=np.zeros(4, np.int8), axis=0
        )
        return mb.conv(x=x, weight=dense, pad_type="same")

    x = weights(1, 3, 7, 9, scale=2)
    (y,) = outputs(build, {"x": x}, "iOS17")
    rounded = (np.clip(np.round(x / 0.05) + 100, 0, 255) - 100) * 0.05
    filters = tf.transpose(kernel * scales[:, None, None, None], (2, 3, 1, 0))
    np.testing.assert_allclose(y, channels_first(tf.nn.conv2d(channels_last(rounded), filters, 1, "SAME")), atol=1e-3)


def test_integer_classes(tmp_path):
    program = mb.program([mb.TensorSpec((1, 3, 4, 4))], opset_version=ct.target.iOS15)(
        lambda image: mb.softmax(x=mb.reduce_mean(x=image, axes=[2, 3]))
    )
    model = ct.convert(
        program,
        inputs=[ct.ImageType("image", (1, 3, 4, 4))],
        classifier_config=ct.ClassifierConfig([30, 10, 20]),
        minimum_deployment_target=ct.target.iOS15,
        skip_model_load=True,
    )
    model.save(str(tmp_path / "net.mlpackage"))
    assert to_onnx(tmp_path / "net.mlpackage").labels == ("30", "10", "20")
    _, labels = mil.answers(tmp_path / "net.mlpackage", np.uint8([[[[9, 0, 200]] * 4] * 4]))
    assert labels == ["20"]


@pytest.fixture(scope="module")
def keras():
    """Build MobileNetV3, of whose layers no other network of the tests has the like."""
    from tf_keras import Model, layers

    from facectl_trainer.backbones import BACKBONES

    body = BACKBONES["mobilenet_v3"].build(64, BACKBONES["mobilenet_v3"].preprocess)
    x = layers.GlobalAveragePooling2D()(body.output)
    model = Model(body.input, layers.Dense(4, "softmax", kernel_initializer="glorot_normal", name="probabilities")(x))
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.1
    for _ in range(4):
        model(PIXELS, training=True)  # the batch norms learn what they see
    return model


@pytest.mark.slow
def test_a_network_of_keras(keras, tmp_path):
    from facectl_export.formats import coreml

    source = Provenance("zoo", 0, "0" * 64, "tiny", None, None, {"facectl": "0.1.0"}, "2026-01-02T03:04:05Z")
    spec = ModelSpec(
        name="net",
        task="classify",
        precision="fp32",
        labels=("a", "b", "c", "d"),
        input=InputSpec(64, 64, Squash()),
        output=OutputSpec("probabilities", 4),
        provenance=source,
    )
    coreml.write_float(keras, spec, tmp_path / "net.mlpackage", half=True, ios=16)
    wanted = keras(PIXELS).numpy()
    assert wanted.std(0).max() > 0.02
    for declared in (False, True):
        found, labels = mil.answers(tmp_path / "net.mlpackage", PIXELS, declared)
        np.testing.assert_allclose(found, wanted, atol=0.05)
        assert labels == [spec.labels[row.argmax()] for row in found]
