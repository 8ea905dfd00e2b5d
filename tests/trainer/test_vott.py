"""Crops of what was tagged in VoTT: their pixels are the region's, and what cannot be cut is told."""

import copy
import json
import math
import os
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from facectl_runtime.image import decode
from facectl_trainer.data import vott
from facectl_trainer.data.crops import pixels_of

SIZE = (80, 60)
P3 = Image.open(Path(__file__).parents[2] / "docs" / "vectors" / "p3.png").info["icc_profile"]


def photograph(path, seed=0, size=SIZE, **more):
    """Save noise without loss; no two seeds give the same picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path, "PNG", **more)
    return path


@pytest.fixture
def pictures(tmp_path):
    """Photographs below a folder, two of which have one name."""
    for seed, name in enumerate(("x.png", "one/face.png", "two/face.png", "my pics/Zoë #1.png")):
        photograph(tmp_path / "pictures" / name, seed)
    return tmp_path / "pictures"


@pytest.fixture
def cut(facectl, pictures, tmp_path):
    """Give a function that cuts what a document says, and says what the command did."""

    def cut(document, *more, to="crops", images=True):
        file = tmp_path / "export.json"
        file.write_bytes(document if isinstance(document, bytes) else json.dumps(document).encode())
        return facectl(
            *("data", "from-vott", file, "--to", tmp_path / to, "--quiet", *more),
            *(("--images", pictures) if images else ()),
        )

    return cut


def region(left, top, width, height, *tags, kind="RECTANGLE", points=()):
    box = {"left": left, "top": top, "width": width, "height": height}
    return {
        "id": "r",
        "type": kind,
        "tags": list(tags),
        "boundingBox": box,
        "points": [{"x": x, "y": y} for x, y in points],
    }


def asset(path, *regions, size=SIZE, kind=1, name=None):
    size = size and {"width": size[0], "height": size[1]}
    name = name or path.rsplit("/", 1)[-1]
    about = {"format": "png", "id": "0f", "name": name, "path": path, "size": size, "state": 2, "type": kind}
    return {"asset": about, "regions": list(regions), "version": "2.1.0"}


def export(*assets):
    assets = {f"{number:032x}": each for number, each in enumerate(assets)}
    return {"name": "faces", "tags": [{"name": "anna", "color": "#fff"}], "version": "2.1.0", "assets": assets}


def frame(left, top, right, bottom, *tags, size=SIZE, kind="Rectangle"):
    corners = {"x1": left, "y1": top, "x2": right, "y2": bottom}
    points = [{"x": x, "y": y} for x in (left, right) for y in (top, bottom)]
    shown = {"width": size[0], "height": size[1]}
    return {
        **corners,
        **shown,
        "box": corners,
        "points": points,
        "UID": "u",
        "type": kind,
        "tags": list(tags),
        "name": 1,
    }


def frames(**regions):
    return {"frames": regions, "framerate": "1", "inputTags": "anna,bob", "scd": False, "tag_colors": ["#fff"]}


def crops(folder):
    """Give path → pixels of every crop."""
    return {
        path.relative_to(folder).as_posix(): np.asarray(Image.open(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def pixels(path, left, top, right, bottom):
    return np.asarray(decode(path))[top:bottom, left:right]


def same(folder, expected):
    found = crops(folder)
    assert sorted(found) == sorted(expected)
    for name, wanted in expected.items():
        assert np.array_equal(found[name], wanted), name


def why(done):
    return {(each["file"], each["region"]): each["why"] for each in done.json()["left_out"]}


LAYOUTS = {
    "version 1": frames(**{"x.png": [frame(10, 5, 40, 45, "anna")], "one/face.png": [frame(20, 20, 50, 40, "bob")]}),
    "version 1, a path from elsewhere": frames(
        **{
            "C:\\Users\\me\\x.png": [frame(20, 10, 80, 90, "anna", size=(160, 120), kind="rect")],
            "file:///home/me/one/face.png": [frame(20, 20, 50, 40, "bob")],
        }
    ),
    "an asset each": export(
        asset("file:/C:/Users/me/my%20pics/x.png", region(10, 5, 30, 40, "anna")),
        asset("https://a.blob.core.windows.net/box/one/face.png?sv=2020&sig=a%2Fb", region(20, 20, 30, 20, "bob")),
    ),
    "shown at another size": export(
        asset("file:///x.png", region(5, 2.5, 15, 20, "anna"), size=(40, 30)),
        asset("one/face.png", region(20, 20, 30, 20, "bob"), size=None),
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_region_becomes_a_crop_of_its_pixels(cut, pictures, tmp_path, tree, layout):
    before = tree(pictures)
    done = cut(LAYOUTS[layout])
    assert (done.code, done.err) == (0, "")
    same(
        tmp_path / "crops",
        {
            "anna/x.png": pixels(pictures / "x.png", 10, 5, 40, 45),
            "bob/face.png": pixels(pictures / "one/face.png", 20, 20, 50, 40),
        },
    )
    assert "2 crops of 2 pictures: anna 1, bob 1" in done.out
    lacks = "its class anna has 1 image, and 3 different ones or more of each are needed"
    assert f"{tmp_path / 'crops'} is ready; before anything is trained on {tmp_path / 'crops'}: {lacks}" in done.out
    assert tree(pictures) == before


def test_the_photographs_lie_with_the_json_unless_told_otherwise(facectl, pictures, tmp_path):
    (pictures / "export.json").write_text(json.dumps(export(asset("file:/E:/x.png", region(0, 0, 20, 20, "anna")))))
    done = facectl("data", "from-vott", pictures / "export.json", "--to", tmp_path / "crops")
    assert done.code == 0
    assert done.err.startswith("cutting: 1 in ")
    again = facectl("data", "from-vott", pictures, "--to", tmp_path / "again", "--quiet")
    assert again.code == 0
    same(tmp_path / "again", crops(tmp_path / "crops"))


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


def test_a_polygon_is_cut_by_the_box_around_its_points(cut, pictures, tmp_path):
    points = [(30, 10), (60, 25), (40, 50)]
    done = cut(export(asset("x.png", region(0, 0, 80, 60, "anna", kind="POLYGON", points=points))))
    assert done.code == 0
    same(tmp_path / "crops", {"anna/x.png": pixels(pictures / "x.png", 30, 10, 60, 50)})


def test_a_box_is_clipped_to_its_picture(cut, pictures, tmp_path):
    assert cut(export(asset("x.png", region(-15.4, 30, 60, 500, "anna")))).code == 0
    same(tmp_path / "crops", {"anna/x.png": pixels(pictures / "x.png", 0, 30, 45, 60)})


BAD_BOXES = {
    "it is 9 × 30 pixels of the picture; at least 10 on each side are needed": region(5, 5, 9, 30, "anna"),
    "it is 80 × 5 pixels of the picture; at least 10 on each side are needed": region(-50, -50, 500, 55, "anna"),
    "it lies outside of the picture, which has 80 × 60 pixels": region(200, 5, 30, 30, "anna"),
    "its box has a negative size, -30 × 30": region(40, 5, -30, 30, "anna"),
    "its box has nan; up to 65,535 pixels are allowed": region(math.nan, 5, 30, 30, "anna"),
    "its box has inf; up to 65,535 pixels are allowed": region(5, 5, math.inf, 30, "anna"),
    "its box has -1e+300; up to 65,535 pixels are allowed": region(5, -1e300, 30, 30, "anna"),
    "its box has a number of many digits; up to 65,535 pixels are allowed": region(5, 5, 10**400, 30, "anna"),
    "its box has '5' where a number belongs": region("5", 5, 30, 30, "anna"),
    "its box has None where a number belongs": region(5, None, 30, 30, "anna"),
    "its box has True where a number belongs": region(5, 5, True, 30, "anna"),
    "it has no box": {"tags": ["anna"], "boundingBox": [1, 2, 3, 4]},
    "the size of its picture is said to be 0 × 60": frame(5, 5, 40, 40, "anna", size=(0, 60)),
}


@pytest.mark.parametrize("said", BAD_BOXES)
def test_a_box_that_cannot_be_is_told_and_costs_no_other(cut, pictures, tmp_path, said):
    size = None if "size of" in said else SIZE
    document = export(asset("x.png", region(5, 5, 30, 30, "anna"), BAD_BOXES[said], size=size))
    done = cut(document, "--json")
    assert done.code == 3
    assert why(done) == {("x.png", 2): said}
    assert done.err == f"left out: 1: x.png, region 2: {said}\n"
    same(tmp_path / "crops", {"anna/x.png": pixels(pictures / "x.png", 5, 5, 35, 35)})


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


def turned(path, orientation, *marked):
    """Save a photograph that is stored turned; what is `marked` as it is stored (left, top, right, bottom) is white."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.open(photograph(path, 3)).convert("RGB")
    if marked:
        image.paste((255, 255, 255), marked)
    image.save(path, exif=exif)
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photograph_is_cut_upright(cut, pictures, tmp_path, orientation):
    path = turned(pictures / "turned.png", orientation)
    size = decode(path).size
    assert size == (SIZE if orientation < 5 else SIZE[::-1])
    assert cut(export(asset("turned.png", region(10, 12, 40, 20, "anna"), size=size))).code == 0
    same(tmp_path / "crops", {"anna/turned.png": pixels(path, 10, 12, 50, 32)})


