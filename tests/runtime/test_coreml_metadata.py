"""Metadata of Core ML packages, held to what coremltools' own messages read."""

import json
import random
import shutil
import sys
import uuid
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facectl_runtime.coreml_metadata import graph_digest, read_metadata
from facectl_runtime.engines import coreml
from facectl_runtime.errors import ModelError
from facectl_runtime.handed_in import entry_points
from facectl_runtime.spec import SPEC_KEY, encode
from helpers import call

Model_pb2 = pytest.importorskip("coremltools.proto.Model_pb2")

text = st.text(st.characters(exclude_categories=("Cs",)), max_size=300)
MODEL, WEIGHTS = "com.apple.CoreML/model.mlmodel", "com.apple.CoreML/weights"


def program(**entries):
    made = Model_pb2.Model(specificationVersion=7)
    made.description.predictedFeatureName = "classLabel"
    made.description.metadata.userDefined.update(entries)
    made.mlProgram.version = 1
    return made


def manifest(items=(MODEL, WEIGHTS), root=MODEL):
    names = {item: str(uuid.uuid4()) for item in items}
    entries = {name: {"author": "com.apple.CoreML", "name": item, "path": item} for item, name in names.items()}
    head = {"fileFormatVersion": "1.0.0", "itemInfoEntries": entries}
    return json.dumps({**head, "rootModelIdentifier": names.get(root, "none")})


def package(path, model, listed=None) -> Path:
    """Write a package as coremltools does; `model` is a message, or bytes in its place."""
    (path / "Data" / WEIGHTS).mkdir(parents=True, exist_ok=True)
    (path / "Data" / MODEL).write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    (path / "Data" / WEIGHTS / "weight.bin").write_bytes(b"weights")
    (path / "Manifest.json").write_text(manifest() if listed is None else listed, encoding="utf-8")
    return path


@pytest.fixture
def zoo(tmp_path):
    return package(tmp_path / "zoo.mlpackage", program(key="value"))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("coreml") / "any.mlpackage"


def refused(path, match):
    """Hold both readers to one line of that content."""
    for read in (read_metadata, graph_digest):
        with pytest.raises(ModelError, match=match) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1


@settings(max_examples=60, deadline=None)
@given(entries=st.dictionaries(text, text, max_size=5), wordy=st.booleans())
def test_any_unicode_is_read_as_protobuf_reads_it(place, entries, wordy):
    made = program(**entries)
    if wordy:
        made.description.metadata.author, made.description.metadata.license = "someone\n" * 50, "MIT"
        made.description.input.add(name="image").type.imageType.width = 224
    assert read_metadata(package(place, made)) == entries


def test_a_description_in_two_parts_is_read_whole(tmp_path):
    parts = [program(a="1", b="1").SerializeToString(), program(b="2", c="3").SerializeToString()]
    path = package(tmp_path / "parts.mlpackage", b"".join(parts))
    assert read_metadata(path) == {"a": "1", "b": "2", "c": "3"}


@pytest.mark.parametrize(
    "data",
    [b"", b"\0", b"just a text, no model", b"\x89PNG\r\n\x1a\n" + bytes(100), b"\xff" * 100, b"\x12\x05\xa2\x06\x02"],
    ids=["empty", "nul", "text", "png", "endless-number", "past-its-end"],
)
def test_a_damaged_model_says_so(tmp_path, data):
    with pytest.raises(ModelError, match=r"model\.mlmodel: not a Core ML model, or a damaged one"):
        read_metadata(package(tmp_path / "zoo.mlpackage", data))


def test_a_model_without_a_program_says_so(tmp_path):
    made = program()
    made.ClearField("mlProgram")
    with pytest.raises(ModelError, match=r"damaged one \(it has no program"):
        read_metadata(package(tmp_path / "zoo.mlpackage", made))
    made.neuralNetworkClassifier.layers.add(name="old")
    wanted = (
        r"zoo\.mlpackage: only an ML Program can be read, .* a neural network, Core ML's older kind; convert it again"
    )
    with pytest.raises(ModelError, match=wanted):
        read_metadata(package(tmp_path / "zoo.mlpackage", made))


