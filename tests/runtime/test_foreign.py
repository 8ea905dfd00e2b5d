"""Models of others on the command line: what is said of them is checked, and a copy that carries it is one of ours."""

import hashlib
import json
import os
import zipfile

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from facectl_runtime.description import Description, read_labels
from facectl_runtime.engines import format_of
from facectl_runtime.errors import UsageError
from facectl_runtime.foreign import describe
from facectl_runtime.onnx_metadata import read_metadata
from facectl_runtime.spec import CenterCrop, Letterbox, Squash

WIDTH, HEIGHT = 12, 8
LABELS = ["red", "green", "blue"]


def graph(classes=3, width=WIDTH, height=HEIGHT, ends=("Softmax",), inputs=1, outputs=1, shape=None, half=False):
    """Mean of N × 3 × height × width in float32 × 4, then `ends`: the dominant colour."""
    weights = np.eye(3, classes, dtype=np.float32) * 4
    constants = [numpy_helper.from_array(np.array([2, 3]), "axes")]
    nodes = [helper.make_node("ReduceMean", ["image0", "axes"], ["mean"], keepdims=0)]
    if half:
        constants.append(numpy_helper.from_array(weights.astype(np.float16), "half"))
        nodes.append(helper.make_node("Cast", ["half"], ["weights"], to=TensorProto.FLOAT))
    else:
        constants.append(numpy_helper.from_array(weights, "weights"))
    nodes.append(helper.make_node("MatMul", ["mean", "weights"], ["v0"]))
    for number, op in enumerate(ends):
        nodes.append(helper.make_node(op, [f"v{number}"], [f"v{number + 1}"]))
    last = f"v{len(ends)}"
    if shape:
        constants.append(numpy_helper.from_array(np.array(shape), "shape"))
        nodes.append(helper.make_node("Reshape", [last, "shape"], ["shaped"]))
        last = "shaped"
    nodes += [helper.make_node("Identity", [last], [f"out{n}"]) for n in range(outputs)]
    sides = ["N", *(shape[1:] if shape else [classes])]
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(f"image{n}", TensorProto.FLOAT, ["N", 3, height, width]) for n in range(inputs)],
        [helper.make_tensor_value_info(f"out{n}", TensorProto.FLOAT, sides) for n in range(outputs)],
        constants,
    )
    model = helper.make_model(made, ir_version=10, opset_imports=[helper.make_opsetid("", 18)])
    model.metadata_props.add(key="author", value="someone else")
    return model


@pytest.fixture
def foreign(tmp_path):
    """Give a function that writes a model of others."""

    def write(name="other.onnx", **options):
        path = tmp_path / name
        onnx.save(graph(**options), path)
        return path

    return write


@pytest.fixture
def labels(tmp_path):
    """Give a function that writes a file of labels."""

    def write(names=LABELS, name="labels.txt"):
        path = tmp_path / name
        path.write_text("\n".join(names) + "\n", encoding="utf-8")
        return path

    return write


# Labels


def test_labels_are_read_as_editors_save_them(tmp_path):
    path = tmp_path / "labels.txt"
    for content in ("red\ngroß\nblue sky", "\ufeffred\r\ngroß\r\nblue sky\r\n\r\n\n", ' ["red", "groß", "blue sky"]\n'):
        path.write_bytes(content.encode())
        assert read_labels(path) == ("red", "groß", "blue sky")