@pytest.mark.parametrize("orientation", range(5, 9))
def test_a_box_on_a_photograph_shown_as_it_is_stored_turns_with_it(cut, pictures, tmp_path, orientation):
    turned(pictures / "turned.png", orientation, 10, 12, 50, 32)
    assert cut(export(asset("turned.png", region(10, 12, 40, 20, "anna"), size=SIZE))).code == 0
    (crop,) = crops(tmp_path / "crops").values()
    assert crop.shape == (40, 20, 3)
    assert (crop == 255).all()


@pytest.mark.parametrize("orientation", range(5, 9))
@pytest.mark.parametrize("shown", [(40, 30), (160, 120), (41, 30), (40, 36)])
def test_a_box_on_a_photograph_shown_as_it_is_stored_but_smaller_is_scaled_and_turned(
    cut, pictures, tmp_path, orientation, shown
):
    turned(pictures / "turned.png", orientation, 8, 12, 48, 36)
    across, down = shown[0] / SIZE[0], shown[1] / SIZE[1]
    box = region(8 * across, 12 * down, 40 * across, 24 * down, "anna")
    assert cut(export(asset("turned.png", box, size=shown))).code == 0
    (crop,) = crops(tmp_path / "crops").values()
    assert crop.shape == (40, 24, 3)
    assert (crop == 255).all()


