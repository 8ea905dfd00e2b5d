"""ONNX files of every precision, run by ONNX Runtime and held to the Keras model that they came from."""

from dataclasses import replace

import numpy as np
import pytest

from calibrated import calibrated
from drawn_run import SIDE, tiny_model
from facectl_runtime.errors import UsageError
from facectl_runtime.spec import InputSpec, ModelSpec, OutputSpec, Provenance, Squash

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("tf2onnx")
tf_keras = pytest.importorskip("tf_keras")

from facectl_export.formats import onnx as exporter  # noqa: E402  # only where the extra is there
from facectl_trainer.backbones.preprocess import image_input, preprocessed  # noqa: E402

CLASSES = 4
SOURCE = Provenance("drawn", 0, "0" * 64, "drawn", None, None, {}, "2026-01-02T03:04:05Z")
METHODS = ["minmax", "entropy", "percentile"]


def network(preprocess="unit", embedding=False):
    """Build eight layers: convolutions in two branches that are added and joined, and one matrix product."""
    from tf_keras import layers

    tf_keras.utils.set_random_seed(3)
    image = image_input(SIDE)
    x = preprocessed(image, preprocess)
    for number in range(3):
        x = layers.Conv2D(8, 3, 1 + (number == 0), padding="same", activation="relu", name=f"conv{number or ''}")(x)
    left = layers.Conv2D(8, 3, padding="same", name="left")(x)
    right = layers.BatchNormalization(name="right_bn")(layers.Conv2D(8, 1, use_bias=False, name="right")(x))
    x = layers.Concatenate(name="both")(
        [layers.ReLU(6.0, name="sum_relu")(layers.Add(name="sum")([left, right])), left]
    )
    x = layers.MaxPooling2D(2, name="pool")(x)
    x = layers.Conv2D(12, 3, padding="same", activation="relu", name="conv17")(x)
    x = layers.Conv2D(12, 3, 2, padding="same", activation="relu", name="top")(x)
    x = layers.GlobalAveragePooling2D(name="features")(x)
    if embedding:
        x = layers.UnitNormalization(name="embedding")(layers.Dense(CLASSES, name="embedding_dense1")(x))
    else:
        x = layers.Dense(CLASSES, "softmax", name="probabilities")(x)
    return tf_keras.Model(image, x, name="net")


def spec(task="classify"):
    size = InputSpec(SIDE, SIDE, Squash())
    if task == "embed":
        output, name = OutputSpec("embedding", CLASSES), "drawn/embedding"
        return ModelSpec(name="drawn", task="embed", precision="fp32", labels=(), input=size, output=output,
                         provenance=SOURCE, embedding_id=name)  # fmt: skip
    return ModelSpec(name="drawn", task="classify", precision="fp32", labels=tuple("abcd"), input=size,
                     output=OutputSpec("probabilities", CLASSES), provenance=SOURCE)  # fmt: skip


@pytest.fixture(scope="module")
def pixels():
    """Thirty-two images of as many brightnesses."""
    random = np.random.default_rng(0)
    bright = np.linspace(0.1, 1, 32)[:, None, None, None]
    return np.uint8(random.integers(0, 256, (32, SIDE, SIDE, 3)) * bright)


@pytest.fixture(scope="module")
def keras():
    return network()


@pytest.fixture(scope="module")
def fp32(keras, tmp_path_factory):
    path = tmp_path_factory.mktemp("fp32") / "drawn.onnx"
    exporter.write_fp32(keras, spec(), path)
    return path


@pytest.fixture(scope="module")
def ranges(fp32, pixels):
    return calibrated(exporter, fp32, [pixels], "minmax")


@pytest.fixture(scope="module")
def int8(fp32, ranges, tmp_path_factory):
    folder = tmp_path_factory.mktemp("int8")
    exporter.write_int8(fp32, ranges, folder / "drawn.int8.onnx")
    return folder / "drawn.int8.onnx"


