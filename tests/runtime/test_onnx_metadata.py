"""Metadata of ONNX files, held to what the onnx package itself reads."""

import random
from pathlib import Path

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facectl_runtime.errors import ModelError
from facectl_runtime.onnx_metadata import read_metadata

text = st.text(st.characters(exclude_categories=("Cs",)), max_size=300)


def with_metadata(colours, entries) -> onnx.ModelProto:
    made = colours.graph()
    for key, value in entries:
        made.metadata_props.add(key=key, value=value)
    return made


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("onnx") / "any.onnx"


@settings(max_examples=60, deadline=None)
@given(entries=st.lists(st.tuples(text, text), max_size=5), wordy=st.booleans())
def test_any_unicode_is_read_as_onnx_reads_it(colours, place, entries, wordy):
    made = with_metadata(colours, entries)
    if wordy:
        made.doc_string, made.producer_name, made.model_version = "doc\n" * 50, "a program", -1
    place.write_bytes(made.SerializeToString())
    assert read_metadata(place) == {item.key: item.value for item in onnx.load(place).metadata_props}


def test_values_of_every_length_of_length_are_read(colours, tmp_path):
    for size in (0, 1, 127, 128, 16_383, 16_384, 2_100_000):
        path = tmp_path / f"{size}.onnx"
        onnx.save(with_metadata(colours, [("key", "é" * size)]), path)
        assert read_metadata(path) == {"key": "é" * size}


def test_fields_of_a_later_onnx_are_passed_over(colours, tmp_path):
    later = b"\xf8\x3e\xff\x01" + b"\xf9\x3e" + bytes(8) + b"\xfd\x3e" + bytes(4) + b"\xfa\x3e\x03abc"
    path = tmp_path / "later.onnx"
    path.write_bytes(later + with_metadata(colours, [("key", "value")]).SerializeToString() + later)
    assert read_metadata(path) == {"key": "value"}


def test_entries_may_stand_before_the_graph(colours, tmp_path):
    before, after = onnx.ModelProto(), with_metadata(colours, [("b", "2")])
    before.metadata_props.add(key="a", value="1")
    path = tmp_path / "before.onnx"
    path.write_bytes(before.SerializeToString() + after.SerializeToString())
    assert read_metadata(path) == {"a": "1", "b": "2"}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"just a text, no model",
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        b"\xff" * 100,
        b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x3b\x00\x3c",
        b"\x72\x02\x0a\x05",
        b"\x08\x0a",
    ],
    ids=["empty", "nul", "text", "png", "endless-number", "too-long", "group", "entry-past-its-end", "no-graph"],
)
def test_what_is_no_model_says_so(tmp_path, data):
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    with pytest.raises(ModelError, match=r"model\.onnx: not an ONNX model, or a damaged one"):
        read_metadata(path)


@pytest.mark.parametrize(("length", "whole"), [(9, True), (10, True), (11, False)])
def test_a_number_has_ten_bytes_at_most(colours, tmp_path, length, whole):
    path = tmp_path / "model.onnx"
    number = b"\x80" * (length - 1) + b"\x01"
    path.write_bytes(b"\xf8\x3e" + number + with_metadata(colours, [("key", "value")]).SerializeToString())
    if whole:
        assert read_metadata(path) == {"key": "value"}
    else:
        with pytest.raises(ModelError, match="damaged"):
            read_metadata(path)


def test_a_key_that_is_not_utf8_says_so(colours, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(with_metadata(colours, []).SerializeToString() + b"\x72\x04\x0a\x02\xff\xfe")
    with pytest.raises(ModelError, match="damaged"):
        read_metadata(path)


def test_a_missing_file_and_a_folder_say_so(tmp_path):
    with pytest.raises(ModelError, match=r"missing\.onnx: No such file"):
        read_metadata(tmp_path / "missing.onnx")
    with pytest.raises(ModelError, match="directory"):
        read_metadata(tmp_path)


def test_a_file_cut_anywhere_gives_no_more_than_it_holds(colours, place):
    whole = with_metadata(colours, [("one", "1" * 20), ("two", "2" * 20)]).SerializeToString()
    refused = 0
    for length in range(len(whole)):
        place.write_bytes(whole[:length])
        try:
            assert read_metadata(place).items() <= {"one": "1" * 20, "two": "2" * 20}.items()
        except ModelError as error:
            assert str(place) in str(error)  # noqa: PT017  # a cut between two fields is no error
            refused += 1
    assert refused > len(whole) - 5


def test_flipped_bits_raise_nothing_but_a_model_error(colours, place):
    chance = random.Random(0)
    whole = with_metadata(colours, [("facectl.spec", "{" + "x" * 50 + "}")]).SerializeToString()
    for _ in range(500):
        damaged = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        place.write_bytes(damaged)
        try:
            found = read_metadata(place)
        except ModelError:
            continue
        assert all(isinstance(part, str) for pair in found.items() for part in pair)


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=200))
def test_any_bytes_raise_nothing_but_a_model_error(place, data):
    place.write_bytes(data)
    try:
        read_metadata(place)
    except ModelError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017  # most bytes are refused, a few are a model