@pytest.mark.parametrize(
    ("listed", "match"),
    [
        ("", "Manifest.json is not valid"),
        ("[1, 2", "Manifest.json is not valid"),
        ("[" * 100_000, "Manifest.json is not valid"),
        ('{"itemInfoEntries": {}}', "missing required field"),
        ('{"rootModelIdentifier": "a", "itemInfoEntries": {"a": {"path": 1}}}', "Expected `str`"),
        (manifest(root="none"), "does not say which item is the model"),
        (manifest(["../../other.mlmodel"], "../../other.mlmodel"), "points outside of it, at '../../other.mlmodel'"),
        (manifest(["/etc/passwd"], "/etc/passwd"), "points outside of it, at '/etc/passwd'"),
        (manifest([""], ""), "points outside of it"),
        (manifest(["a\0b"], "a\0b"), "points outside of it"),
        (manifest(["other.mlmodel"], "other.mlmodel"), "Data/other.mlmodel: No such file"),
        (manifest(["a" * 300], "a" * 300), "File name too long"),
        (manifest([WEIGHTS], WEIGHTS), "Data/com.apple.CoreML/weights is not a file"),
    ],
    ids=[
        "empty",
        "cut",
        "deep",
        "no-root",
        "number",
        "unlisted",
        "upwards",
        "absolute",
        "itself",
        "nul",
        "missing",
        "long",
        "folder",
    ],
)
def test_a_manifest_that_leads_nowhere_says_so(tmp_path, listed, match):
    (tmp_path / "other.mlmodel").write_bytes(program().SerializeToString())
    refused(package(tmp_path / "zoo.mlpackage", program(), listed), match)


def test_what_is_no_package_says_what_it_is(tmp_path, zoo):
    refused(tmp_path / "missing.mlpackage", "No such file")
    archive = Path(shutil.make_archive(str(tmp_path / "zip"), "zip", zoo)).rename(tmp_path / "zip.mlpackage")
    refused(archive, "a zip archive of a package; unzip it")
    (tmp_path / "file.mlpackage").write_bytes(program().SerializeToString())
    refused(tmp_path / "file.mlpackage", "a file, and a Core ML package is a folder")
    (zoo / "Manifest.json").unlink()
    refused(zoo, "it has no Manifest.json")
    (zoo / "coremldata.bin").touch()
    refused(zoo, "a compiled Core ML model; give the .mlpackage")


@pytest.mark.parametrize("name", ["Manifest.json", f"Data/{MODEL}", "Data/com.apple.CoreML"])
def test_a_link_out_of_the_package_is_refused(tmp_path, zoo, name):
    (zoo / name).rename(tmp_path / "elsewhere")
    (zoo / name).symlink_to(tmp_path / "elsewhere")
    refused(zoo, f"{name} in it is a symbolic link")


def test_linked_weights_have_no_digest(tmp_path, zoo):
    weights = zoo / "Data" / WEIGHTS / "weight.bin"
    weights.rename(tmp_path / "elsewhere")
    weights.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match=r"weight\.bin in it is a symbolic link"):
        graph_digest(zoo)


def test_a_link_to_the_whole_package_is_as_good_as_the_package(tmp_path, zoo):
    (tmp_path / "link.mlpackage").symlink_to(zoo)
    assert read_metadata(tmp_path / "link.mlpackage") == {"key": "value"}
    assert graph_digest(tmp_path / "link.mlpackage") == graph_digest(zoo)


def test_the_digest_passes_over_metadata_and_what_each_save_draws_anew(tmp_path, zoo):
    other = program(key="another", more="text")
    other.description.metadata.author = "someone"
    saved = package(tmp_path / "other.mlpackage", other)
    (saved / ".DS_Store").write_bytes(b"what the Finder leaves")
    assert (saved / "Manifest.json").read_text() != (zoo / "Manifest.json").read_text()
    assert graph_digest(saved) == graph_digest(zoo)


def renamed(model):
    model.description.predictedFeatureName = "label"


def grown(model):
    model.mlProgram.version = 2


def edited(place, change):
    file = place / "Data" / MODEL
    made = Model_pb2.Model.FromString(file.read_bytes())
    change(made)
    file.write_bytes(made.SerializeToString())


