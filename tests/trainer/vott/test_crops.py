"""Crops of what was tagged in VoTT: their pixels are the region's, and a box that cannot be cut is told."""

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facectl_runtime.image import decode
from facectl_trainer.data.crops import pixels_of
from vott_documents import SIZE, asset, crops, export, frame, frames, photograph, pixels, region, same, why

P3 = Image.open(Path(__file__).parents[3] / "docs" / "vectors" / "p3.png").info["icc_profile"]
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
