"""Which photographs a document of VoTT means: those below the folder, of that name and path, and no others."""

import json
from urllib.parse import quote

import pytest

from vott_documents import asset, crops, export, frame, frames, photograph, pixels, region, same, why


def test_the_photographs_lie_with_the_json_unless_told_otherwise(facectl, pictures, tmp_path):
    (pictures / "export.json").write_text(json.dumps(export(asset("file:/E:/x.png", region(0, 0, 20, 20, "anna")))))
    done = facectl("data", "from-vott", pictures / "export.json", "--to", tmp_path / "crops")
    assert done.code == 0
    assert done.err.startswith("cutting: 1 in ")
    again = facectl("data", "from-vott", pictures, "--to", tmp_path / "again", "--quiet")
    assert again.code == 0
    same(tmp_path / "again", crops(tmp_path / "crops"))


@pytest.mark.parametrize("which", ["folder of assets", "folder of a project", "project", "asset"])
def test_a_project_is_read_from_the_files_of_its_assets(facectl, pictures, tmp_path, which):
    one = asset("file:/C:/x.png", region(0, 0, 20, 20, "anna"))
    two = asset(f"file:/C:/{quote('my pics/Zoë #1.png')}", region(10, 10, 30, 30, "bob"))
    project = {"name": "faces", "tags": [], "assets": {"a1": one["asset"], "b2": two["asset"], "../c3": {"state": 1}}}
    for name, document in (("a1-asset.json", one), ("b2-asset.json", two), ("old-asset.json", one)):
        (pictures / name).write_text(json.dumps(document))
    if "project" in which:
        (pictures / "faces.vott").write_text(json.dumps(project))
    file = {"project": "faces.vott", "asset": "b2-asset.json"}.get(which, "")
    done = facectl("data", "from-vott", pictures / file, "--to", tmp_path / "crops", "--quiet", "--json")
    expected = {"bob/Zoë #1.png": pixels(pictures / "my pics/Zoë #1.png", 10, 10, 40, 40)}
    if which != "asset":
        expected["anna/x.png"] = pixels(pictures / "x.png", 0, 0, 20, 20)
    if which == "folder of assets":  # the old one is of the same picture
        expected["anna/x-2.png"] = expected["anna/x.png"]
    same(tmp_path / "crops", expected)
    assert done.code == (3 if "project" in which else 0)
    assert list(why(done)) == ([("../c3", None)] if "project" in which else [])


def test_a_tagged_picture_of_a_project_without_its_file_is_told(facectl, pictures, tmp_path):
    one, two = (asset(f"file:/C:/{name}.png", region(0, 0, 20, 20, "anna")) for name in "xy")
    assets = {"a1": one["asset"], "b2": two["asset"], "c3": {**two["asset"], "state": 1}}
    (pictures / "faces.vott").write_text(json.dumps({"assets": assets}))
    refused = facectl("data", "from-vott", pictures, "--to", tmp_path / "crops", "--quiet")
    assert refused.code == 2
    assert "files of its assets beside it" in refused.error()
    (pictures / "a1-asset.json").write_text(json.dumps(one))
    (pictures / "b2-asset.json").write_text("{ damaged")
    done = facectl("data", "from-vott", pictures, "--to", tmp_path / "crops", "--quiet", "--json")
    assert done.code == 3
    assert "not JSON" in why(done)["b2-asset.json", None]
    (pictures / "b2-asset.json").unlink()
    done = facectl("data", "from-vott", pictures, "--to", tmp_path / "more", "--quiet", "--json")
    assert done.code == 3
    assert why(done) == {("y.png", None): "its regions are not there: no b2-asset.json"}


@pytest.mark.parametrize(
    "path", ["file:/C:/pics/../x.png", "../pictures/x.png", "file:///home/%2E%2E/x.png", "..\\x.png"]
)
def test_a_path_that_climbs_is_not_followed(cut, path):
    done = cut(export(asset(path, region(0, 0, 20, 20, "bob")), asset("x.png", region(5, 5, 30, 30, "anna"))), "--json")
    assert done.code == 3
    assert list(why(done).values()) == ["leads out of the data folder"]
    assert done.json()["crops"] == {"anna": 1}


