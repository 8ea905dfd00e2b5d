"""TFLite files of tiny networks: each precision, what stays float, what they carry; all run by LiteRT."""

import os
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from calibrated import calibrated
from drawn_run import SIDE, _spec, tiny_model
from facectl_export.formats.tflite_graph import Graph
from facectl_runtime.devices import Device
from facectl_runtime.engines import format_of
from facectl_runtime.errors import MissingExtraError, ModelError, UsageError
from facectl_runtime.spec import OutputSpec
from facectl_runtime.tflite_metadata import graph_digest, read_metadata
from facectl_trainer.framework import tensorflow
from tiny_network import full_disk

pytest.importorskip("ai_edge_quantizer")
from facectl_export.formats import tflite

LABELS = ["ant", "bée", "cat"]
STANDARD = "TFLITE_METADATA"


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


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Convert each network once; give file, network and spec by name."""
    tensorflow()
    folder = tmp_path_factory.mktemp("tflite")
    spec = _spec("tiny", LABELS, 0)
    embed = msgspec.structs.replace(
        spec, task="embed", labels=(), output=OutputSpec("embedding", 5), embedding_id="tiny/bottleneck"
    )
    networks = {
        "flat": (tiny_model(3, flatten=True), spec),
        "branching": (branching(), spec),
        "embedding": (embedding(), embed),
    }
    found = {}
    for name, (network, described) in networks.items():
        path = folder / f"{name}.tflite"
        tflite.write_fp32(network, described, path)
        found[name] = SimpleNamespace(path=path, network=network, spec=described)
    return found


@pytest.fixture(scope="module")
def pixels():
    """Ramps and noise: every pixel value, and no two images alike."""
    chance, ramp = np.random.default_rng(0), np.linspace(0, 255, SIDE)
    images = [np.clip(ramp[:, None, None] * chance.random(3) + chance.normal(0, 30, (SIDE, SIDE, 3)), 0, 255)
              for _ in range(12)]  # fmt: skip
    return np.array(images, np.uint8)


@pytest.fixture(scope="module")
def ranges(made, pixels):
    return {name: calibrated(tflite, one.path, [pixels[:8], pixels[8:]], "minmax") for name, one in made.items()}


def answer(path, spec, pixels):
    """Write the spec into the file, and ask it through facectl's own engine."""
    tflite.write_spec(path, spec)
    reader = format_of(path)
    return reader.open(path, reader.read_spec(path), Device("cpu")).infer(pixels)


def kinds(path):
    """Give (op, type of what it takes, type of what it gives), as the file has them."""
    graph = Graph(path)
    return [(op.kind, graph.tensors[op.inputs[0]].type, graph.tensors[op.outputs[0]].type) for op in graph.ops]


def floats(path):
    return [kind for kind, _, given in kinds(path) if given == "FLOAT32" and kind not in ("DEQUANTIZE", "QUANTIZE")]


NETWORKS = ["flat", "branching", "embedding"]


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


# Calibration


def test_minmax_is_all_that_was_met(made, pixels, ranges):
    import tf_keras

    network = made["flat"].network
    inside = tf_keras.Model(network.input, network.get_layer("lower").output).predict_on_batch(pixels)
    (found,) = [range_ for name, range_ in ranges["flat"].limits.items() if "lower" in name.split("/")]
    assert found == pytest.approx((inside.min(), inside.max()), abs=1e-5)