def test_names_that_come_again_are_numbered(labels):
    """ImageNet has two of each of these."""
    found = read_labels(labels(["crane", "maillot", "crane", "maillot", "tench"]))
    assert found == ("crane", "maillot", "crane (2)", "maillot (2)", "tench")
    with pytest.raises(UsageError, match=r"'crane \(2\)' is there twice"):
        read_labels(labels(["crane", "crane (2)", "crane"]))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it has 0 labels"),
        (b"\n\n", "it has 0 labels"),
        (b"red\n", "it has 1 label;"),
        (b"red\n\nblue", "there is no label in place 2"),
        (b"red\nb\0lue", "is no label in place 2"),
        (b"n01440764\ttench\nred", "is no label in place 1"),
        (b"red\n" + b"x" * 201, "in place 2"),
        (b"\xff\xfer\0e\0d\0", "not a text in UTF-8"),
        (b'["red", 2]', "not a JSON list of texts"),
        (b'["red", ', "not a JSON list of texts"),
        (b'["red", ""]', "there is no label in place 2"),
    ],
)
def test_what_are_no_labels_says_so(foreign, tmp_path, facectl, content, said):
    path = tmp_path / "labels.txt"
    path.write_bytes(content)
    ran = facectl("inspect", foreign(), "--labels", path)
    assert ran.code == 2
    assert said in ran.error()
    assert "labels.txt" in ran.error()


def test_labels_that_are_no_file(foreign, tmp_path, facectl):
    for path, said in ((tmp_path / "none.txt", "No such file"), (tmp_path, "Is a directory")):
        ran = facectl("inspect", foreign(), "--labels", path)
        assert ran.code == 2
        assert said in ran.error()


# Words


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--mean", "0.5,0.5"], "--mean 0.5,0.5: give three numbers"),
        (["--mean", "0.5,0.5,nan"], "give three numbers"),
        (["--mean", "half"], "give three numbers"),
        (["--mean", ""], "give three numbers"),
        (["--std", "0.2,inf,0.2"], "give three numbers"),
        (["--std", "0.2,0,0.2"], "--std 0.2,0,0.2: pixels are divided by it"),
        (["--std=-1"], "pixels are divided by it"),
        (["--scale", "0"], "--scale 0: use 255"),
        (["--scale", "nan"], "--scale nan: use 255"),
        (["--resize", "center_corp"], "did you mean 'center_crop'"),
        (["--resize", "stretch"], "use squash, center_crop, letterbox, center_crop:FRACTION"),
        (["--resize", "center_crop:2"], "no fraction above 0"),
        (["--resize", "center_crop:x"], "no fraction above 0"),
        (["--resize", "squash:0.5"], "is not known"),
        (["--size", "224"], "give WIDTHxHEIGHT"),
        (["--size", "0x224"], "give WIDTHxHEIGHT"),
        (["--size", "5000x5000"], "each 1 to 4096"),
        (["--size", "24x8"], "its graph takes 12 × 8 pixels, not 24 × 8"),
        (["--channels", "rbg"], "did you mean 'rgb'"),
        (["--output", "sigmoid"], "use auto, probabilities, logits"),
        (["--mean", "127.5"], "--mean 127.5: pixels are 0 to 1 after --scale 255; give --scale 1"),
        (["--output", "logits"], "softmax is in it already"),
    ],
)
def test_a_word_that_is_wrong_says_what_is_right(foreign, labels, facectl, words, said):
    ran = facectl("inspect", foreign(), "--labels", labels(), *words)
    assert ran.code == 2
    assert said in ran.error()


def test_every_way_to_resize(foreign, labels, facectl):
    known = {
        "squash": {"kind": "squash"},
        "center_crop": {"kind": "center_crop", "fraction": 1.0},
        "center_crop:0.875": {"kind": "center_crop", "fraction": 0.875},
        "letterbox": {"kind": "letterbox", "fill": [0, 0, 0]},
    }
    for word, expected in known.items():
        found = facectl("inspect", foreign(), "--labels", labels(), "--resize", word, "--json").json()
        assert found["input"] == {"width": WIDTH, "height": HEIGHT, "resize": expected}
    assert facectl("inspect", foreign(), "--labels", labels(), "--json").json()["input"]["resize"]["kind"] == "squash"


def test_one_number_is_for_every_channel(foreign, labels, facectl):
    words = ["--labels", labels(), "--mean", "0.5", "--std", "0.25,0.5,0.5", "--channels", "bgr", "--scale", "255"]
    assert facectl("inspect", foreign(), *words, "--json").json()["adapter"] == {
        "layout": "nchw",
        "channels": "bgr",
        "scale": 255.0,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.5, 0.5],
        "output": "probabilities",
    }