def test_nothing_outside_of_the_folder_is_read(cut, tmp_path):
    outside = photograph(tmp_path / "outside" / "secret.png", 9)
    assets = [asset(path, region(0, 0, 20, 20, "bob")) for path in (f"file:{outside}", str(outside), "/etc/passwd")]
    done = cut(export(*assets, asset("x.png", region(5, 5, 30, 30, "anna"))), "--json")
    assert done.code == 3
    assert set(why(done).values()) == {"no such picture below the folder of images"}
    assert list(crops(tmp_path / "crops")) == ["anna/x.png"]


def test_a_missing_an_ambiguous_and_a_damaged_picture_are_told(cut, pictures, tmp_path):
    (pictures / "bad.png").write_bytes((pictures / "x.png").read_bytes()[:300])
    face = region(0, 0, 20, 20, "bob")
    document = export(
        *(asset(path, face) for path in ("gone.png", "file:/C:/face.png", "bad.png", "")),
        asset("untagged.png", region(0, 0, 20, 20)),
        asset("x.png", region(5, 5, 30, 30, "anna")),
    )
    done = cut(document, "--json")
    assert done.code == 3
    reasons = why(done)
    assert reasons.pop(("bad.png", None)).startswith("the picture is damaged")
    assert reasons == {
        ("gone.png", None): "no such picture below the folder of images",
        ("/C:/face.png", None): "fits 2 files, one/face.png and two/face.png",
        ("a picture without a name", None): "no file name",
    }
    assert done.json()["untagged"] == 1
    assert list(crops(tmp_path / "crops")) == ["anna/x.png"]


def test_a_picture_is_not_taken_for_another_of_its_name(cut, pictures):
    (pictures / "two" / "face.png").unlink()
    regions = region(0, 0, 20, 20, "anna")
    done = cut(export(asset("file:/d/two/face.png", regions), asset("file:/d/one/face.png", regions)), "--json")
    assert done.json()["crops"] == {"anna": 1}
    assert why(done) == {("/d/two/face.png", None): "no such picture below the folder of images"}
    done = cut(
        export(*(asset(f"file:/{name}/x.png", regions) for name in "ab"), asset("one/face.png", regions)),
        "--json",
        to="b",
    )
    assert done.json()["crops"] == {"anna": 1}
    assert set(why(done)) == {("/a/x.png", None), ("/b/x.png", None)}
    assert "2 pictures of the JSON fit x.png" in done.err


def test_frames_of_a_video_are_taken_from_pictures_of_their_name(cut, pictures, tmp_path):
    photograph(pictures / "clip.mp4#t=1.5", 5)
    photograph(pictures / "sub" / "clip.mp4#t=2.png", 6)
    face = region(0, 0, 20, 20, "anna")
    moments = [asset(f"file:/C:/clip.mp4#t={at}", face, kind=3) for at in ("1.5", "2", "3")]
    done = cut(export(*moments, asset("file:/C:/clip.mp4", kind=2), asset("x.mp4", face, kind=2)), "--json")
    assert done.code == 3
    assert why(done)["/C:/clip.mp4#t=3", None].startswith("a frame of a video; ")
    assert why(done)["x.mp4", None].startswith("a video; ")
    assert len(why(done)) == 2
    same(
        tmp_path / "crops",
        {
            "anna/clip.mp4#t=1.5.png": pixels(pictures / "clip.mp4#t=1.5", 0, 0, 20, 20),
            "anna/clip.mp4#t=2.png": pixels(pictures / "sub" / "clip.mp4#t=2.png", 0, 0, 20, 20),
        },
    )
    done = cut(
        frames(**{"15": [frame(0, 0, 20, 20, "anna")], "x.png": [frame(0, 0, 20, 20, "anna")]}), "--json", to="old"
    )
    assert why(done)["15", None].startswith("a frame of a video; ")
