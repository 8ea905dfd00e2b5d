"""Metadata of TFLite files, held to what LiteRT's own reader of the schema gives."""

import hashlib
import random
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from facectl_runtime.errors import ModelError
from facectl_runtime.spec import SPEC_KEY
from facectl_runtime.tflite_metadata import graph_digest, read_metadata

schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
from ai_edge_litert.tools import flatbuffer_utils  # noqa: E402

names = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=30)


def made(entries) -> bytes:
    """Write a model of one empty graph, with a buffer of weights and then one for each entry."""
    model, graph, weights = schema.ModelT(), schema.SubGraphT(), schema.BufferT()
    graph.tensors, graph.operators, model.version, model.description = [], [], 3, "made for a test"
    weights.data = np.arange(64, dtype=np.uint8)
    model.subgraphs, model.operatorCodes, model.buffers, model.metadata = [graph], [], [schema.BufferT(), weights], []
    for name, content in entries:
        buffer, entry = schema.BufferT(), schema.MetadataT()
        buffer.data, entry.name, entry.buffer = np.frombuffer(content, np.uint8), name, len(model.buffers)
        model.buffers.append(buffer)
        model.metadata.append(entry)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def reference(data: bytes) -> dict[str, bytes]:
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    return {entry.name.decode(): bytes(model.buffers[entry.buffer].data) for entry in model.metadata}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("tflite") / "any.tflite"


@pytest.fixture
def written(tmp_path):
    def write(data: bytes, name="model.tflite") -> Path:
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write


@settings(max_examples=60, deadline=None)
@given(entries=st.dictionaries(names, st.binary(min_size=1, max_size=400), max_size=5))
def test_metadata_are_read_as_the_schema_has_them(place, entries):
    data = made(entries.items())
    place.write_bytes(data)
    assert read_metadata(place) == entries == (reference(data) if entries else {})


def test_what_stands_behind_the_model_does_not_matter(written):
    path = written(made([(SPEC_KEY, b"{}")]) + b"PK\3\4 an archive" * 20)
    assert read_metadata(path) == {SPEC_KEY: b"{}"}


def test_an_entry_without_content_is_empty(written):
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(made([(SPEC_KEY, b"{}")]), 0))
    model.buffers[-1].data = None
    assert read_metadata(written(bytes(flatbuffer_utils.convert_object_to_bytearray(model)))) == {SPEC_KEY: b""}


# The digest


def test_the_digest_is_of_the_file_with_zeros_for_the_spec(written):
    data = made([("other", b"o" * 9), (SPEC_KEY, b'{"spec": 1}')])
    zeroed = data.replace(b'{"spec": 1}', bytes(11)) + b"behind"
    assert graph_digest(written(data + b"behind")) == hashlib.sha256(zeroed).hexdigest()


def test_the_digest_of_a_file_without_a_spec_is_of_all_of_it(written):
    data = made([("other", b"o")])
    assert graph_digest(written(data)) == hashlib.sha256(data).hexdigest()


def test_the_digest_does_not_depend_on_the_spec_but_on_every_other_byte(written):
    spec, other = b"{" + b"x" * 50 + b"}", b"{" + b"y" * 50 + b"}"
    data = made([("other", b"o" * 20), (SPEC_KEY, spec)])
    digest = graph_digest(written(data))
    assert graph_digest(written(data.replace(spec, other))) == digest
    start = data.index(spec)
    for at in (*range(0, start, 3), *range(start + len(spec), len(data), 3)):
        damaged = bytearray(data)
        damaged[at] ^= 1
        try:
            assert graph_digest(written(damaged)) != digest
        except ModelError:
            continue  # where the structure itself is hit


def test_a_spec_of_another_length_gives_another_digest(written):
    assert graph_digest(written(made([(SPEC_KEY, b"{}  ")]))) != graph_digest(written(made([(SPEC_KEY, b"{}")])))