@pytest.mark.parametrize("method", ["entropy", "percentile"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_histogram_gives_ranges_inside_minmax_that_work(made, pixels, ranges, tmp_path, method, name):
    one, path = made[name], tmp_path / "int8.tflite"
    found = calibrated(tflite, one.path, iter([pixels]), method)
    assert found.limits.keys() == ranges[name].limits.keys()
    for tensor, (low, high) in found.limits.items():
        least, most = ranges[name].limits[tensor]
        assert least - 1e-6 <= low <= high <= most + 1e-6
    tflite.write_int8(one.path, found, path)
    agreement = answer(path, one.spec, pixels).argmax(axis=1) == one.network.predict_on_batch(pixels).argmax(axis=1)
    assert agreement.mean() >= 0.75


@pytest.mark.parametrize(("method", "most"), [("minmax", 255), ("entropy", 150), ("percentile", 25)])
def test_one_bright_pixel_among_many_dark_images_is_cut_by_the_methods_that_cut(made, method, most):
    dark = np.random.default_rng(0).integers(0, 20, (200, SIDE, SIDE, 3), dtype=np.uint8)
    dark[100, 3, 3, 0] = 255
    (found,) = [
        range_
        for name, range_ in calibrated(tflite, made["flat"].path, [dark], method).limits.items()
        if "Cast" in name
    ]
    assert found[0] == 0
    assert 18 <= found[1] <= most
    assert (found[1] == 255) == (method == "minmax")


@pytest.mark.parametrize("method", ["minmax", "entropy"])
def test_calibration_without_images_says_so(made, method):
    with pytest.raises(UsageError, match="no images to calibrate"):
        calibrated(tflite, made["flat"].path, [], method)


def test_a_network_of_no_numbers_is_refused(tmp_path, pixels):
    network = tiny_model(3)
    weights = network.get_weights()
    weights[0][0, 0, 0, 0] = np.nan
    network.set_weights(weights)
    path = tmp_path / "nan.tflite"
    tflite.write_fp32(network, _spec("tiny", LABELS, 0), path)
    with pytest.raises(ModelError, match=r"nan\.tflite: .*not finite"):
        calibrated(tflite, path, [pixels], "minmax")


# What a file carries


def fields(data, table):
    """Give where each field of a flatbuffer table stands."""
    vtable = table - struct.unpack_from("<i", data, table)[0]
    (size,) = struct.unpack_from("<H", data, vtable)
    places = struct.unpack_from(f"<{size // 2 - 2}H", data, vtable + 4)
    return {number: table + place for number, place in enumerate(places) if place}


def follow(data, at):
    return at + struct.unpack_from("<I", data, at)[0]


def text(data, at):
    start = follow(data, at)
    return data[start + 4 : start + 4 + struct.unpack_from("<I", data, start)[0]].decode()


def first(data, at):
    """Give the first table of a list."""
    return fields(data, follow(data, follow(data, at) + 4))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_spec_is_read_back_with_the_digest_of_the_file(made, tmp_path, name):
    path = tmp_path / "m.tflite"
    path.write_bytes(made[name].path.read_bytes())
    tflite.write_spec(path, made[name].spec)
    found = format_of(path).read_spec(path)
    assert found.graph_sha256 == graph_digest(path)
    assert msgspec.structs.replace(found, graph_sha256=None) == made[name].spec
    assert [item.name for item in tmp_path.iterdir()] == ["m.tflite"]


def test_writing_a_spec_twice_is_as_once_and_another_takes_its_place(made, ranges, tmp_path):
    path, spec = tmp_path / "m.tflite", made["branching"].spec
    tflite.write_int8(made["branching"].path, ranges["branching"], path)
    tflite.write_spec(path, spec)
    once = path.read_bytes()
    tflite.write_spec(path, msgspec.structs.replace(spec, name="another", labels=("x", "y", "z")), "for a while")
    assert format_of(path).read_spec(path).name == "another"
    assert b"b\xc3\xa9e" not in path.read_bytes()
    tflite.write_spec(path, spec)
    assert path.read_bytes() == once


def test_a_classifier_has_its_labels_in_an_archive(made, tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(made["flat"].path.read_bytes())
    tflite.write_spec(path, made["flat"].spec)
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["labels.txt"]
        assert archive.read("labels.txt").decode().splitlines() == LABELS
        assert archive.getinfo("labels.txt").compress_type == zipfile.ZIP_STORED
    tflite.write_spec(path, made["embedding"].spec)
    assert not zipfile.is_zipfile(path)


def test_the_standard_metadata_say_what_goes_in_and_comes_out(made, tmp_path):
    path, spec = tmp_path / "m.tflite", made["flat"].spec
    licensed = msgspec.structs.replace(spec.provenance, weights_licence="MIT")
    path.write_bytes(made["flat"].path.read_bytes())
    tflite.write_spec(path, msgspec.structs.replace(spec, provenance=licensed), "Names of three animals")
    data = read_metadata(path)[STANDARD]
    assert data[4:8] == b"M001"
    model = fields(data, follow(data, 0))
    assert (text(data, model[0]), text(data, model[1])) == ("tiny", "Names of three animals")
    assert text(data, model[4]).startswith("facectl ")
    assert text(data, model[5]) == "pretrained weights: MIT"
    graph = first(data, model[3])
    image = fields(data, follow(data, fields(data, follow(data, first(data, graph[2])[3]))[1]))
    assert data[image[0]] == 1  # RGB
    unit = fields(data, follow(data, first(data, first(data, graph[2])[4])[1]))
    mean, deviation = (struct.unpack_from("<If", data, follow(data, unit[n])) for n in (0, 1))
    assert (mean, deviation) == ((1, 0.0), (1, 1.0))
    labels = first(data, first(data, graph[3])[6])
    assert (text(data, labels[0]), data[labels[2]]) == ("labels.txt", 2)  # TENSOR_AXIS_LABELS


def test_weights_lie_where_sixteen_divides_the_address(made, ranges, tmp_path):
    """As the schema asks, and inside the flatbuffer, where every reader looks."""
    from ai_edge_litert import schema_py_generated as schema

    path = tmp_path / "m.tflite"
    tflite.write_int8(made["flat"].path, ranges["flat"], path)
    tflite.write_spec(path, made["flat"].spec)
    data = path.read_bytes()
    model = schema.Model.GetRootAs(data, 0)
    buffers = [model.Buffers(number) for number in range(model.BuffersLength())]
    filled = [buffer for buffer in buffers if buffer.DataLength()]
    assert len(filled) > 6
    assert {buffer._tab.Vector(buffer._tab.Offset(4)) % 16 for buffer in filled} == {0}
    assert {buffer.Offset() for buffer in buffers} == {0}


def test_a_full_disk_leaves_the_file_as_it_was(made, tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(made["flat"].path.read_bytes())
    before = path.read_bytes()
    with full_disk(), pytest.raises(OSError, match="too large"):
        tflite.write_spec(path, made["flat"].spec)
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["m.tflite"]


# Around it


def test_nothing_is_printed(made, pixels, tmp_path):
    """In a process of its own, where the libraries say what they say at their first import."""
    np.save(tmp_path / "pixels.npy", pixels)
    made["branching"].network.save(tmp_path / "m.keras")
    program = """
import sys
from pathlib import Path
import numpy as np
from facectl_trainer.framework import tensorflow
from calibrated import calibrated
from tiny_network import full_disk
tensorflow()
import tf_keras
from drawn_run import _spec
from facectl_export.formats import tflite
folder = Path(sys.argv[1])
spec, pixels = _spec("tiny", ["a", "b", "c"], 0), np.load(folder / "pixels.npy")
fp32, int8 = folder / "fp32.tflite", folder / "int8.tflite"
tflite.require_packages()
tflite.write_fp32(tf_keras.models.load_model(folder / "m.keras"), spec, fp32)
for method in ("minmax", "percentile", "entropy"):
    tflite.write_int8(fp32, calibrated(tflite, fp32, [pixels], method), int8)
tflite.write_fp16(fp32, folder / "fp16.tflite")
tflite.write_int8_weights(fp32, folder / "weights.tflite")
tflite.write_spec(int8, spec)
tflite.integer_share(int8)
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_missing_package_is_named(monkeypatch):
    tflite.require_packages()
    monkeypatch.setitem(sys.modules, "ai_edge_quantizer", None)
    with pytest.raises(MissingExtraError, match=r"ai_edge_quantizer; .*facectl\[export\]"):
        tflite.require_packages()