def session(path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def answer(path, pixels):
    return session(path).run(None, {"pixels": pixels})[0]


def signature(path):
    ran = session(path)
    return [(value.name, value.type, value.shape) for value in (*ran.get_inputs(), *ran.get_outputs())]


def stored(path):
    """Give the weights of a file by the Keras layer that they are named for."""
    return {tensor.name: tensor for tensor in onnx.load(path).graph.initializer}


# float32


def test_fp32_answers_as_keras_for_any_number_of_images(keras, fp32, pixels):
    assert signature(fp32) == [
        ("pixels", "tensor(uint8)", ["N", SIDE, SIDE, 3]),
        ("probabilities", "tensor(float)", ["N", CLASSES]),
    ]
    for number in (1, 5, 32):
        np.testing.assert_allclose(answer(fp32, pixels[:number]), keras(pixels[:number]), atol=1e-5)


@pytest.mark.parametrize("opset", [13, 18])
def test_an_opset_and_a_constant_batch_hold_at_every_precision(keras, pixels, tmp_path, opset):
    paths = [tmp_path / f"{name}.onnx" for name in ("fp32", "fp16", "int8")]
    exporter.write_fp32(keras, spec(), paths[0], 5, opset)
    exporter.write_fp16(paths[0], paths[1])
    found = calibrated(exporter, paths[0], [pixels[:7], pixels[7:]], "minmax")
    exporter.write_int8(paths[0], found, paths[2])
    for path, off in zip(paths, (1e-5, 0.005, 0.1), strict=True):
        made = onnx.load(path)
        onnx.checker.check_model(made, full_check=True)
        assert [entry.version for entry in made.opset_import if entry.domain in ("", "ai.onnx")] == [opset]
        assert [shape for _, _, shape in signature(path)] == [[5, SIDE, SIDE, 3], [5, CLASSES]]
        np.testing.assert_allclose(answer(path, pixels[:5]), keras(pixels[:5]), atol=off)


@pytest.mark.parametrize("opset", [12, 19, 21])
def test_an_opset_that_cannot_be_is_refused(keras, tmp_path, opset):
    with pytest.raises(UsageError, match=f"opset {opset}: use 13 to 18"):
        exporter.write_fp32(keras, spec(), tmp_path / "any.onnx", None, opset)


def test_embeddings_have_norm_1_and_the_direction_of_keras_at_every_precision(pixels, tmp_path):
    model = network("standardise", embedding=True)
    expected = np.array(model(pixels))
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    paths = [tmp_path / f"{name}.onnx" for name in ("fp32", "fp16", "int8")]
    exporter.write_fp32(model, spec("embed"), paths[0])
    exporter.write_fp16(paths[0], paths[1])
    exporter.write_int8(paths[0], calibrated(exporter, paths[0], [pixels], "minmax"), paths[2])
    for path, cosine in zip(paths, (0.99999, 0.9999, 0.95), strict=True):
        assert signature(path)[1] == ("embedding", "tensor(float)", ["N", CLASSES])
        found = answer(path, pixels)
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
        assert (found * expected).sum(axis=1).min() > cosine


# float16


@pytest.mark.parametrize("preprocess", ["caffe", "standardise"])
def test_fp16_is_half_as_large_and_nearly_as_exact(pixels, tmp_path, preprocess):
    fp32, fp16 = tmp_path / "fp32.onnx", tmp_path / "fp16.onnx"
    exporter.write_fp32(network(preprocess), spec(), fp32)
    exporter.write_fp16(fp32, fp16)
    onnx.checker.check_model(onnx.load(fp16), full_check=True)
    assert signature(fp16) == signature(fp32)
    black_and_white = np.where(pixels > 100, np.uint8(255), np.uint8(0))
    for images in (pixels, black_and_white):
        np.testing.assert_allclose(answer(fp16, images), answer(fp32, images), atol=0.005)
    halves = [tensor for tensor in stored(fp16).values() if tensor.data_type == onnx.TensorProto.FLOAT16]
    floats = [tensor for tensor in stored(fp16).values() if tensor.data_type == onnx.TensorProto.FLOAT]
    assert sum(np.prod(tensor.dims) for tensor in halves) > 3000
    assert sum(np.prod(tensor.dims) for tensor in floats) < 20


def test_the_ends_of_an_fp16_file_compute_in_float32(fp32, pixels, tmp_path):
    exporter.write_fp16(fp32, tmp_path / "fp16.onnx")
    made = onnx.shape_inference.infer_shapes(onnx.load(tmp_path / "fp16.onnx"))
    types = {value.name: value.type.tensor_type.elem_type for value in (*made.graph.value_info, *made.graph.output)}
    for node in made.graph.node:
        if "rescale" in node.name or node.op_type == "Softmax":
            assert types[node.output[0]] == onnx.TensorProto.FLOAT
        if node.op_type in ("Conv", "MatMul"):
            assert types[node.output[0]] == onnx.TensorProto.FLOAT16
    np.testing.assert_allclose(answer(tmp_path / "fp16.onnx", pixels).sum(axis=1), 1, atol=1e-6)


# int8


def test_int8_is_what_the_library_s_own_one_step_makes_but_for_the_biases(fp32, ranges, pixels, tmp_path):
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.left = [pixels[:16], pixels[16:]]

        def get_next(self):
            return {"pixels": self.left.pop()} if self.left else None

    quant_pre_process(fp32, tmp_path / "prepared.onnx", skip_symbolic_shape=True)
    quantize_static(
        tmp_path / "prepared.onnx",
        tmp_path / "static.onnx",
        Reader(),
        op_types_to_quantize=["Conv", "MatMul", "Gemm", "Add", "Clip", "Relu", "MaxPool", "AveragePool", "ReduceMean"],
        nodes_to_exclude=[
            node.name
            for node in onnx.load(tmp_path / "prepared.onnx").graph.node
            if any(part in ("rescale", "conv", "conv1") for part in node.name.split("/"))
        ],
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    uncorrected = replace(ranges, means={name: 0 * mean for name, mean in ranges.means.items()})
    exporter.write_int8(fp32, uncorrected, tmp_path / "int8.onnx")
    ours, theirs = stored(tmp_path / "int8.onnx"), stored(tmp_path / "static.onnx")
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        numbers, wanted = (onnx.numpy_helper.to_array(each) for each in (ours[name], tensor))
        # Ranges are measured by an optimized session, which rounds otherwise in the last bit.
        off = 1 if wanted.dtype == np.int32 else 0
        np.testing.assert_allclose(numbers, wanted, rtol=1e-5, atol=off, err_msg=name)


@pytest.mark.parametrize("method", METHODS)
def test_int8_answers_nearly_as_keras(keras, fp32, pixels, tmp_path, method):
    found = calibrated(exporter, fp32, (pixels[start : start + 5] for start in range(0, 32, 5)), method)
    exporter.write_int8(fp32, found, tmp_path / "int8.onnx")
    onnx.checker.check_model(onnx.load(tmp_path / "int8.onnx"), full_check=True)
    assert np.abs(answer(tmp_path / "int8.onnx", pixels) - np.asarray(keras(pixels))).mean() < 0.05
    assert signature(tmp_path / "int8.onnx") == signature(fp32)


def test_no_operator_set_is_asked_for_that_no_node_is_of(fp32, ranges, tmp_path):
    exporter.write_int8(fp32, ranges, tmp_path / "int8.onnx")
    for path in (fp32, tmp_path / "int8.onnx"):
        model = onnx.load(path)
        assert {entry.domain for entry in model.opset_import} == {"", *(node.domain for node in model.graph.node)}


def test_ranges_hold_all_that_was_met_however_it_was_cut(fp32, ranges, pixels, tmp_path):
    one_by_one = calibrated(exporter, fp32, (image[None] for image in pixels), "minmax")
    constant = tmp_path / "constant.onnx"
    exporter.write_fp32(network(), spec(), constant, 3)
    by_threes = calibrated(exporter, constant, [pixels[:10], pixels[10:]], "minmax")
    assert set(one_by_one.limits) == set(ranges.limits)
    for found in (one_by_one, by_threes):
        same = set(found.limits) & set(ranges.limits)  # the converter numbers what it makes itself
        assert len(same) >= len(set(ranges.limits)) - 1
        for name in same:
            np.testing.assert_allclose(found.limits[name], ranges.limits[name], atol=1e-5)


def test_each_image_counts_alike_in_a_file_of_a_large_batch(ranges, pixels, tmp_path):
    constant = tmp_path / "constant.onnx"
    exporter.write_fp32(network(), spec(), constant, 64)
    found = calibrated(exporter, constant, [pixels[:10], pixels[10:]], "minmax").means
    same = found.keys() & ranges.means.keys()
    assert len(same) >= len(ranges.means) - 1
    for name in same:
        np.testing.assert_allclose(found[name], ranges.means[name], atol=1e-4)


def test_percentile_leaves_out_what_is_rarest(fp32, pixels):
    """One pixel of hundreds of thousands is white, in images that are otherwise nearly black."""
    dark = np.repeat(np.uint8(pixels / 16), 8, axis=0)
    dark[-1, 16, 16] = 255
    widths = {}
    for method in ("minmax", "percentile"):
        found = calibrated(exporter, fp32, [dark], method).limits
        widths[method] = {name: np.ptp(found[name]) for name in found}
    kept = [widths["percentile"][name] / width for name, width in widths["minmax"].items() if width > 0]
    assert max(kept) <= 1.0001
    assert min(kept) < 0.8


def test_without_images_there_is_nothing_to_calibrate(fp32):
    for method in METHODS:
        with pytest.raises(UsageError, match="no images to calibrate with"):
            calibrated(exporter, fp32, [], method)


def test_nothing_is_said_on_stdout_or_stderr(fp32, pixels, tmp_path, capfd):
    exporter.write_fp16(fp32, tmp_path / "fp16.onnx")
    for method in METHODS:
        found = calibrated(exporter, fp32, [pixels[:8], pixels[8:]], method)
        exporter.write_int8(fp32, found, tmp_path / "int8.onnx")
    exporter.integer_share(tmp_path / "int8.onnx")
    assert capfd.readouterr() == ("", "")


# Layers that stay float


def test_the_layers_are_named_in_their_order(fp32):
    names = exporter.layers(fp32)
    assert sorted(names[3:5]) == ["left", "right"]
    assert [*names[:3], *names[5:]] == ["conv", "conv1", "conv2", "conv17", "top", "probabilities"]


def test_all_of_a_small_network_is_integer(pixels, tmp_path):
    paths = [tmp_path / f"{name}.onnx" for name in ("fp32", "int8")]
    exporter.write_fp32(tiny_model(CLASSES), spec(), paths[0])
    exporter.write_int8(paths[0], calibrated(exporter, paths[0], [pixels], "minmax"), paths[1])
    assert exporter.integer_share(paths[1]).ops == len(exporter.layers(paths[0])) == 3


def test_a_layer_that_is_kept_stays_float_and_no_other_whose_name_begins_alike(fp32, int8, ranges, tmp_path):
    everything = exporter.integer_share(int8)
    sizes = {"right": 8 * 8, "left": 8 * 8 * 9, "top": 12 * 12 * 9, "probabilities": 12 * CLASSES}
    for name, size in sizes.items():
        exporter.write_int8(fp32, ranges, tmp_path / "kept.onnx", [name])
        share = exporter.integer_share(tmp_path / "kept.onnx")
        assert (everything.ops - share.ops, everything.weights - share.weights) == (1, size)
        onnx.checker.check_model(onnx.load(tmp_path / "kept.onnx"), full_check=True)
    exporter.write_int8(fp32, ranges, tmp_path / "kept.onnx", ["conv", "conv1"])  # float anyway
    assert exporter.integer_share(tmp_path / "kept.onnx") == everything


def test_keeping_every_layer_gives_the_answers_of_fp32(fp32, ranges, pixels, tmp_path):
    exporter.write_int8(fp32, ranges, tmp_path / "kept.onnx", exporter.layers(fp32))
    share = exporter.integer_share(tmp_path / "kept.onnx")
    assert (share.ops, share.weights) == (0, 0)
    np.testing.assert_allclose(answer(tmp_path / "kept.onnx", pixels), answer(fp32, pixels), atol=0.02)


def test_ranges_are_as_they_were_after_a_quantization(fp32, int8, pixels, tmp_path):
    found = calibrated(exporter, fp32, [pixels], "minmax")
    for keep in ([], ["left", "top"], []):
        exporter.write_int8(fp32, found, tmp_path / "again.onnx", keep)
    assert stored(tmp_path / "again.onnx") == stored(int8)


def test_a_layer_that_is_not_there_cannot_be_kept(fp32, ranges, tmp_path):
    with pytest.raises(UsageError, match="no layer 'rigt' to keep float; did you mean 'right'"):
        exporter.write_int8(fp32, ranges, tmp_path / "any.onnx", ["rigt"])
    assert not (tmp_path / "any.onnx").exists()


# How much is integer


def test_an_int8_file_is_integer_but_for_its_first_layers(int8):
    share = exporter.integer_share(int8)
    assert (share.ops, share.ops_of) == (6, 8)
    assert share.weights_of - share.weights == 3 * 8 * 9 + 8 * 8 * 9


def test_float_files_have_nothing_integer(fp32, tmp_path):
    exporter.write_fp16(fp32, tmp_path / "fp16.onnx")
    shares = [exporter.integer_share(path) for path in (fp32, tmp_path / "fp16.onnx")]
    assert shares[0] == shares[1]
    assert (shares[0].ops, shares[0].ops_of, shares[0].weights) == (0, 8, 0)


def test_int8_weights_alone_are_no_integer_arithmetic(fp32, tmp_path):
    """Weights in 8 bits that are made float again before the convolution: int8 by name only."""
    made = onnx.load(fp32)
    conv = next(node for node in made.graph.node if node.op_type == "Conv" and "conv17" in node.name)
    weights = onnx.numpy_helper.to_array(stored(fp32)[conv.input[1]])
    rounded = np.int8(np.round(weights / np.abs(weights).max() * 127))
    made.graph.initializer.extend(
        [
            onnx.numpy_helper.from_array(rounded, "rounded"),
            onnx.numpy_helper.from_array(np.float32(np.abs(weights).max() / 127), "scale"),
        ]
    )
    made.graph.node.insert(0, onnx.helper.make_node("DequantizeLinear", ["rounded", "scale"], ["float again"]))
    conv.input[1] = "float again"
    onnx.save(made, tmp_path / "named.onnx")
    share = exporter.integer_share(tmp_path / "named.onnx")
    assert (share.ops, share.ops_of, share.weights) == (0, 8, rounded.size)
