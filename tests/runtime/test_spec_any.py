"""Any spec is read back, and any other text or value is refused in a line."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facectl_runtime.errors import ModelError
from facectl_runtime.spec import (
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
)
from specs import OPTIONAL, REQUIRED, changed, sealed

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
