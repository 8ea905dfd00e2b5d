"""`facectl weights` says what there is and where, and fetches what is asked for."""

import dataclasses
import hashlib
import json
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
def test_list_as_a_table(facectl, folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent.parent))
    facectl("weights", "pull", "one_net", "-q")
    ran = facectl("weights", "list")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines() == [
        "backbone  weights    MB  licence  state",
        "one_net   imagenet  0.0  MIT      checked",
        "    ~/home/weights/imagenet.h5",
        "two_net   torch     0.0  MIT      by hand",
        "    torch.h5",
        "two_net   face      0.0  MIT      not here",
        "    facectl weights pull two_net:face",
        "yunet     detector  0.2  MIT      not here",
        "    facectl weights pull yunet",
        "by hand: put it into ~/home/weights or into the folder that FACECTL_WEIGHTS_DIR",
        "  names",
        "without weights, trained from scratch: plain_net",
    ]


def test_list_fits_eighty_columns(facectl, monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setenv("HOME", str(tmp_path))
    ran = facectl("weights", "list")
    assert max(map(len, ran.out.splitlines())) <= 80
    said, _, bare = ran.out.splitlines()[-1].partition(": ")
    assert (said, set(bare.split(", "))) == ("without weights, trained from scratch", {"convnet", "convnet_bn"})


def test_list_gives_the_size_of_a_file_that_is_here(facectl, folder, monkeypatch):
    content = bytes(1_500_000)
    known = dataclasses.replace(weights_of(content), size=0)
    monkeypatch.setitem(BACKBONES, "own_net", SimpleNamespace(name="own_net", weights=(known,)))
    assert "own_net" in facectl("weights", "list").out
    folder.mkdir(parents=True)
    (folder / known.file).write_bytes(content)
    row = next(line for line in facectl("weights", "list").out.splitlines() if line.startswith("own_net"))
    assert row.split() == ["own_net", "imagenet", "1.5", "MIT", "checked"]


@pytest.mark.usefixtures("site")
def test_a_wrong_file_is_said_by_list_and_replaced_by_pull(facectl, folder, tmp_path, monkeypatch):
    chosen = tmp_path / "chosen"
    chosen.mkdir()
    facectl("weights", "pull", "one_net", "-q")
    monkeypatch.setenv("FACECTL_WEIGHTS_DIR", str(chosen))
    (chosen / "imagenet.h5").write_bytes(TWO)
    listed, refused = facectl("weights", "list"), facectl("weights", "pull", "one_net")
    assert (listed.code, refused.code, refused.out) == (5, 5, "")
    for said in (" ".join(listed.out.split()), refused.error()):
        assert f"the file is damaged or another version: {chosen / 'imagenet.h5'} (" in said
        assert "facectl weights pull --force one_net replaces it" in said
    ran = facectl("weights", "pull", "--force", "one_net")
    came = f"fetched from {folder / 'imagenet.h5'}, in place of a wrong file: {chosen / 'imagenet.h5'}"
    assert ran.out.splitlines()[0] == f"one_net: imagenet (MIT), {came}"
    assert facectl("weights", "list").code == 0


@pytest.mark.usefixtures("site")
def test_list_as_json(facectl, folder):
    facectl("weights", "pull", "one_net", "-q")
    (folder / "face.h5").write_bytes(ONE)
    ran = facectl("weights", "list", "--json")
    assert ran.code == 5
    one, torch, face, detector = json.loads(ran.out)
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
    assert (detector["backbone"], detector["how"]) == ("yunet", "facectl weights pull yunet")
    assert sha256[:12] in face["error"]
    assert "WRONG" in facectl("weights", "list").out


def test_an_interrupted_pull_goes_on(facectl, site, folder):
    site.cuts = [10, 0, 0]
    ran = facectl("weights", "pull", "one_net")
    assert ran.code == 1
    assert "the connection broke after" in ran.error()
    assert facectl("weights", "pull", "one_net", "-q").code == 0
    assert (folder / "imagenet.h5").read_bytes() == ONE