# Graphs


@pytest.mark.parametrize(
    ("options", "names", "code", "said"),
    [
        ({}, ["a", "b"], 2, "gives 3 values, and there are 2 labels; if it begins with a class for the background"),
        ({}, list("abcd"), 2, "gives 3 values, and there are 4 labels; if the labels begin with a line for the back"),
        ({}, list("abcdefg"), 2, "gives 3 values, and there are 7 labels; give the labels that it was trained with"),
        ({"classes": 1, "ends": ("Sigmoid",)}, ["a", "b"], 2, "a graph of two classes has to give two"),
        ({"ends": ("Sigmoid",)}, LABELS, 2, "sigmoids, each for itself"),
        ({"ends": ("Log",)}, LABELS, 4, "what are no numbers"),
        ({"inputs": 2}, LABELS, 4, "one input and one output"),
        ({"outputs": 2}, LABELS, 4, "one input and one output"),
        ({"classes": 32, "shape": [-1, 4, 8]}, LABELS, 4, "of 3 images its graph gives 3 × 4 × 8 values"),
        ({"shape": [-1]}, LABELS, 4, "of 3 images its graph gives 9 values"),
        ({"width": "W"}, LABELS, 2, "leaves the size of its input open; give --size"),
    ],
)
def test_a_graph_that_does_not_fit_is_refused(foreign, labels, facectl, options, names, code, said):
    words = ["--scale", "1e-45"] if options.get("ends") == ("Log",) else []
    ran = facectl("inspect", foreign(**options), "--labels", labels(names), *words)
    assert ran.code == code
    assert said in ran.error()


def test_a_graph_of_no_image_is_refused(colours, labels, facectl, tmp_path):
    path = tmp_path / "grey.onnx"
    made = graph()
    made.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "C"
    onnx.save(made, path)
    ran = facectl("inspect", path, "--labels", labels())
    assert ran.code == 4
    assert "its graph takes float32 N × N × 8 × 12; use one that takes RGB images" in ran.error()
    took = facectl("inspect", colours.save(path, None), "--labels", labels(), "--mean", "0.5")
    assert took.code == 2
    assert "takes pixels of uint8 as they are; leave --scale, --mean and --std out" in took.error()


def test_what_it_gives_may_be_said(foreign, labels, facectl):
    """Logits within 0 to 1 look like sigmoids."""
    path = foreign(ends=("Sigmoid",))
    ran = facectl("inspect", path, "--labels", labels(), "--output", "logits", "--json")
    assert ran.json()["adapter"]["output"] == "logits"
    for ends in (("Sigmoid",), ()):
        said = facectl("inspect", foreign(ends=ends), "--labels", labels(), "--output", "probabilities").error()
        assert "no probabilities" in said


def test_an_open_size_is_given(foreign, labels, facectl):
    ran = facectl("inspect", foreign(width="W", height="H"), "--labels", labels(), "--size", "30x20", "--json")
    assert (ran.json()["input"]["width"], ran.json()["input"]["height"]) == (30, 20)


def test_the_spec_says_no_more_than_is_known(foreign):
    spec = describe(foreign("some model (1).onnx", half=True), Description(labels=tuple(LABELS)))
    assert (spec.name, spec.precision) == ("some-model-1-", "fp16")
    assert (spec.metrics, spec.threshold, spec.gate) == (None, None, None)
    assert (spec.provenance.data_fingerprint, spec.provenance.weights_licence) == (None, None)
    assert spec.input.resize == Squash() != CenterCrop() != Letterbox()


# A copy


@pytest.fixture
def copied(foreign, labels, facectl, tmp_path):
    path, copy = foreign(), tmp_path / "copy" / "ours.onnx"
    ran = facectl("inspect", path, "--labels", labels(), "--mean", "0.4", "--std", "0.1", "--write-spec", copy)
    assert (ran.code, ran.err) == (0, "")
    assert "a model of others" in ran.out
    return path, copy


