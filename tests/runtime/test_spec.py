"""The contract as files carry it: what is written is read back, and nothing that is wrong is let in."""

import copy
import hashlib
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facectl_runtime import spec as contract
from facectl_runtime.errors import ModelError
from facectl_runtime.spec import (
    GOLDEN_BYTES,
    Adapter,
    CenterCrop,
    FaceAlign,
    Golden,
    GoldenImage,
    InputSpec,
    Letterbox,
    Metrics,
    ModelSpec,
    OutputSpec,
    Provenance,
    Squash,
    Threshold,
    decode,
    encode,
    summary,
)

SHA = "0123456789abcdef" * 4
PROVENANCE = Provenance("zoo", 7, SHA, "lite0", SHA, "Apache-2.0", {"numpy": "2.4"}, "2026-01-02T03:04:05Z")
CLASSIFIER = ModelSpec(
    name="zoo",
    task="classify",
    precision="int8",
    labels=("cat", "dog", "großer Bär"),
    input=InputSpec(224, 160, CenterCrop(0.875)),
    output=OutputSpec("probabilities", 3),
    provenance=PROVENANCE,
    threshold=Threshold(0.5, "max_probability", 0.01, 200, 0.02, 300),
    metrics=Metrics(0.9, 100, (0.8, 0.95)),
    golden=Golden((GoldenImage(b"\x89PNG", (0.1, 0.2, 0.7)),), 0.01),
)
EMBEDDER = ModelSpec(
    name="faces",
    task="embed",
    precision="fp32",
    labels=(),
    input=InputSpec(112, 112, FaceAlign(((1.0, 2.0),) * 5)),
    output=OutputSpec("embedding", 512),
    provenance=PROVENANCE,
    embedding_id="triplet/embedding",
    threshold=Threshold(-0.2, "cosine", 0.001, 6000, 0.02, 300),
)
FOREIGN = msgspec.structs.replace(
    CLASSIFIER,
    adapter=Adapter("nchw", "bgr", 255.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "logits"),
    provenance=msgspec.structs.replace(PROVENANCE, data_fingerprint=None),
)
FACE = {"kind": "face_align", "landmarks": [[0, 0]] * 5}


def plain(spec: ModelSpec = CLASSIFIER) -> dict[str, Any]:
    return msgspec.json.decode(encode(spec))


def at(tree: Any, path: str) -> tuple[Any, Any]:
    """Give the parent of the place that `path` names, and its key there."""
    *above, last = [int(step) if step.isdigit() else step for step in path.split(".")] if path else [None]
    for step in above:
        tree = tree[step]
    return tree, last


def changed(path: str, value: Any, spec: ModelSpec = CLASSIFIER) -> dict[str, Any]:
    tree = plain(spec)
    parent, key = at(tree, path)
    parent[key] = value
    return tree


def sealed(tree: Any) -> bytes:
    """Write a tree as JSON, with the digest that belongs to it where it has one."""
    if "spec_sha256" not in tree:
        return msgspec.json.encode(tree)
    blank = msgspec.json.encode({**tree, "spec_sha256": None})
    return msgspec.json.encode({**tree, "spec_sha256": hashlib.sha256(blank).hexdigest()})


def refused(tree: Any) -> str:
    with pytest.raises(ModelError) as caught:
        decode(sealed(tree), "zoo.onnx")
    message = str(caught.value)
    assert message.startswith("zoo.onnx: ")
    assert "\n" not in message
    return message


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


OBJECTS = ["", "input", "input.resize", "output", "provenance", "threshold", "metrics", "golden", "golden.images.0"]


@pytest.mark.parametrize("path", OBJECTS)
def test_an_unknown_key_is_refused_and_named(path):
    tree = plain()
    parent, key = at(tree, path)
    (tree if key is None else parent[key])["surplus"] = 1
    message = refused(tree)
    assert "surplus" in message
    assert "changed" not in message  # its digest is right: another facectl wrote it so


OPTIONAL = {"gate", "embedding_id", "threshold", "metrics", "golden", "graph_sha256"}
REQUIRED = [
    *(key for key in plain() if key not in OPTIONAL | {"spec_version"}),
    *(f"{path}.{key}" for path in OBJECTS if path for key in at(plain(), f"{path}.x")[0] if key != "fraction"),
]


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


EDITS = [
    ('"cat","dog"', '"dog","cat"'),
    ("großer", "kleiner"),
    ('"int8"', '"fp32"'),
    ('"value":0.5', '"value":0.05'),
    ('"accuracy":0.9', '"accuracy":0.94'),
    ('"width":224', '"width":225'),
    ("0.7]", "0.71]"),
    (SHA, SHA[::-1]),
    ('"gate":null', '"gate":"passed"'),
    ('"gate":null,', ""),
    ('"spec_sha256":"', '"spec_sha256":"' + SHA + '","spec_sha256":"'),
    (",", ", "),
]


def test_a_spec_that_was_edited_is_refused():
    for old, new in EDITS:
        text = encode(CLASSIFIER)
        assert old in text
        with pytest.raises(ModelError, match=r"^zoo\.onnx: its facectl spec was changed after it was written.*restore"):
            decode(text.replace(old, new), "zoo.onnx")


def test_another_digest_is_refused_and_so_is_none():
    for digest, said in ((SHA, f"its spec_sha256 says {SHA[:12]}"), (None, "it has no spec_sha256")):
        with pytest.raises(ModelError, match=rf"changed after it was written.*{said}"):
            decode(msgspec.json.encode({**plain(), "spec_sha256": digest}), "zoo.onnx")


