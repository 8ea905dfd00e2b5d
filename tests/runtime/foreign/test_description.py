"""Models of others on the command line: what is said of them, and found in them, is checked."""

import json

import onnx
import pytest

from facectl_runtime.description import Description, read_labels
from facectl_runtime.errors import UsageError
from facectl_runtime.foreign import describe
from facectl_runtime.spec import CenterCrop, Letterbox, Squash
from foreign_graph import HEIGHT, LABELS, WIDTH, graph

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