def test_every_command_takes_a_copy_without_options(copied, classes, paint, facectl):
    """A picture of one colour, 255 of one channel: by hand, softmax of 4 × (1 - 0.4) / 0.1 and twice 4 × -4."""
    _, copy = copied
    ran = facectl("predict", copy, paint("a.png", (128, 115, 102), (WIDTH, HEIGHT)), "--json", "--topk", 3)
    assert ran.code == 0
    powers = np.exp(4 * (np.array([128, 115, 102]) / 255 - 0.4) / 0.1)
    expected = dict(zip(LABELS, powers / powers.sum(), strict=True))
    found = {top["label"]: top["probability"] for top in ran.json()["results"][0]["top"]}
    assert found == pytest.approx(expected, abs=2e-6)
    assert 0.1 < found["blue"] + found["green"] < 0.9
    assert facectl("evaluate", copy, "--data", classes, "--json").json()["accuracy"] == pytest.approx(5 / 6)
    replayed = facectl("verify", copy, "--json")
    assert replayed.code == 0
    assert (replayed.json()[0]["images"], replayed.json()[0]["intact"]) == (4, True)
    assert facectl("inspect", copy, "--json").json()["labels"] == LABELS


def test_a_copy_is_the_file_with_an_entry_behind_it(copied):
    path, copy = copied
    assert copy.read_bytes().startswith(path.read_bytes())
    assert read_metadata(copy).keys() == {"author", "facectl.spec"}
    kept, graphs = [onnx.load(each) for each in (path, copy)], []
    for each in kept:
        del each.metadata_props[:]
        graphs.append(each.SerializeToString())
    assert graphs[0] == graphs[1]
    spec = format_of(copy).read_spec(copy)
    assert spec.provenance.weights_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert [item.name for item in copy.parent.iterdir()] == ["ours.onnx"]


def test_a_damaged_copy_is_noticed(copied, facectl, paint):
    _, copy = copied
    whole = copy.read_bytes()
    weights = np.float32([4, 0, 0, 0, 4]).tobytes()
    assert whole.count(weights) == 1
    copy.write_bytes(whole.replace(weights, np.float32([5, 0, 0, 0, 4]).tobytes()))
    assert facectl("verify", copy).code == 5
    assert "damaged, or edited" in facectl("predict", copy, paint("a.png")).error()


def test_a_copy_of_a_tflite_file(labels, facectl, tmp_path, paint):
    pytest.importorskip("ai_edge_litert.schema_py_generated")
    from tiny_tflite import float_network, quantized_network, save

    for name, network, words in (
        ("float", float_network(), ["--mean", "0.5", "--std", "0.05"]),
        ("quantized", quantized_network(step=1 / 8, zero=64), []),
    ):
        path, copy = save(tmp_path / f"{name}.tflite", None, network), tmp_path / f"{name}.copy.tflite"
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("labels.txt", "of others")
        ran = facectl("inspect", path, "--labels", labels(), *words, "--write-spec", copy, "--json")
        assert ran.code == 0, ran.err
        assert ran.json()["graph_sha256"] == format_of(copy).digest(copy)
        assert facectl("verify", copy).code == 0
        row = facectl("predict", copy, paint("b.png", "blue"), "--json").json()["results"][0]
        assert (row["label"], row["probability"]) == ("blue", pytest.approx(1, abs=0.01))
        with zipfile.ZipFile(copy) as archive:
            assert archive.read("labels.txt") == b"of others"


def test_force_without_a_copy_is_refused(foreign, labels, facectl):
    for words in ([], ["--labels", labels()]):
        ran = facectl("inspect", foreign(), *words, "--force")
        assert ran.code == 2
        assert "--force does nothing without --write-spec" in ran.error()


