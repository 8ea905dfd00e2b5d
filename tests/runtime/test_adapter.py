"""Graphs of others answer as can be reckoned by hand, whatever their layout, type and kind of output."""

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from facectl_runtime.description import Description
from facectl_runtime.devices import Device
from facectl_runtime.engines import format_of
from facectl_runtime.errors import ModelError
from facectl_runtime.foreign import describe
from facectl_runtime.spec import Adapter, CenterCrop, InputSpec

pytest.importorskip("ai_edge_litert.schema_py_generated")
from tiny_tflite import OP, TYPE, float_network, quantized_network
from tiny_tflite import save as save_tflite

CPU = Device("cpu")
WIDTH, HEIGHT = 12, 8
LABELS = ("a", "b", "c", "d")
WEIGHTS = np.random.default_rng(7).normal(size=(3, 4)).astype(np.float32)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def graph(layout="nchw", number=TensorProto.FLOAT, last=None, batch="batch", shape=None):
    """Mean of the values × weights (channels × 4), then `last`."""
    sides = [batch, 3, HEIGHT, WIDTH] if layout == "nchw" else [batch, HEIGHT, WIDTH, 3]
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float", "axes"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "weights"], ["logits"]),
        *([helper.make_node(last, ["logits"], ["answer"])] if last else []),
    ]
    end = "answer" if last else "logits"
    constants = [
        numpy_helper.from_array(np.array([2, 3] if layout == "nchw" else [1, 2]), "axes"),
        numpy_helper.from_array(WEIGHTS, "weights"),
    ]
    if shape:
        nodes.append(helper.make_node("Reshape", [end, "shape"], ["shaped"]))
        constants.append(numpy_helper.from_array(np.array(shape), "shape"))
        end = "shaped"
    outputs = [helper.make_tensor_value_info(end, TensorProto.FLOAT, [batch, *(shape or [0, 4])[1:]])]
    inputs = [helper.make_tensor_value_info("image", number, sides)]
    made = helper.make_graph(nodes, "g", inputs, outputs, constants)
    return helper.make_model(made, ir_version=10, opset_imports=[helper.make_opsetid("", 18)])


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def means(pixels):
    return pixels.astype(np.float64).mean(axis=(1, 2))


@pytest.fixture
def pixels():
    """Five pictures whose channels differ: one order taken for another would show."""
    noise = np.random.default_rng(0).integers(0, 128, (5, HEIGHT, WIDTH, 3))
    return np.uint8(noise + np.arange(5)[:, None, None, None] * 20 + [40, 10, 0])


@pytest.fixture
def answer(tmp_path, pixels):
    """Give a function that describes a graph of others and lets it answer the pictures."""

    def ask(made, **said):
        path = tmp_path / "model.onnx"
        onnx.save(made, path)
        spec = describe(path, Description(**{"labels": LABELS, **said}))
        engine = format_of(path).open(path, spec, CPU)
        answers = engine.infer(pixels)
        assert answers.dtype == np.float32
        np.testing.assert_allclose(answers.sum(axis=1), 1, atol=1e-6)
        return answers

    return ask


def test_channels_first_with_mean_and_standard_deviation(answer, pixels):
    expected = softmax((means(pixels) / 255 - MEAN) / STD @ WEIGHTS)
    np.testing.assert_allclose(answer(graph(), mean=MEAN, std=STD), expected, atol=1e-6)


def test_channels_last_in_the_order_blue_green_red(answer, pixels):
    """As Caffe's models want it: the mean stands in the order of the graph's channels."""
    mean = (103.939, 116.779, 123.68)
    expected = softmax((means(pixels)[:, ::-1] - mean) / 50 @ WEIGHTS)
    said = {"channels": "bgr", "scale": 1.0, "mean": mean, "std": (50.0,) * 3}
    np.testing.assert_allclose(answer(graph("nhwc", last="Softmax"), **said), expected, atol=1e-6)


def test_pixels_are_0_to_1_where_nothing_else_is_said(answer, pixels):
    np.testing.assert_allclose(answer(graph()), softmax(means(pixels) / 255 @ WEIGHTS), atol=1e-6)


