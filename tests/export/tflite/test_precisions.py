"""TFLite files of tiny networks: each precision, and what stays float; all run by LiteRT."""

import numpy as np
import pytest

from calibrated import calibrated
from drawn_run import SIDE
from facectl_export.formats import tflite
from facectl_export.formats.tflite_graph import Graph
from facectl_runtime.errors import UsageError
from tflite_networks import NETWORKS, answer


def kinds(path):
    """Give (op, type of what it takes, type of what it gives), as the file has them."""
    graph = Graph(path)
    return [(op.kind, graph.tensors[op.inputs[0]].type, graph.tensors[op.outputs[0]].type) for op in graph.ops]


def floats(path):
    return [kind for kind, _, given in kinds(path) if given == "FLOAT32" and kind not in ("DEQUANTIZE", "QUANTIZE")]


# Float


@pytest.mark.parametrize("name", NETWORKS)
def test_fp32_answers_as_keras_does(made, pixels, name):
    one = made[name]
    extremes = np.stack([np.zeros_like(pixels[0]), np.full_like(pixels[0], 255)])
    for images in (pixels, extremes):
        np.testing.assert_allclose(
            answer(one.path, one.spec, images), one.network.predict_on_batch(images), rtol=0, atol=1e-5
        )


def test_the_signature_names_what_goes_in_and_comes_out(made):
    from ai_edge_litert.interpreter import Interpreter

    for name, output in (("flat", "probabilities"), ("embedding", "embedding")):
        interpreter = Interpreter(str(made[name].path))
        (signature,) = interpreter.get_signature_list().values()
        assert signature == {"inputs": ["pixels"], "outputs": [output]}
        assert interpreter.get_input_details()[0]["shape"].tolist() == [1, SIDE, SIDE, 3]
        assert interpreter.get_input_details()[0]["dtype"] == np.uint8


@pytest.mark.parametrize("batch", [3, None])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_file_of_another_batch_answers_alike_at_every_precision(made, pixels, tmp_path, name, batch):
    one, fp32 = made[name], tmp_path / "fp32.tflite"
    wanted = one.network.predict_on_batch(pixels)
    tflite.write_fp32(one.network, one.spec, fp32, batch)
    int8, half = tmp_path / "int8.tflite", tmp_path / "fp16.tflite"
    tflite.write_int8(fp32, calibrated(tflite, fp32, [pixels], "minmax"), int8)
    tflite.write_fp16(fp32, half)
    for path, tolerance in ((fp32, 1e-5), (half, 0.01), (int8, 0.1)):
        for count in (1, 5):
            np.testing.assert_allclose(answer(path, one.spec, pixels[:count]), wanted[:count], rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", NETWORKS)
def test_fp16_halves_the_weights_and_answers_nearly_alike(made, pixels, tmp_path, name):
    one, path = made[name], tmp_path / "half.tflite"
    tflite.write_fp16(one.path, path)
    graph = Graph(path)
    assert {graph.weights(op).type for op in graph.ops if op.weighted} == {"FLOAT16"}
    np.testing.assert_allclose(answer(path, one.spec, pixels), one.network.predict_on_batch(pixels), rtol=0, atol=0.01)
    share = tflite.integer_share(path)
    assert (share.ops, share.weights) == (0, 0)
    assert share.ops_of == len(tflite.layers(one.path))


# Integers


def test_int8_weights_leave_activations_float(made, pixels, tmp_path):
    """LiteRT rounds them as they come: there is no integer tensor but the weights."""
    one, path = made["flat"], tmp_path / "weights.tflite"
    tflite.write_int8_weights(one.path, path)
    share = tflite.integer_share(path)
    assert share.ops == 0
    assert share.weights == share.weights_of > 0
    np.testing.assert_allclose(answer(path, one.spec, pixels), one.network.predict_on_batch(pixels), rtol=0, atol=0.1)


@pytest.mark.parametrize("name", NETWORKS)
def test_int8_computes_in_integers_and_answers_nearly_alike(made, ranges, pixels, tmp_path, name):
    one, path = made[name], tmp_path / "int8.tflite"
    tflite.write_int8(one.path, ranges[name], path)
    share = tflite.integer_share(path)
    assert share.ops == share.ops_of == len(tflite.layers(one.path))
    assert share.weights == share.weights_of > 0
    np.testing.assert_allclose(answer(path, one.spec, pixels), one.network.predict_on_batch(pixels), rtol=0, atol=0.1)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("flat", ["CAST", "SOFTMAX"]),  # the factor goes into the first convolution
        ("branching", ["CAST", "MUL", "ADD", "SOFTMAX"]),
        (
            "embedding",
            ["CAST", "MEAN", "SUB", "SQUARED_DIFFERENCE", "MEAN", "SQRT", "MAXIMUM", "DIV", "L2_NORMALIZATION"],
        ),
    ],
)
def test_the_scaling_of_pixels_and_the_last_step_stay_float(made, ranges, tmp_path, name, wanted):
    path = tmp_path / "int8.tflite"
    tflite.write_int8(made[name].path, ranges[name], path)
    assert floats(path) == wanted
    found = kinds(path)
    assert found[0][1:] == ("UINT8", "FLOAT32")
    assert found[-1][2] == "FLOAT32"


