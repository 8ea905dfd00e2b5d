"""Packages that are damaged, or hold what is no straight ML Program: one line each, and never another exception."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facectl_export.mlprogram.errors import UnsupportedError
from facectl_export.mlprogram.onnx import to_onnx
from facectl_export.mlprogram.ops import OPS
from facectl_runtime.errors import FacectlError, ModelError
from helpers import call

ct = pytest.importorskip("coremltools")
import mil  # noqa: E402
from mil import KINDS, answers, mb, save  # noqa: E402

DATA = Path("Data", "com.apple.CoreML")
X = {"x": np.zeros((1, 3, 6, 5), np.float32)}
KERNEL = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)


def convolution(x):
    return mb.relu(x=mb.conv(x=x, weight=KERNEL, pad_type="same"))


@pytest.fixture
def package(tmp_path):
    return save(convolution, X, tmp_path / "net.mlpackage")


def refused(package, match, error=ModelError):
    with pytest.raises(error, match=match) as caught:
        to_onnx(package)
    assert "\n" not in str(caught.value)
    assert "net.ml" in str(caught.value)
    ran = call("convert", package, package.parent / "out.onnx")
    assert ran.code == 4
    assert not (package.parent / "out.onnx").exists()


def edit(package, change):
    file = package / DATA / "model.mlmodel"
    message = ct.proto.Model_pb2.Model.FromString(file.read_bytes())
    change(message)
    file.write_bytes(message.SerializeToString())


def block(message):
    (found,) = message.mlProgram.functions["main"].block_specializations.values()
    return found


def blob(message):
    (op,) = [op for op in block(message).operations if op.attributes["val"].HasField("blobFileValue")]
    return op.attributes["val"].blobFileValue


def test_a_missing_weight_file(package):
    (package / DATA / "weights" / "weight.bin").unlink()
    refused(package, r"weights/weight\.bin: No such file or directory")


@pytest.mark.parametrize("length", [0, 3, 63, 70, 130, 400])
def test_a_truncated_weight_file(package, length):
    file = package / DATA / "weights" / "weight.bin"
    file.write_bytes(file.read_bytes()[:length])
    refused(package, "damaged weights")


@pytest.mark.parametrize("offset", [0, 8, 65, 10**6, 2**63])
def test_an_offset_where_no_entry_is(package, offset):
    edit(package, lambda message: setattr(blob(message), "offset", offset))
    refused(package, f"an entry at byte {offset}")


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "@model_path/../../../../a.bin", "weights/weight.bin", "@model_path//a"]
)
def test_weights_outside_the_package(package, name):
    edit(package, lambda message: setattr(blob(message), "fileName", name))
    refused(package, "its weights are said to be outside of it")


def test_weights_behind_a_link(package, tmp_path):
    file = package / DATA / "weights" / "weight.bin"
    file.rename(tmp_path / "elsewhere.bin")
    file.symlink_to(tmp_path / "elsewhere.bin")
    refused(package, "symbolic link")


def test_a_manifest_that_points_outside(package):
    manifest = json.loads((package / "Manifest.json").read_text())
    manifest["itemInfoEntries"]["model"]["path"] = "../../model.mlmodel"
    (package / "Manifest.json").write_text(json.dumps(manifest))
    refused(package, "points outside of it")


def test_a_zip_in_the_place_of_the_folder(package):
    shutil.make_archive(str(package.with_suffix("")), "zip", package)
    shutil.rmtree(package)
    package.with_suffix(".zip").rename(package)
    refused(package, "a zip archive of a package; unzip it")


def test_a_compiled_model(package):
    compiled = package.with_suffix(".mlmodelc")
    compiled.mkdir()
    old = Path(shutil.copyfile(package / DATA / "model.mlmodel", package.with_suffix(".mlmodel")))
    for path, what in (
        (compiled, "compiled Core ML model, which may be encrypted"),
        (old, "a file out of a Core ML package, or"),
    ):
        ran = call("convert", path, package.parent / "out.onnx")
        assert ran.code == 4
        assert what in ran.error()


def neural_network():
    from coremltools.models.neural_network import NeuralNetworkBuilder

    ends = [("x", ct.models.datatypes.Array(3)), ("y", ct.models.datatypes.Array(3))]
    builder = NeuralNetworkBuilder(ends[:1], ends[1:])
    builder.add_activation("relu", "RELU", "x", "y")
    return builder.spec


def pipeline():
    made = ct.proto.Model_pb2.Model(specificationVersion=7)
    made.pipeline.models.add().CopyFrom(neural_network())
    return made


@pytest.mark.parametrize(
    ("made", "what"),
    [(neural_network, "a neural network.*convert_to='mlprogram'"), (pipeline, "a pipeline; save each model")],
)
def test_another_kind_of_model(package, made, what):
    (package / DATA / "model.mlmodel").write_bytes(made().SerializeToString())
    refused(package, f"only an ML Program can be read, and its model is {what}")


def branching(x):
    positive = mb.greater(x=mb.reduce_sum(x=x), y=np.float32(0))
    return mb.cond(pred=positive, _true_fn=lambda: mb.relu(x=x), _false_fn=lambda: mb.square(x=x))


def test_control_flow_is_named_with_its_place(tmp_path):
    made = save(branching, X, tmp_path / "net.mlpackage")
    refused(made, r"net\.mlpackage: op cond 'cond_\d+': it has control flow", UnsupportedError)


def test_unknown_ops_are_named_with_their_places(tmp_path):
    def build(x):
        noise = mb.random_normal(shape=np.int32([1, 3, 6, 5]), name="noise")
        return mb.add(x=mb.relu(x=x), y=noise)

    made = save(build, X, tmp_path / "net.mlpackage")
    refused(made, r"only Core ML itself runs: random_normal 'noise' \(op \d of 3\)", UnsupportedError)


def test_an_unknown_value_is_named_with_its_op_and_what_is_known(package):
    def change(message):
        for op in block(message).operations:
            if "pad_type" in op.outputs[0].name:
                op.attributes["val"].immediateValue.tensor.strings.values[0] = "mirror"

    edit(package, change)
    refused(package, r"op conv 'conv_\d+': pad_type 'mirror' is not known; valid, same, same_lower, custom are")


def test_an_input_that_nothing_gives(package):
    edit(package, lambda message: block(message).outputs.__setitem__(0, "nothing"))
    refused(package, "'nothing', which nothing gives")


def test_a_constant_of_another_size_than_its_shape(package):
    def change(message):
        for op in block(message).operations:
            if "strides" in op.outputs[0].name:
                del op.attributes["val"].immediateValue.tensor.ints.values[1:]

    edit(package, change)
    refused(package, "has 1 values for the shape")


def test_defaults_hold_where_a_writer_leaves_parameters_out(package):
    wanted = to_onnx(package).model.graph.node

    def change(message):
        for op in block(message).operations:
            for name in ("strides", "dilations", "groups", "pad"):
                op.inputs.pop(name, None)

    edit(package, change)
    assert to_onnx(package).model.graph.node == wanted


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return save(convolution, X, tmp_path_factory.mktemp("sound") / "net.mlpackage")


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    name=st.sampled_from(["model.mlmodel", "weights/weight.bin"]),
    changes=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=4),
    share=st.floats(0.5, 1),
)
def test_any_damage_to_a_program_is_said_in_one_line(sound, tmp_path_factory, name, changes, share):
    package = Path(shutil.copytree(sound, tmp_path_factory.mktemp("damage") / "net.mlpackage"))
    content = bytearray((package / DATA / name).read_bytes())
    for place, byte in changes:
        content[int(place * len(content))] = byte
    (package / DATA / name).write_bytes(content[: int(share * len(content))])
    ran = call("convert", package, package.parent / "out.onnx")
    assert ran.code in (0, 4), ran.err
    assert "Traceback" not in ran.err


def values(message):
    """Give every tensor constant of a program."""
    return [
        value.immediateValue.tensor
        for op in block(message).operations
        for value in op.attributes.values()
        if value.immediateValue.HasField("tensor")
    ]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_program_that_contradicts_itself_is_said_in_one_line(sound, tmp_path_factory, data):
    """Change one number, word, shape or wire of a program that is read: nothing but a line comes of it."""
    package = Path(shutil.copytree(sound, tmp_path_factory.mktemp("odd") / "net.mlpackage"))

    def change(message):
        ops = block(message).operations
        op = ops[data.draw(st.integers(0, len(ops) - 1))]
        kind = data.draw(st.sampled_from(["numbers", "sides", "outputs", "inputs", "type", "kind"]))
        if kind == "numbers":
            tensor = data.draw(st.sampled_from(range(len(values(message)))))
            field = getattr(values(message)[tensor], values(message)[tensor].WhichOneof("value")).values
            if isinstance(field, bytes):
                return
            for place in range(len(field)):
                field[place] = "odd" if isinstance(field[place], str) else data.draw(st.sampled_from([0, 1, 7]))
            del field[data.draw(st.integers(0, len(field))) :]
        elif kind == "sides":
            sides = op.outputs[0].type.tensorType.dimensions
            for side in sides:
                side.constant.size = data.draw(st.sampled_from([0, 1, 3, 2**40, 2**64 - 1]))
            del sides[data.draw(st.integers(0, len(sides))) :]
        elif kind == "outputs":
            op.outputs.add().CopyFrom(op.outputs[0]) if data.draw(st.booleans()) else op.ClearField("outputs")
        elif kind == "inputs" and op.inputs:
            del op.inputs[data.draw(st.sampled_from(sorted(op.inputs)))]
        elif kind == "type":
            op.type = data.draw(st.sampled_from(sorted({*OPS, "classify", "const", "constexpr_lut_to_dense"})))
        else:
            op.outputs[0].type.tensorType.dataType = data.draw(st.sampled_from([0, 1, 2, 10, 21, 25, 32, 99]))

    edit(package, change)
    ran = call("convert", package, package.parent / "out.onnx")
    assert ran.code in (0, 4), ran.err
    assert ran.err.count("\n") == (ran.code == 4)


def test_packed_weights_that_are_cut_short_are_refused(tmp_path):
    """They are padded with zeros by numpy, and would be other weights."""
    table = np.arange(4, dtype=np.float32)

    def build(x):
        palette = mb.constexpr_lut_to_dense(lut=table, indices=np.zeros(3, np.uint8), shape=np.uint32([3, 4]))
        return mb.linear(x=x, weight=palette)

    made = save(build, {"x": np.zeros((1, 4), np.float32)}, tmp_path / "net.mlpackage", "iOS16")

    def cut(message):
        (op,) = [op for op in block(message).operations if op.type == "constexpr_lut_to_dense"]
        tensor = op.attributes["indices"]
        tensor.immediateValue.tensor.bytes.values = tensor.immediateValue.tensor.bytes.values[:1]
        tensor.type.tensorType.dimensions[0].constant.size = 1

    edit(made, cut)
    refused(made, "1 bytes, and 12 values of uint2 take 3")


def test_shapes_that_are_not_those_computed_are_refused(package):
    def change(message):
        block(message).operations[-1].outputs[0].type.tensorType.dimensions[3].constant.size = 4

    edit(package, change)
    ran = call("convert", package, package.parent / "out.onnx")
    assert ran.code == 4
    assert "it declares another shape than it has" in ran.error()


@pytest.mark.parametrize("ios", mil.VERSIONS)
@pytest.mark.parametrize("colours", ["RGB", "BGR", "GRAYSCALE"])
def test_an_image_input_with_scale_and_bias_of_others(tmp_path, ios, colours):
    channels = 1 if colours == "GRAYSCALE" else 3
    shape = (1, channels, 4, 6)
    program = mb.program([mb.TensorSpec(shape, KINDS[np.dtype(np.float32)])], opset_version=getattr(ct.target, ios))(
        lambda x: mb.mul(x=x, y=np.float32(3), name="y")
    )
    bias = [0.5, -0.25, 1.0][:channels]
    image = ct.ImageType(
        "x", shape, scale=0.125, bias=bias if channels > 1 else bias[0], color_layout=getattr(ct.colorlayout, colours)
    )
    target = getattr(ct.target, ios)
    model = ct.convert(
        program, inputs=[image], minimum_deployment_target=target, compute_precision=ct.precision.FLOAT32
    )
    model.save(str(tmp_path / "net.mlpackage"))
    pixels = np.random.default_rng(0).integers(0, 256, (1, 4, 6, channels), np.uint8)
    (row,), labels = answers(tmp_path / "net.mlpackage", pixels)
    ordered = pixels[0, ..., ::-1] if colours == "BGR" else pixels[0]
    wanted = 3 * (ordered.transpose(2, 0, 1) * np.float32(0.125) + np.float32(bias)[:, None, None])
    assert not labels
    assert row == pytest.approx(wanted, abs=1e-5)


def test_an_image_of_half_floats_is_named(tmp_path):
    shape = (1, 1, 4, 6)
    program = mb.program([mb.TensorSpec(shape, KINDS[np.dtype(np.float16)])], opset_version=ct.target.iOS16)(
        lambda x: mb.relu(x=x)
    )
    image = ct.ImageType("x", shape, color_layout=ct.colorlayout.GRAYSCALE_FLOAT16)
    ct.convert(program, inputs=[image], minimum_deployment_target=ct.target.iOS16).save(str(tmp_path / "net.mlpackage"))
    refused(tmp_path / "net.mlpackage", "image of GRAYSCALE_FLOAT16; RGB, BGR, GRAYSCALE are known", FacectlError)


def test_the_documentation_names_each_op_that_is_known():
    page = (Path(__file__).parents[3] / "docs" / "core_ml.md").read_text("utf-8")
    assert {name for name in OPS if f"`{name}`" not in page} == set()