def test_a_graph_of_8_bits_takes_pixels_as_they_are(answer, pixels):
    expected = softmax(means(pixels) @ WEIGHTS)
    np.testing.assert_allclose(answer(graph("nhwc", TensorProto.UINT8, "Softmax")), expected, atol=1e-4)


def test_a_graph_of_16_bits(answer, pixels):
    expected = softmax((means(pixels) / 255 - MEAN) / STD @ WEIGHTS)
    answers = answer(graph(number=TensorProto.FLOAT16), mean=MEAN, std=STD)
    np.testing.assert_allclose(answers, expected, atol=2e-3)
    assert np.abs(answers - expected).max() > 1e-6  # it was 16 bits


@pytest.mark.parametrize("batch", [1, 2, 5, 8])
def test_a_graph_that_takes_so_many_images_at_once(answer, pixels, batch):
    expected = softmax(means(pixels) / 255 @ WEIGHTS)
    np.testing.assert_allclose(answer(graph(batch=batch)), expected, atol=1e-6)


@pytest.mark.parametrize("shape", [[-1, 4, 1, 1], [-1, 1, 1, 4]])
def test_sides_of_1_around_the_classes_do_not_matter(answer, pixels, shape):
    made = graph(shape=shape, batch=None)
    np.testing.assert_allclose(answer(made), softmax(means(pixels) / 255 @ WEIGHTS), atol=1e-6)


def test_probabilities_and_logits_are_told_apart(answer):
    np.testing.assert_allclose(answer(graph(last="Softmax")), answer(graph()), atol=1e-6)


@pytest.fixture
def answer_tflite(tmp_path, pixels):
    def ask(network, **said):
        path = save_tflite(tmp_path / "model.tflite", None, network)
        spec = describe(path, Description(labels=("r", "g", "b"), **said))
        return format_of(path).open(path, spec, CPU).infer(pixels)

    return ask


@pytest.mark.parametrize("batch", [1, 3, -1])
def test_tflite_in_float(answer_tflite, pixels, batch):
    expected = softmax((means(pixels) - 127.5) / 20)
    said = {"scale": 1.0, "mean": (127.5,) * 3, "std": (20.0,) * 3}
    np.testing.assert_allclose(answer_tflite(float_network(batch), **said), expected, atol=1e-6)
    logits = float_network(batch, OP.ABS)
    np.testing.assert_allclose(answer_tflite(logits, scale=20.0), softmax(means(pixels) / 20), atol=1e-5)


QUANTIZED = [{"step": 1 / 8, "zero": 64}, {"number": TYPE.INT8, "step": 1 / 8, "zero": -64, "low": -128}]


@pytest.mark.parametrize("options", QUANTIZED, ids=["uint8", "int8"])
def test_tflite_in_8_bits_takes_values_by_its_own_step_and_zero(answer_tflite, pixels, options):
    """Values of -7.1 to 12: within what the input can say."""
    values = (pixels / 255.0 - 0.4) * 16
    answers = answer_tflite(quantized_network(**options), mean=(0.4,) * 3, std=(1 / 16,) * 3)
    # The logits come in steps of 1/8 nat, and the answers in steps of 1/256.
    np.testing.assert_allclose(answers, softmax(values.mean(axis=(1, 2))), atol=0.03)
    assert np.ptp(answers) > 0.5


@pytest.mark.parametrize("options", QUANTIZED, ids=["uint8", "int8"])
def test_tflite_in_8_bits_takes_pixels_as_they_are_where_nothing_is_said(answer_tflite, pixels, options):
    expected = softmax(means(pixels) / 8)
    np.testing.assert_allclose(answer_tflite(quantized_network(**options)), expected, atol=0.03)


def test_a_graph_that_is_not_as_its_spec_says_is_refused(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(graph(), path)
    spec = describe(path, Description(labels=LABELS))
    other = Adapter("nhwc", "rgb", 255.0, (0.0,) * 3, (1.0,) * 3, "logits")
    for changes in ({"adapter": other}, {"input": InputSpec(WIDTH, HEIGHT + 1, CenterCrop())}):
        with pytest.raises(ModelError, match=r"takes float32 N × 3 × 8 × 12, and its spec says otherwise"):
            format_of(path).open(path, msgspec.structs.replace(spec, **changes), CPU)
