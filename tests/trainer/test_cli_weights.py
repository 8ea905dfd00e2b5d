"""`facectl weights` says what there is and where, and fetches what is asked for."""

import hashlib
from types import SimpleNamespace

import pytest

from facectl_trainer import transfer
from facectl_trainer.backbones import BACKBONES
from facectl_trainer.weights import Weights
from loopback import serve

pytest.importorskip("pypi_simple")

ONE, TWO = b"the values of one", b"the values of two"


def weights_of(content, name="imagenet", **more):
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return Weights(name, f"{name}.h5", digest, "MIT", "tf", size=len(content), **more)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("FACECTL_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("FACECTL_WEIGHTS_DIR", raising=False)
    monkeypatch.delenv("FACECTL_OFFLINE", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(transfer, "PAUSE", 0.0)
    return tmp_path / "home" / "weights"


@pytest.fixture
def site(monkeypatch):
    """Serve weights for two backbones, the only ones there are beside one that has none."""
    with serve() as site:
        one = weights_of(ONE, url=site.put("/one.h5", ONE))
        face = weights_of(TWO, "face", url=site.put("/face.h5", TWO))
        by_hand = weights_of(b"by hand", "torch")
        for name in list(BACKBONES):
            monkeypatch.delitem(BACKBONES, name)
        for name, weights in (("one_net", (one,)), ("two_net", (by_hand, face)), ("plain_net", ())):
            monkeypatch.setitem(BACKBONES, name, SimpleNamespace(name=name, weights=weights))
        yield site


@pytest.mark.usefixtures("site")
def test_pull_says_where_it_is_and_what_comes_next(facectl, folder):
    ran = facectl("weights", "pull", "one_net")
    assert ran.code == 0
    assert ran.out.splitlines() == [
        f"one_net: imagenet (MIT), fetched from 127.0.0.1: {folder / 'imagenet.h5'}",
        "next: facectl train zoo --data PHOTOS --backbone one_net",
    ]
    assert ran.err.startswith(f"imagenet.h5, bytes: {len(ONE)} in ")
    again = facectl("weights", "pull", "one_net", "--offline")
    assert (again.code, again.err) == (0, "")
    assert again.out.startswith(f"one_net: imagenet (MIT), already here: {folder / 'imagenet.h5'}\n")


@pytest.mark.usefixtures("site")
def test_pull_of_several_to_a_folder(facectl, tmp_path):
    ran = facectl("weights", "pull", "one_net", "two_net:face", "--to", tmp_path / "a b", "--quiet")
    assert (ran.code, ran.err) == (0, "")
    assert f"next: FACECTL_WEIGHTS_DIR='{tmp_path / 'a b'}' facectl train" in ran.out
    assert (tmp_path / "a b" / "imagenet.h5").read_bytes() == ONE
    assert (tmp_path / "a b" / "face.h5").read_bytes() == TWO


def test_every_failure_is_said_and_the_others_are_fetched(facectl, site, folder):
    site.files["/one.h5"] = TWO
    ran = facectl("weights", "pull", "one_net", "two_net", "two_net:torch", "-q")
    assert ran.code == 1
    assert [line.split(": ")[:2] for line in ran.err.splitlines()] == [["facectl", "one_net"], ["facectl", "two_net"]]
    assert "sent something else" not in ran.out
    assert (folder / "face.h5").read_bytes() == TWO


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["one_nt"], "did you mean 'one_net'?"),
        (["one_net", "two_net:fase"], "two_net: no weights 'fase'; did you mean 'face'?; there are torch, face"),
        (["plain_net"], "plain_net: this backbone has no pretrained weights"),
        ([], "BACKBONE"),
    ],
)
def test_a_name_that_is_not_there(facectl, site, words, said):
    ran = facectl("weights", "pull", *words)
    assert ran.code == 2
    assert said in ran.error()
    assert site.asked == []


def test_offline_by_option_or_environment(facectl, site, folder, monkeypatch):
    said = facectl("weights", "pull", "one_net", "--offline").error()
    assert "imagenet.h5 is not here, and offline means no network" in said
    monkeypatch.setenv("FACECTL_OFFLINE", "1")
    assert facectl("weights", "pull", "one_net").error() == said
    assert (site.asked, folder.exists()) == ([], False)
    monkeypatch.setenv("FACECTL_OFFLINE", "0")
    assert facectl("weights", "pull", "one_net", "-q").code == 0


@pytest.mark.usefixtures("site")
def test_list_as_a_table(facectl, folder):
    facectl("weights", "pull", "one_net", "-q")
    ran = facectl("weights", "list")
    assert (ran.code, ran.err) == (0, "")
    head, one, torch, face = (line.split() for line in ran.out.splitlines())
    assert head == ["backbone", "weights", "MB", "licence", "file", "digest", "where"]
    assert one == ["one_net", "imagenet", "0.0", "MIT", "imagenet.h5", "checked", str(folder / "imagenet.h5")]
    assert " ".join(torch[5:]) == "not here: put it into FACECTL_WEIGHTS_DIR"
    assert " ".join(face[5:]) == "not here: facectl weights pull two_net:face"


@pytest.mark.usefixtures("site")
def test_list_as_json(facectl, folder):
    facectl("weights", "pull", "one_net", "-q")
    (folder / "face.h5").write_bytes(ONE)
    one, torch, face = facectl("weights", "list", "--json").json()
    sha256 = hashlib.sha256(ONE).hexdigest()
    assert one == {
        "backbone": "one_net",
        "weights": "imagenet",
        "file": "imagenet.h5",
        "size": len(ONE),
        "licence": "MIT",
        "digest": f"sha256:{sha256}",
        "preprocess": "tf",
        "path": str(folder / "imagenet.h5"),
        "sha256": sha256,
        "how": "facectl weights pull one_net",
    }
    assert (torch["path"], torch["sha256"]) == (None, None)
    assert face["path"] is None
    assert sha256 in face["error"]
    assert "WRONG" in facectl("weights", "list").out


def test_an_interrupted_pull_goes_on(facectl, site, folder):
    site.cuts = [10, 0, 0]
    ran = facectl("weights", "pull", "one_net")
    assert ran.code == 1
    assert "the connection broke after" in ran.error()
    assert facectl("weights", "pull", "one_net", "-q").code == 0
    assert (folder / "imagenet.h5").read_bytes() == ONE