def test_the_line_end_of_an_editor_is_no_change():
    assert decode(encode(CLASSIFIER) + "\r\n", "zoo.onnx") == CLASSIFIER


def test_the_digest_is_of_the_bytes_that_another_writer_wrote():
    """Another order of keys, other blanks and another way to write a number."""
    others = encode(CLASSIFIER).replace(f',"spec_sha256":"{plain()["spec_sha256"]}"', "")
    blank = '{"spec_sha256":null,' + others[1:].replace('"threshold":{"value":0.5', '"threshold": {\n"value":5.0e-1')
    digest = hashlib.sha256(blank.encode()).hexdigest()
    assert decode(blank.replace("null", f'"{digest}"', 1), "zoo.onnx") == CLASSIFIER


def test_a_spec_made_of_one_that_was_read_has_a_digest_of_its_own():
    read = decode(encode(CLASSIFIER), "zoo.onnx")
    other = msgspec.structs.replace(read, precision="fp32")
    assert plain(other)["spec_sha256"] != plain(read)["spec_sha256"]
    assert decode(encode(other), "zoo.onnx") == other


def test_the_digest_does_not_change_the_length():
    texts = [encode(msgspec.structs.replace(CLASSIFIER, graph_sha256=digest)) for digest in (SHA, "0" * 64)]
    assert len(texts[0]) == len(texts[1])  # a TFLite file's spec is written over one of the same length


def test_the_summary_is_the_spec_without_the_pictures():
    shown = summary(CLASSIFIER)
    expected = copy.deepcopy(plain())
    del expected["spec_sha256"]
    expected["golden"]["images"][0]["png"] = "<4 bytes>"
    assert msgspec.json.decode(msgspec.json.encode(shown)) == expected
    assert "golden" in summary(EMBEDDER)


fractions = st.floats(0, 1)
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", fullmatch=True)
words = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=20)
counts = st.integers(1, 10**9)
floats = st.floats(-1e6, 1e6)
resizes = st.one_of(
    st.just(Squash()),
    st.builds(CenterCrop, st.floats(0, 1, exclude_min=True)),
    st.builds(Letterbox, st.tuples(*[st.integers(0, 255)] * 3)),
    st.builds(FaceAlign, st.tuples(*[st.tuples(floats, floats)] * 5)),
)
hashes = st.text("0123456789abcdef", min_size=64, max_size=64)
stamps = st.datetimes().map(lambda moment: f"{moment:%Y-%m-%dT%H:%M:%SZ}".rjust(20, "0"))
origins = st.builds(
    Provenance,
    words,
    st.integers(0, 2**32),
    hashes,
    words,
    st.none() | hashes,
    st.none() | words,
    st.dictionaries(words, words, max_size=3),
    stamps,
)


@st.composite
def specs(draw):
    embed = draw(st.booleans())
    labels = () if embed else tuple(draw(st.lists(words, min_size=2, max_size=5, unique=True)))
    size = draw(st.integers(1, 9)) if embed else len(labels)
    resize = draw(resizes)
    points = st.lists(st.tuples(floats, floats), min_size=5, max_size=5).map(tuple)
    answer = st.lists(floats, min_size=size, max_size=size).map(tuple)
    aligned = points if isinstance(resize, FaceAlign) else st.none()
    image = st.builds(GoldenImage, st.binary(max_size=50), answer, aligned)
    score = "cosine" if embed else draw(st.sampled_from(["max_probability", "margin", "negative_entropy"]))
    accuracy, low, high = draw(fractions), draw(fractions), draw(fractions)
    metrics = Metrics(accuracy, draw(counts), (min(low, accuracy), max(high, accuracy)))
    threshold = st.builds(Threshold, st.floats(-1, 1), st.just(score), fractions, counts, fractions, counts)
    golden = st.builds(Golden, st.lists(image, min_size=1, max_size=3).map(tuple), st.floats(0.001, 1))
    return ModelSpec(
        name=draw(names),
        task="embed" if embed else "classify",
        precision=draw(st.sampled_from(["fp32", "fp16", "int8"])),
        labels=labels,
        input=InputSpec(draw(st.integers(1, 4096)), draw(st.integers(1, 4096)), resize),
        output=OutputSpec("embedding" if embed else "probabilities", size),
        provenance=draw(origins),
        embedding_id=draw(words) if embed else None,
        threshold=draw(st.none() | threshold),
        metrics=draw(st.sampled_from([None, metrics])),
        golden=draw(st.none() | golden),
    )


@settings(max_examples=60, deadline=None)
@given(specs())
def test_any_spec_is_read_back(spec):
    assert decode(encode(spec), "zoo.onnx") == spec


@settings(max_examples=200, deadline=None)
@given(st.text() | st.binary())
def test_any_text_is_a_model_error(text):
    with pytest.raises(ModelError):
        decode(text, "zoo.onnx")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([*REQUIRED, *sorted(OPTIONAL)]), json_values)
def test_any_value_in_any_place_is_a_spec_or_a_model_error(path, value):
    try:
        found = decode(sealed(changed(path, value)), "zoo.onnx")
    except ModelError:
        return
    assert decode(encode(found), "zoo.onnx") == found


def test_the_key_and_the_version_are_those_that_files_carry():
    assert (contract.SPEC_KEY, contract.SPEC_VERSION) == ("facectl.spec", 1)
