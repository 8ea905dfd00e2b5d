"""The folder of crops: names of tags and files, what is said of it, and none of it where nothing can be cut."""

import copy
import json
import os

import pytest

from facectl_trainer.data import vott
from vott_documents import asset, crops, export, photograph, pixels, region, same, why


def test_what_can_be_trained_on_is_offered(cut, tmp_path):
    some = [region(0, 0, 20, 20, tag) for tag in ("anna", "bob") for _ in range(3)]
    assert f"next: facectl train zoo --data {tmp_path / 'crops'}\n" in cut(export(asset("x.png", *some))).out
    alone = cut(export(asset("x.png", some[0])), to="alone").out
    assert f"{tmp_path / 'alone'}: 1 crop of 1 picture: anna 1\n" in alone
    assert "it has one class alone, anna, and two or more are needed" in alone
    assert "facectl train" not in alone


def test_crops_do_not_go_into_the_photographs(facectl, cut, pictures, tree):
    (pictures / "export.json").write_text(json.dumps(export(asset("x.png", region(0, 0, 20, 20, "anna")))))
    before = tree(pictures)
    said = f"{pictures}/crops: lies inside {pictures}, which stays as it is; give another --to"
    for done in (
        facectl("data", "from-vott", pictures / "export.json", "--to", pictures / "crops", "--quiet"),
        cut(export(asset("x.png", region(0, 0, 20, 20, "anna"))), to="pictures/crops"),
    ):
        assert done.code == 2
        assert said in done.error()
    assert tree(pictures) == before


def test_several_regions_and_several_photographs_of_one_name_are_kept_apart(cut, pictures, tmp_path):
    photograph(pictures / "face-2.png", 7)
    two = asset("two/face.png", region(0, 0, 20, 20, "anna"), region(0, 0, 5, 5, "anna"), region(30, 30, 20, 20, "bob"))
    document = export(
        two,
        asset("one/face.png", region(10, 0, 20, 20, "anna"), region(0, 10, 20, 20, "anna"), region(9, 9, 20, 20)),
        asset("face-2.png", region(0, 0, 30, 30, "anna")),
    )
    assert cut(document).code == 3
    expected = {
        "anna/face-2.png": pixels(pictures / "face-2.png", 0, 0, 30, 30),
        "anna/face.png": pixels(pictures / "one/face.png", 10, 0, 30, 20),
        "anna/face-3.png": pixels(pictures / "one/face.png", 0, 10, 20, 30),
        "anna/face-4.png": pixels(pictures / "two/face.png", 0, 0, 20, 20),
        "bob/face-6.png": pixels(pictures / "two/face.png", 30, 30, 50, 50),
    }
    same(tmp_path / "crops", expected)
    document["assets"] = dict(reversed(document["assets"].items()))
    assert cut(document, to="again").code == 3
    same(tmp_path / "again", expected)


def test_a_region_with_two_tags_gives_a_crop_under_each(cut, pictures, tmp_path):
    done = cut(export(asset("x.png", region(0, 0, 20, 20, "anna", "glasses", "anna", " "), region(1, 1, 20, 20))))
    assert done.code == 0
    crop = pixels(pictures / "x.png", 0, 0, 20, 20)
    same(tmp_path / "crops", {"anna/x.png": crop, "glasses/x.png": crop})
    assert "regions with several tags, and a crop under each: 1" in done.out
    assert "regions without a tag, and without a crop: 1" in done.out


def test_a_tag_that_is_no_file_name_is_written_otherwise_and_said(cut, tmp_path):
    tags = ("a/b", "../../up", "con", "x" * 300, "\ud800")
    done = cut(export(asset("x.png", *(region(0, 0, 20, 20, tag) for tag in tags))), "--json")
    assert done.code == 3
    assert sorted(path.name for path in (tmp_path / "crops").iterdir()) == [
        "%2E.%2F..%2Fup",
        "%63on",
        "a%2Fb",
        "\ufffd",
    ]
    assert done.json()["renamed"] == {"../../up": "%2E.%2F..%2Fup", "a/b": "a%2Fb", "con": "%63on"}
    assert "tag a/b: its folder is a%2Fb\n" in done.err
    assert "cannot name a folder" in why(done)["x.png", 4]