@pytest.mark.parametrize(
    "change",
    [
        lambda place: edited(place, renamed),
        lambda place: edited(place, grown),
        lambda place: (place / "Data" / WEIGHTS / "weight.bin").write_bytes(b"weighty"),
        lambda place: (place / "Data" / WEIGHTS / "weight.bin").rename(place / "Data" / WEIGHTS / "weight2.bin"),
        lambda place: (place / "Data" / WEIGHTS / "more.bin").touch(),
        lambda place: (place / "Manifest.json").write_text(manifest([MODEL])),
    ],
    ids=["description", "program", "weights", "name", "another", "unlisted"],
)
def test_the_digest_is_of_every_other_byte_and_name(zoo, change):
    before = graph_digest(zoo)
    change(zoo)
    assert graph_digest(zoo) != before


def test_flipped_bits_raise_nothing_but_a_model_error(place):
    chance, whole = random.Random(0), program(**{SPEC_KEY: "{" + "x" * 50 + "}"}).SerializeToString()
    for _ in range(500):
        damaged = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        try:
            found = read_metadata(package(place, bytes(damaged)))
        except ModelError:
            continue
        assert all(isinstance(part, str) for pair in found.items() for part in pair)


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=200), listed=st.none() | st.text(max_size=50))
def test_any_bytes_raise_nothing_but_a_model_error(place, data, listed):
    for read in (read_metadata, graph_digest):
        try:
            read(package(place, data, listed))
        except ModelError as error:
            assert len(str(error).splitlines()) == 1  # noqa: PT017  # most bytes are refused, a few are a model


@pytest.fixture
def coloured(tmp_path, colours):
    """Make a package that carries the spec of the classifier of colours."""
    return package(tmp_path / "colours.mlpackage", program(**{SPEC_KEY: encode(colours.spec())}))


def test_inspect_reads_a_package_anywhere(coloured, colours):
    ran = call("inspect", coloured, "--json")
    assert ran.code == 0
    assert ran.json()["labels"] == list(colours.spec().labels)


def test_a_package_without_a_spec_says_so(zoo):
    ran = call("inspect", zoo)
    assert ran.code == 4
    assert "carries no facectl.spec" in ran.error()


def test_a_spec_that_was_edited_is_refused(tmp_path, proven, edit, refuse):
    path = package(tmp_path / "edited.mlpackage", program(**{SPEC_KEY: encode(proven)}))
    assert call("inspect", path).code == 0
    edit(path / "Data" / MODEL)
    assert "edited.mlpackage: its facectl spec was changed after it was written" in refuse(path)


def test_predict_says_what_else_to_take_where_nothing_runs_it(coloured, paint, monkeypatch):
    monkeypatch.setattr(coreml, "entry_points", lambda _: {})
    ran = call("predict", coloured, paint("a.png"))
    assert ran.code == 4
    assert "nothing installed here runs Core ML files; use an .onnx or .tflite of the same export" in ran.error()


ENGINE = """
import numpy as np
from facectl_runtime.engines import Engine, Format

def infer(pixels):
    return np.eye(3, dtype=np.float32)[pixels.mean((1, 2)).argmax(1)]

def fail(*_):
    raise AssertionError("the spec is read by facectl itself")

offered = Format(fail, lambda path, spec, device: Engine("an engine 1", "cpu", infer))
broken = "no format"
"""


@pytest.fixture
def offer(tmp_path, monkeypatch):
    """Give a function that installs a package which offers an object of its own as the engine of an .mlpackage."""

    def install(name):
        (tmp_path / "site" / "engine-1.dist-info").mkdir(parents=True)
        (tmp_path / "site" / "one_engine.py").write_text(ENGINE, encoding="utf-8")
        points = f"[facectl.engines]\nmlpackage = one_engine:{name}\n"
        (tmp_path / "site" / "engine-1.dist-info" / "entry_points.txt").write_text(points, encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path / "site")
        entry_points.cache_clear()

    yield install
    entry_points.cache_clear()
    sys.modules.pop("one_engine", None)


def test_an_engine_that_a_package_offers_runs_it(coloured, paint, offer):
    offer("offered")
    ran = call("predict", coloured, paint("a.png", "blue"), "--json")
    assert ran.code == 0, ran.err
    assert "blue" in ran.out
    assert "an engine 1" in ran.out


def test_an_offer_that_is_no_engine_says_so(coloured, paint, offer):
    offer("broken")
    ran = call("predict", coloured, paint("a.png"))
    assert ran.code == 4
    assert "one_engine:broken: not a facectl Format" in ran.error()
