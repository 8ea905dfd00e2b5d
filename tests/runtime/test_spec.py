"""The contract as files carry it: what is written is read back, and nothing that is wrong is let in."""

import copy

import msgspec
import pytest

from facectl_runtime import spec as contract
from facectl_runtime.errors import ModelError
from facectl_runtime.spec import (
    GOLDEN_BYTES,
    CenterCrop,
    FaceAlign,
    Golden,
    GoldenImage,
    InputSpec,
    Letterbox,
    Metrics,
    Squash,
    decode,
    encode,
    summary,
)
from specs import CLASSIFIER, EMBEDDER, FOREIGN, OBJECTS, OPTIONAL, REQUIRED, SHA, at, changed, plain, refused, sealed

FACE = {"kind": "face_align", "landmarks": [[0, 0]] * 5}


@pytest.mark.parametrize("spec", [CLASSIFIER, EMBEDDER, FOREIGN], ids=["classifier", "embedder", "foreign"])
def test_what_is_written_is_read_back(spec):
    text = encode(spec)
    assert "\n" not in text
    assert decode(text, "zoo.onnx") == spec
    assert decode(text.encode(), "zoo.onnx") == spec


@pytest.mark.parametrize(
    "resize", [Squash(), CenterCrop(1.0), Letterbox((114, 114, 114)), FaceAlign(((0.5, -3.0),) * 5)]
)
def test_every_resize_is_read_back(resize):
    points = ((1.0, 2.5),) * 5 if isinstance(resize, FaceAlign) else None
    golden = Golden((GoldenImage(b"\x89PNG", (0.1, 0.2, 0.7), points),), 0.01)
    spec = msgspec.structs.replace(CLASSIFIER, input=InputSpec(1, 4096, resize), golden=golden)
    assert ('"landmarks":[[1.0,2.5]' in encode(spec)) == bool(points)
    assert decode(encode(spec), "zoo.onnx") == spec


WRONG = [
    *(("spec_version", value) for value in (0, -1, "1", 1.5, None, True, 2**70)),
    *(("name", value) for value in ("", "a b", "-x", "a/b", "../x", "x" * 101, "zoo\n", "é", 3, None)),
    *(("task", value) for value in ("detect", "", None)),
    *(("precision", value) for value in ("fp64", None)),
    *(("labels", value) for value in ([], ["cat"], ["cat", "dog"], ["cat", "dog", "cat"], "cat", None)),
    *(("labels", ["cat", "dog", value]) for value in ("", "a\nb", "\x1b[31m", " a", "a ", "x" * 201, "a\u202eb", 3)),
    *((f"input.{side}", value) for side in ("width", "height") for value in (0, -1, 4097, 1.5, "224", None)),
    *(("input.resize", value) for value in ("squash", None, {}, {"kind": "stretch"}, {"kind": "squash", "fill": 1})),
    *(("input.resize", {"kind": "center_crop", "fraction": value}) for value in (0, -0.5, 1.01, "1")),
    *(("input.resize", {"kind": "letterbox", "fill": value}) for value in ([0, 0], [0] * 4, [0, 0, 256], [0, 0, -1])),
    *(("input.resize", {**FACE, "landmarks": value}) for value in ([], [[0, 0]] * 4, [[0, 0, 0]] * 5, [0] * 10)),
    *(("output.kind", value) for value in ("logits", "embedding")),
    *(("output.size", value) for value in (0, 2, 4, 3.5, "3")),
    *(("provenance.recipe", value) for value in ("", "x" * 201, None)),
    *(("provenance.seed", value) for value in (-1, 0.5, "0")),
    *(("provenance.data_fingerprint", value) for value in ("", SHA[1:], SHA + "\n", SHA.upper(), None)),
    *(("provenance.weights_sha256", value) for value in ("", SHA[1:], SHA + "\n", SHA.upper(), 1)),
    *(("provenance.backbone", value) for value in ("", None)),
    ("provenance.weights_licence", ""),
    *(("provenance.packages", value) for value in ({"numpy": 2}, ["numpy"], None)),
    *(("provenance.created", value) for value in ("", "2026-01-02", "2026-01-02T03:04:05", "2026-01-02T03:04:05Z\n")),
    ("embedding_id", "only/embedders"),
    *(("threshold.value", value) for value in (1.1, -1.1, None)),
    *(("threshold.score", value) for value in ("cosine", "energy", None)),
    *((f"threshold.{key}_rate", value) for key in ("false_accept", "false_reject") for value in (-0.1, 1.1)),
    *((f"threshold.{key}_count", value) for key in ("false_accept", "false_reject") for value in (0, 1.5)),
    *(("metrics.accuracy", value) for value in (1.1, -0.1, 0.5)),
    *(("metrics.n", value) for value in (0, -1, 1.5)),
    *(("metrics.interval", value) for value in ([0.91, 1.0], [0.95, 0.8], [0.8], [0.8, 1.1], [0.8, 0.9, 1.0])),
    *(("golden.tolerance", value) for value in (0, -1, 1.1)),
    ("golden.images", []),
    *(("golden.images.0.png", value) for value in ("not base64!", None)),
    *(("golden.images.0.expected", value) for value in ([], [0.5, 0.5], [0.25] * 4, ["a", 0, 0])),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value"), WRONG)
def test_a_wrong_value_is_refused(path, value):
    refused(changed(path, value))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("labels", ["a"]),
        ("embedding_id", None),
        ("embedding_id", ""),
        *(("threshold.score", value) for value in ("max_probability", "margin", "negative_entropy")),
        ("output.kind", "probabilities"),
        ("input.resize.landmarks", [[0, 0]] * 6),
    ],
)
def test_a_wrong_value_in_an_embedder_is_refused(path, value):
    refused(changed(path, value, EMBEDDER))