def test_the_json_is_small_and_whole(cut, tmp_path):
    done = cut(export(asset("x.png", region(0, 0, 20, 20, "anna"))), "--json")
    assert done.code == 0
    assert done.json() == {
        "to": str(tmp_path / "crops"),
        "pictures": 1,
        "crops": {"anna": 1},
        "several_tags": 0,
        "untagged": 0,
        "renamed": {},
        "left_out": [],
    }


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (b"", "not JSON"),
        (b"\xff\xd8\xff\xe0\0\0", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "no frames and no assets"),
        (b'{"images": [], "annotations": []}', "no frames and no assets, but images, annotations"),
        (b'{"assets": {}}', "files of its assets beside it"),
        (b'{"frames": {}}', "no region with a tag gives a crop: nothing"),
        (b'{"frames": {"x.png": 7, "y.png": [null, {"tags": 5}]}}', "no region with a tag gives a crop"),
        (b'{"assets": {"a": {"asset": null, "regions": {}}, "b": 3}}', "no region with a tag gives a crop"),
        (json.dumps(export(asset("gone.png", region(0, 0, 20, 20, "anna")))).encode(), "gone.png: no such picture"),
    ],
)
def test_what_gives_nothing_is_one_line_and_makes_nothing(cut, tmp_path, document, said):
    done = cut(document)
    assert done.code == 2
    assert said in done.error()
    assert len(done.err) < 1000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["export.json", "pictures"]


def test_places_that_are_not_there_are_one_line(facectl, cut, pictures, tmp_path):
    def refused(source, *more):
        done = facectl("data", "from-vott", source, "--to", tmp_path / "crops", *more)
        assert done.code == 2
        return done.error()

    assert "none.json: cannot be read" in refused(tmp_path / "none.json")
    assert "it holds no file of VoTT" in refused(pictures)
    for name in ("a", "b"):
        (pictures / f"{name}.json").write_text("{}")
    assert "2 files that may be meant, a.json, b.json; give one of them" in refused(pictures)
    document = export(asset("x.png", region(0, 0, 20, 20, "anna")))
    assert cut(document).code == 0
    assert "none: no such folder" in refused(
        tmp_path / "export.json", "--images", tmp_path / "none", "--to", tmp_path / "b"
    )
    assert "already there" in refused(tmp_path / "export.json")
    assert list(crops(tmp_path / "crops")) == ["anna/x.png"]
    assert "cannot be written" in cut(document, to="export.json/crops").error()


def test_a_file_too_large_is_refused(cut, monkeypatch):
    monkeypatch.setattr(vott, "MAX_BYTES", 20)
    assert "20 bytes" in cut(export(asset("x.png", region(0, 0, 20, 20, "anna")))).error()


def test_a_document_damaged_anywhere_never_ends_in_a_traceback(cut):
    document = export(asset("x.png", region(0, 0, 20, 20, "anna"), region(1, 1, 20, 20, "bob")))
    number = 0

    def damaged(node, path=()):
        for key in list(node) if isinstance(node, dict) else range(len(node)):
            yield (*path, key)
            if isinstance(node[key], dict | list):
                yield from damaged(node[key], (*path, key))

    for path in list(damaged(document)):
        for value in (None, [], {}, "x", -1, 1e400, True):
            broken = copy.deepcopy(document)
            node = broken
            for key in path[:-1]:
                node = node[key]
            node[path[-1]] = value
            number += 1
            done = cut(broken, to=f"to{number}")
            assert done.code in (0, 2, 3), (path, value, done.err)
            assert done.err.count("\n") <= 2


def test_when_cutting_breaks_off_nothing_is_left(cut, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, os.strerror(28), "x.png")

    monkeypatch.setattr("facectl_trainer.data.crops._save", full)
    done = cut(export(asset("x.png", region(0, 0, 20, 20, "anna"))))
    assert done.code == 1
    assert "No space left" in done.error()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["export.json", "pictures"]