# Damage


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"just a text, no model",
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        b"\xff" * 100,
        b"\xff\xff\xff\xffTFL3",
        b"\0\0\0\0TFL3" + bytes(100),
        b"\x08\0\0\0TFL3\x08\0\0\0",
        b"\x08\0\0\0TFL3\0\0\0\0",
        b"\x08\0\0\0TFL3\xff\xff\xff\x7f",
        b"\x08\0\0\0TFL3\x00\x00\x00\x80",
    ],
    ids=["empty", "nul", "text", "png", "ones", "far", "zeros", "before", "own-vtable", "back", "forward"],
)
def test_what_is_no_model_says_so(written, data):
    with pytest.raises(ModelError, match=r"model\.tflite: not a TFLite model, or a damaged one"):
        read_metadata(written(data))


def test_a_model_without_a_graph_says_so(written):
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(made([(SPEC_KEY, b"{}")]), 0))
    model.subgraphs = None
    with pytest.raises(ModelError, match="no graph"):
        read_metadata(written(bytes(flatbuffer_utils.convert_object_to_bytearray(model))))


def test_two_specs_are_refused(written):
    with pytest.raises(ModelError, match="overlap"):
        read_metadata(written(made([(SPEC_KEY, b"{}"), (SPEC_KEY, b"{ }")])))


def test_a_name_that_is_not_utf8_says_so(written):
    with pytest.raises(ModelError, match="damaged"):
        read_metadata(written(made([("name", b"{}")]).replace(b"name", b"\xff\xfe\xff\xfe")))


def test_many_names_for_one_content_do_not_unfold(written):
    """A thousand entries of one buffer of a megabyte would be a gigabyte."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(made([("0", bytes(1_000_000))]), 0))
    for number in range(1, 900):
        entry = schema.MetadataT()
        entry.name, entry.buffer = str(number), model.metadata[0].buffer
        model.metadata.append(entry)
    with pytest.raises(ModelError, match="overlap"):
        read_metadata(written(bytes(flatbuffer_utils.convert_object_to_bytearray(model))))


def test_a_list_that_claims_millions_is_refused_at_once(written):
    data = made([("a name to find", b"content")])
    for at in range(8, len(data) - 3):  # one of these is the count of the entries, others are of other lists
        if data[at : at + 4] == b"\1\0\0\0":
            for count in (2_000_000, 0x7FFFFFFF, 0xFFFFFFFF):
                hostile = data[:at] + struct.pack("<I", count) + data[at + 4 :] + bytes(9_000_000)
                began = time.perf_counter()
                try:
                    read_metadata(written(hostile))
                except ModelError as error:
                    assert len(str(error).splitlines()) == 1  # noqa: PT017  # not every list is looked at
                assert time.perf_counter() - began < 5  # milliseconds; hours if the list were read


def test_a_missing_file_and_a_folder_say_so(tmp_path):
    with pytest.raises(ModelError, match=r"missing\.tflite: No such file"):
        read_metadata(tmp_path / "missing.tflite")
    with pytest.raises(ModelError, match="directory"):
        read_metadata(tmp_path)


def test_a_file_cut_anywhere_gives_no_more_than_it_holds(place):
    entries = {"one": b"1" * 20, SPEC_KEY: b"2" * 20}
    whole = made(entries.items())
    refused = 0
    for length in range(len(whole)):
        place.write_bytes(whole[:length])
        try:
            assert read_metadata(place).items() <= entries.items()
        except ModelError as error:
            assert str(place) in str(error)  # noqa: PT017  # weights are written last
            refused += 1
    assert refused > len(whole) / 2


def test_flipped_bits_raise_nothing_but_a_model_error(place):
    chance = random.Random(0)
    whole = made([(SPEC_KEY, b"{" + b"x" * 50 + b"}"), ("other", b"o" * 9)])
    for _ in range(2000):
        damaged = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        place.write_bytes(damaged)
        for read in (read_metadata, graph_digest):
            try:
                read(place)
            except ModelError as error:
                assert len(str(error).splitlines()) == 1  # noqa: PT017


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=200))
@example(data=struct.pack("<I4sii", 8, b"TFL3", 0, 0))
def test_any_bytes_raise_nothing_but_a_model_error(place, data):
    place.write_bytes(b"\x10\0\0\0TFL3" + data)
    try:
        read_metadata(place)
    except ModelError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017