WRONG_ADAPTERS = [
    *(("layout", value) for value in ("chwn", None)),
    *(("channels", value) for value in ("rgba", "RGB", None)),
    *(("scale", value) for value in (0, -1, "255", None)),
    *(("mean", value) for value in (0.5, [0.5], [0.5] * 4, ["a", 0, 0], None)),
    *(("std", value) for value in (1, [1, 1], [1, 1, 0], [1, 1, -1], None)),
    *(("output", value) for value in ("auto", "embedding", None)),
]


@pytest.mark.parametrize(("key", "value"), WRONG_ADAPTERS)
def test_a_wrong_value_in_an_adapter_is_refused(key, value):
    refused(changed(f"adapter.{key}", value, FOREIGN))


def test_an_adapter_is_whole_and_has_nothing_else():
    for key in plain(FOREIGN)["adapter"]:
        tree = plain(FOREIGN)
        del tree["adapter"][key]
        assert key in refused(tree)
    assert "surplus" in refused(changed("adapter.surplus", 1, FOREIGN))


def test_only_a_classifier_of_others_has_an_adapter_and_no_fingerprint():
    adapter = plain(FOREIGN)["adapter"]
    assert "an adapter belongs to a model whose task is classify" in refused(changed("adapter", adapter, EMBEDDER))
    assert "data_fingerprint" in refused(changed("provenance.data_fingerprint", None))
    for infinite in ({"scale": float("inf")}, {"mean": (0.0, float("nan"), 0.0)}, {"std": (1.0, 1.0, float("inf"))}):
        with pytest.raises(ValueError, match="not finite"):
            msgspec.structs.replace(FOREIGN.adapter, **infinite)


def test_a_spec_without_an_adapter_has_no_such_key():
    """Files that were exported before there were adapters, and the readers of that time, know none."""
    assert "adapter" not in plain()
    assert "adapter" not in summary(CLASSIFIER)
    assert summary(FOREIGN)["adapter"]["layout"] == "nchw"
    assert decode(sealed(changed("adapter", None)), "zoo.onnx") == CLASSIFIER


@pytest.mark.parametrize("value", ["1e400", "NaN", "Infinity"])
def test_an_answer_expected_that_is_no_number_is_refused(value):
    text = encode(CLASSIFIER).replace("0.7]", f"{value}]")
    with pytest.raises(ModelError, match=r"zoo\.onnx"):
        decode(text, "zoo.onnx")


@pytest.mark.parametrize("path", OBJECTS)
def test_an_unknown_key_is_refused_and_named(path):
    tree = plain()
    parent, key = at(tree, path)
    (tree if key is None else parent[key])["surplus"] = 1
    message = refused(tree)
    assert "surplus" in message
    assert "changed" not in message  # its digest is right: another facectl wrote it so


@pytest.mark.parametrize("path", ["spec_version", *REQUIRED])
def test_a_missing_key_is_refused_and_named(path):
    tree = plain()
    parent, key = at(tree, path)
    del parent[key]
    assert key in refused(tree)


@pytest.mark.parametrize("key", sorted(OPTIONAL))
def test_what_may_be_missing_may_be_missing(key):
    tree = plain()
    del tree[key]
    assert getattr(decode(sealed(tree), "zoo.onnx"), key) is None


def test_a_later_version_says_to_upgrade_whatever_else_it_holds():
    message = refused({"spec_version": 2, "name": 5, "new": {}})
    assert "version 2" in message
    assert "upgrade" in message


@pytest.mark.parametrize(
    "text", ["", " ", "{", "null", "[]", "1", '"x"', "{}", b"\xff\xfe", '{"spec_version": 1}', '{"spec_version": 1} x']
)
def test_a_text_that_is_no_spec_is_refused(text):
    with pytest.raises(ModelError, match=r"^zoo\.onnx: .*valid"):
        decode(text, "zoo.onnx")


def test_a_text_nested_without_end_is_refused():
    for text in ("[" * 10**5, '{"spec_version": 1, "name": ' + "[" * 10**5):
        with pytest.raises(ModelError, match=r"^zoo\.onnx: "):
            decode(text, "zoo.onnx")


def test_golden_images_have_a_bound_in_all():
    half = GoldenImage(bytes(GOLDEN_BYTES // 2), (0.1, 0.2, 0.7))
    whole = msgspec.structs.replace(CLASSIFIER, golden=Golden((half, half), 0.01))
    assert decode(encode(whole), "zoo.onnx") == whole
    tree = plain(whole)
    tree["golden"]["images"].append({"png": "AA==", "expected": [0.1, 0.2, 0.7]})
    assert "600001" in refused(tree)


def test_a_spec_that_contradicts_itself_cannot_be_made():
    with pytest.raises(ValueError, match="labels"):
        msgspec.structs.replace(CLASSIFIER, labels=("a", "b"))
    with pytest.raises(ValueError, match="interval"):
        Metrics(0.5, 10, (0.6, 0.9))
    with pytest.raises(AttributeError):
        CLASSIFIER.name = "other"


def test_the_summary_is_the_spec_without_the_pictures():
    shown = summary(CLASSIFIER)
    expected = copy.deepcopy(plain())
    del expected["spec_sha256"]
    expected["golden"]["images"][0]["png"] = "<4 bytes>"
    assert msgspec.json.decode(msgspec.json.encode(shown)) == expected
    assert "golden" in summary(EMBEDDER)


def test_the_key_and_the_version_are_those_that_files_carry():
    assert (contract.SPEC_KEY, contract.SPEC_VERSION) == ("facectl.spec", 1)
