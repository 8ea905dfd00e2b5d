"""The digest that a spec carries of itself: what was edited is refused, however it was written."""

import hashlib

import msgspec
import pytest

from facectl_runtime.errors import ModelError
from facectl_runtime.spec import (
    decode,
    encode,
)
from specs import CLASSIFIER, SHA, plain

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