@pytest.mark.parametrize(
    ("shown", "size", "orientation", "expected"),
    [
        ((800, 600), (3000, 4000), 6, (2250, 500, 2750, 1000)),
        ((600, 800), (3000, 4000), 6, (500, 250, 1000, 750)),
        ((800, 600), (4000, 3000), 1, (500, 250, 1000, 750)),
        ((800, 600), (4000, 3000), 3, (500, 250, 1000, 750)),
        ((600, 600), (3000, 4000), 6, (500, 1000 / 3, 1000, 1000)),
        ((800, 600), (3000, 3000), 6, (375, 250, 750, 750)),
        (None, (3000, 4000), 6, (100, 50, 200, 150)),
    ],
)
def test_what_was_shown_smaller_is_told_by_the_ratio_of_its_sides(shown, size, orientation, expected):
    assert pixels_of((100, 50, 200, 150), shown, size, orientation) == pytest.approx(expected)


def test_a_colour_profile_is_applied_once(cut, pictures, tmp_path):
    path = photograph(pictures / "wide.png", 4, icc_profile=P3)
    assert not np.array_equal(pixels(path, 0, 0, 20, 20), np.asarray(Image.open(path))[:20, :20])
    assert cut(export(asset("wide.png", region(0, 0, 20, 20, "anna")))).code == 0
    crop = tmp_path / "crops" / "anna" / "wide.png"
    assert np.array_equal(np.asarray(decode(crop)), pixels(path, 0, 0, 20, 20))


@pytest.mark.parametrize(
    ("options", "box", "expected"),
    [
        (("--margin", 0.2), (20, 20, 20, 10), (16, 18, 44, 32)),
        (("--margin", 0.5), (0, 50, 20, 10), (0, 45, 30, 60)),
        (("--square",), (20, 20, 20, 10), (20, 15, 40, 35)),
        (("--square",), (60, 0, 20, 10), (60, 0, 80, 20)),
        (("--square",), (0, 0, 70, 20), (0, 0, 70, 60)),
        (("--square", "--margin", 0.5), (70, 30, 10, 10), (60, 25, 80, 45)),
    ],
)
def test_a_region_grows_as_asked_and_stays_inside(cut, pictures, tmp_path, options, box, expected):
    assert cut(export(asset("x.png", region(*box, "anna"))), *options).code == 0
    same(tmp_path / "crops", {"anna/x.png": pixels(pictures / "x.png", *expected)})


@pytest.mark.parametrize("margin", ["-0.1", "nan", "inf", "11"])
def test_a_margin_that_cannot_be_is_one_line(cut, margin):
    done = cut(export(asset("x.png", region(0, 0, 20, 20, "anna"))), f"--margin={margin}")
    assert done.code == 2
    assert "from 0 to 10" in done.error()


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