def test_integer_share_of_an_fp32_file_is_none(made):
    share = tflite.integer_share(made["branching"].path)
    assert (share.ops, share.ops_of, share.weights) == (0, 4, 0)
    assert share.weights_of == 3 * 3 * 3 * 8 + 3 * 3 * 8 + 8 * 8 + 16 * 3


# Layers that stay float


def test_layers_are_named_as_in_keras_in_order(made):
    assert tflite.layers(made["flat"].path) == ["lower", "upper", "probabilities"]
    assert tflite.layers(made["embedding"].path) == ["lower", "bottleneck"]
    found = tflite.layers(made["branching"].path)
    assert found[0] == "conv2d_1"
    assert sorted(found[1:3]) == ["block/conv2d_1x1", "conv2d_17"]
    assert found[3:] == ["probabilities"]


@pytest.mark.parametrize("keep", ["conv2d_1", "conv2d_17", "block/conv2d_1x1", "probabilities"])
def test_a_layer_that_is_kept_stays_float_and_no_other_does(made, ranges, pixels, tmp_path, keep):
    one, path = made["branching"], tmp_path / "kept.tflite"
    tflite.write_int8(one.path, ranges["branching"], path, [keep])
    graph = Graph(path)
    in_float = [op.layer for op in graph.ops if op.weighted and not graph.is_integer(op)]
    assert in_float == [keep]
    assert graph.weights(next(op for op in graph.ops if op.layer == keep)).type == "FLOAT32"
    assert tflite.integer_share(path).ops == 3
    np.testing.assert_allclose(answer(path, one.spec, pixels), one.network.predict_on_batch(pixels), rtol=0, atol=0.1)


def test_a_layer_that_is_fused_or_has_no_weights_can_be_kept_too(made, ranges, tmp_path):
    path = tmp_path / "kept.tflite"
    tflite.write_int8(made["branching"].path, ranges["branching"], path, {"relu", "sum"})
    assert floats(path) == ["CAST", "MUL", "ADD", "CONV_2D", "ADD", "SOFTMAX"]


def test_every_layer_kept_gives_what_fp32_gives(made, ranges, pixels, tmp_path):
    one, path = made["branching"], tmp_path / "kept.tflite"
    tflite.write_int8(one.path, ranges["branching"], path, [*tflite.layers(one.path), "sum", "both", "pad", "pool"])
    np.testing.assert_allclose(answer(path, one.spec, pixels), one.network.predict_on_batch(pixels), rtol=0, atol=0.01)
    assert tflite.integer_share(path).ops == 0


@pytest.mark.parametrize("keep", ["conv2d_7", "conv2d", "Conv2D", "branching", ""])
def test_a_layer_that_is_not_there_is_named(made, ranges, tmp_path, keep):
    path = tmp_path / "kept.tflite"
    with pytest.raises(UsageError, match=r"branching\.tflite.*its layers are conv2d_1, "):
        tflite.write_int8(made["branching"].path, ranges["branching"], path, [keep])
    assert not path.exists()