def test_a_place_that_cannot_be_written_is_refused_before_anything_is(foreign, labels, facectl, tmp_path):
    path, there, folder = foreign(), tmp_path / "there.onnx", tmp_path / "folder.onnx"
    there.write_text("mine")
    folder.mkdir()
    before = path.read_bytes()
    for out, words, said in (
        (there, [], "already there; give another name, or --force"),
        (folder, ["--force"], "a folder stands there"),
        (tmp_path / "m.tflite", [], "give a name that ends in .onnx"),
        (path, ["--force"], "it is the file that is copied"),
        (there / "m.onnx", [], "cannot be written"),
    ):
        ran = facectl("inspect", path, "--labels", labels(), "--write-spec", out, *words)
        assert ran.code == 2
        assert said in ran.error()
    assert (there.read_text(), path.read_bytes()) == ("mine", before)
    assert facectl("inspect", path, "--labels", labels(), "--write-spec", there, "--force").code == 0
    assert facectl("verify", there).code == 0


def test_answers_to_a_drawn_picture_that_are_no_numbers_are_not_written(foreign, labels, facectl, tmp_path):
    """An arc cosine of pixels / 135: a number of noise, and none of a picture that is more blue."""
    said = [foreign(ends=("Acos",)), "--labels", labels(), "--scale", 540]
    assert facectl("inspect", *said).code == 0
    ran = facectl("inspect", *said, "--write-spec", tmp_path / "copy.onnx")
    assert ran.code == 4
    assert "expects a value that is not finite" in ran.error()
    assert not os.path.lexists(tmp_path / "copy.onnx")


def test_weights_beside_the_file_are_not_left_behind(labels, facectl, tmp_path):
    path = tmp_path / "parted.onnx"
    onnx.save(graph(), path, save_as_external_data=True, location="weights.bin", size_threshold=60)
    assert facectl("inspect", path, "--labels", labels()).code == 0  # it runs where it is
    ran = facectl("inspect", path, "--labels", labels(), "--write-spec", tmp_path / "copy.onnx")
    assert ran.code == 4
    assert "weights lie in files beside it; save it as one file" in ran.error()
    assert not os.path.lexists(tmp_path / "copy.onnx")


# A file of others, and nothing said of it


def test_inspect_shows_what_is_in_a_file_and_how_to_make_it_one_of_ours(foreign, facectl):
    path = foreign(half=True)
    ran = facectl("inspect", path)
    assert ran.code == 4
    assert "image0: float32 N × 3 × 8 × 12" in ran.out
    assert "out0: float32 N × 3" in ran.out
    assert "author" in ran.out
    assert "--labels FILE --resize … --mean … --std … --write-spec COPY" in ran.err
    assert ran.err.count("\n") == 1
    found = json.loads(facectl("inspect", path, "--json").out)
    assert found["inputs"] == [
        {"name": "image0", "dtype": "float32", "shape": [None, 3, 8, 12], "step": 0.0, "zero": 0}
    ]
    assert found["metadata"] == ["author"]
    assert found["weights"]["float16"] > 18


def test_a_file_that_says_it_of_itself_needs_no_options(model, labels, facectl, tmp_path):
    for words in (["--labels", labels()], ["--channels", "rgb"], ["--size", "12x8"]):
        ran = facectl("inspect", model, *words)
        assert ran.code == 2
        assert "colours.onnx: it says of itself what --labels, " in ran.error()
    ran = facectl("inspect", model, "--write-spec", tmp_path / "copy.onnx")
    assert ran.code == 2
    assert "--write-spec" in ran.error()


def test_without_labels_nothing_is_described(foreign, facectl):
    ran = facectl("inspect", foreign(), "--mean", "0.5")
    assert ran.code == 2
    assert "give --labels FILE" in ran.error()


def test_a_file_that_is_no_model(tmp_path, labels, facectl):
    path = tmp_path / "no.onnx"
    path.write_text("no model at all")
    ran = facectl("inspect", path, "--labels", labels())
    assert ran.code == 4
    assert "not an ONNX model" in ran.error()
