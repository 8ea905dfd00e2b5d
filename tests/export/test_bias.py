"""Bias correction: the arithmetic, and what it makes of the biases in real files of both formats."""

from dataclasses import replace

import numpy as np
import pytest

from calibrated import calibrated
from drawn_run import SIDE, _spec
from facectl_export.bias import corrected, excess, same_padding, share_seen
from facectl_runtime.devices import Device
from facectl_runtime.engines import format_of

tf_keras = pytest.importorskip("tf_keras")
pytest.importorskip("ai_edge_quantizer")
pytest.importorskip("onnxruntime")

from facectl_export.formats import onnx as onnx_files  # noqa: E402  # only where the extra is there
from facectl_export.formats import tflite  # noqa: E402

LABELS = ["ant", "bee", "cat", "dog"]
FORMATS = ["onnx", "tflite"]
LAYERS = ["wide", "strided", "depthwise", "padded", "dense"]


# The arithmetic


@pytest.mark.parametrize(("groups", "inputs", "outputs"), [(1, 6, 4), (6, 6, 6), (6, 6, 12), (2, 6, 8)])
def test_a_layer_is_right_on_average(groups, inputs, outputs):
    random = np.random.default_rng(0)
    image = random.gamma(1, 1, (500, inputs, 9))
    trained = random.normal(size=(outputs, inputs // groups, 9))
    step = 0.2
    rounded, scale = step * np.rint(trained / step), np.full(outputs, 1e-4)
    bias = random.integers(-100, 100, outputs, dtype=np.int32)

    def answer(weights, biases):
        parts = image.reshape(500, groups, inputs // groups, 9)
        each = weights.reshape(groups, outputs // groups, inputs // groups, 9)
        return np.einsum("ngit,goit->ngo", parts, each).reshape(500, outputs).mean(axis=0) + biases * scale

    image[:] = image.mean(axis=2, keepdims=True)  # all taps see one mean, as they nearly do in a photograph
    found = corrected(bias, scale, excess(trained, rounded, image.mean(axis=(0, 2))))
    assert found.dtype == np.int32
    np.testing.assert_allclose(answer(rounded, found), answer(trained, bias), atol=1e-4)
    assert np.abs(answer(rounded, bias) - answer(trained, bias)).max() > 0.1


def test_one_scale_may_stand_for_all_and_none_runs_over():
    bias = np.array([0, -(2**31)], np.int32)
    assert corrected(bias, np.array(0.5), np.array([2.0, 2.0])).tolist() == [-4, -(2**31)]


@pytest.mark.parametrize(
    ("size", "taps", "stride", "dilation", "padding"),
    [
        (4, 5, 1, 1, "same"),
        *((*axis, padding) for axis in [(7, 3, 2, 1), (8, 3, 2, 1), (9, 3, 1, 2)] for padding in ("same", "valid")),
    ],
)
def test_a_tap_sees_as_much_of_a_map_as_tensorflow_lets_it(size, taps, stride, dilation, padding):
    import tensorflow as tf

    ends = same_padding(size, taps, stride, dilation) if padding == "same" else (0, 0)
    # Each tap has an output to itself, which says whether it lies on a map of ones.
    kernel = np.eye(taps, dtype=np.float32)[:, None]
    seen = tf.nn.conv1d(np.ones((1, size, 1), np.float32), kernel, stride, padding.upper(), dilations=dilation)
    np.testing.assert_allclose(share_seen(size, taps, stride, dilation, *ends), np.mean(seen, axis=(0, 1)))


# Files


def prone(kind):
    """Build a network with a layer most of whose weights round to zero, and so lose what they add to every answer."""
    from tf_keras import layers

    tf_keras.utils.set_random_seed(5)
    image = layers.Input((SIDE, SIDE, 3), dtype="uint8")
    x = layers.Rescaling(1 / 255, name="rescale")(image)
    for number in range(3):  # more than an ONNX file leaves float
        x = layers.Conv2D(32, 1, activation="relu", name=f"first{number}")(x)
    layer = {
        "wide": layers.Conv2D(32, 1, name="prone"),
        "strided": layers.Conv2D(32, 3, 2, name="prone"),
        "depthwise": layers.DepthwiseConv2D(3, name="prone"),
        "padded": layers.DepthwiseConv2D(5, padding="same", name="prone"),
        "dense": layers.Dense(32, name="prone"),
    }[kind]
    small = layers.AveragePooling2D(8, name="small")  # 4 × 4: most of what five taps see there is padding
    x = layer({"dense": lambda: layers.Flatten()(small(x)), "padded": lambda: small(x)}.get(kind, lambda: x)())
    if kind != "dense":
        x = layers.GlobalAveragePooling2D(name="features")(x)
    end = layers.Dense(4, activation="softmax", kernel_initializer="random_normal", name="probabilities")
    model = tf_keras.Model(image, end(x), name="net")
    kernel, bias = layer.get_weights()
    flat = np.full(kernel.shape, 0.0045).reshape(-1, kernel.shape[2 if kind in ("depthwise", "padded") else -1])
    flat[np.arange(flat.shape[1]) % len(flat), np.arange(flat.shape[1])] = 1.27
    layer.set_weights([flat.reshape(kernel.shape), bias + 0.01])  # converters leave biases out that are zero
    return model


def answers(path, pixels):
    spec = _spec("tiny", LABELS, 0)
    return np.concatenate([format_of(path).open(path, spec, Device("cpu")).infer(image[None]) for image in pixels])


def write(model, kind, pixels, folder, *, correct):
    """Make an int8 file; one that is not corrected was told that every channel is zero on average."""
    fp32, int8 = folder / f"fp32.{kind}", folder / f"int8.{correct}.{kind}"
    spec = _spec("tiny", LABELS, 0)
    format_ = onnx_files if kind == "onnx" else tflite
    format_.write_fp32(model, spec, fp32)
    ranges = calibrated(format_, fp32, [pixels], "minmax")
    if not correct:
        ranges = replace(ranges, means={name: 0 * mean for name, mean in ranges.means.items()})
    format_.write_int8(fp32, ranges, int8)
    return int8


def off(model, kind, pixels, folder, *, correct):
    """Give how far the answers of an int8 file are from its network's, on average."""
    found = answers(write(model, kind, pixels, folder, correct=correct), pixels)
    return np.abs(found - np.asarray(model(pixels))).mean()


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(2).integers(0, 256, (24, SIDE, SIDE, 3), np.uint8)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("layer", LAYERS)
def test_what_rounding_takes_is_given_back(layer, kind, pixels, tmp_path):
    model = prone(layer)
    times = 4 if layer == "padded" else 2  # padding taken for pixels, it would be 2.4 times better
    assert off(model, kind, pixels, tmp_path, correct=True) < off(model, kind, pixels, tmp_path, correct=False) / times


@pytest.mark.parametrize("layer", LAYERS)
def test_a_network_that_is_to_learn_to_be_rounded_begins_right_on_average(layer, pixels):
    pytest.importorskip("tensorflow_model_optimization")
    from facectl_export.tuning.correct import bias_corrected
    from facectl_export.tuning.fake_quant import observe_ranges
    from facectl_export.tuning.fold import fold
    from facectl_export.tuning.simulate import quantize_aware

    model = fold(prone(layer))
    off = []
    for begin in (model, bias_corrected(model, [pixels[:12], pixels[12:]])):
        simulated = quantize_aware(begin, 1).model
        observe_ranges(simulated, [pixels])
        off.append(np.abs(simulated.predict_on_batch(pixels) - model.predict_on_batch(pixels)).mean())
    assert off[1] < off[0] / 2


@pytest.mark.parametrize("kind", FORMATS)
def test_a_layer_that_is_applied_twice_is_no_worse_for_it(kind, pixels, tmp_path):
    from tf_keras import layers

    tf_keras.utils.set_random_seed(6)
    image = layers.Input((SIDE, SIDE, 3), dtype="uint8")
    x = layers.Rescaling(1 / 255)(image)
    shared = layers.Conv2D(32, 1, activation="relu", name="shared")
    for number in range(3):
        x = layers.Conv2D(32, 1, activation="relu", name=f"first{number}")(x)
    x = layers.GlobalAveragePooling2D()(shared(shared(x)))
    end = layers.Dense(4, activation="softmax", kernel_initializer="random_normal", name="probabilities")
    model = tf_keras.Model(image, end(x), name="net")
    _, bias = shared.get_weights()
    shared.set_weights([0.0045 + 1.27 * np.eye(32)[None, None], bias + 0.01])
    assert off(model, kind, pixels, tmp_path, correct=True) < off(model, kind, pixels, tmp_path, correct=False)
