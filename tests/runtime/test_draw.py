"""`--draw`: where pictures and videos go, each there whole or not at all."""

import numpy as np
import pytest
from PIL import Image

import clips
from drawings import draw, frames, into, names, of_camera, of_image, of_video
from facectl_runtime.errors import UsageError
from facectl_runtime.image import decode
from facectl_runtime.rows import Row
from facectl_runtime.sources import Source


def test_a_picture_is_drawn_into_a_picture(tmp_path, paint):
    source = paint("a.png", "green", (320, 240))
    before = source.read_bytes()
    draw([of_image(source)], tmp_path / "new" / "out.jpg")
    with Image.open(tmp_path / "new" / "out.jpg") as picture:
        assert picture.format == "JPEG"
        pixels = np.asarray(picture, int)
    assert np.abs(pixels[:100] - (0, 255, 0)).max() <= 3
    assert np.abs(pixels[-20:, :100] - (0, 255, 0)).max() > 100
    assert source.read_bytes() == before
    assert names(tmp_path / "new") == ["out.jpg"]


def test_a_folder_takes_every_source_under_a_name_of_its_own(tmp_path, paint):
    video = clips.write_clip(tmp_path / "clip.mkv", ["red", "green"])
    images = [
        paint(f"in/{name}") for name in ("dog/1.jpg", "cat/1.jpg", "cat/1.png", "bird/1.webp", "b/1.bmp", "b/2.gif")
    ]
    again = of_image(images[1])
    missing = Source("missing.jpg", None, "is not there"), Row("missing.jpg", error="is not there")
    draw([*map(of_image, images), again, *of_video(video), missing], tmp_path / "out")
    assert names(tmp_path / "out") == sorted(
        ["1.jpg", "cat-1.jpg", "1.png", "bird-1.jpg", "b-1.jpg", "2.jpg", "cat-1-2.jpg", "clip.mp4"]
    )
    assert decode(tmp_path / "out" / "1.png").size == (20, 10)
    assert len(frames(tmp_path / "out" / "clip.mp4")) == 2


def test_what_is_there_stays_unless_it_is_to_be_replaced(tmp_path, paint):
    out, folder = tmp_path / "out.png", tmp_path / "folder"
    out.write_text("mine")
    folder.mkdir()
    (folder / "a.jpg").write_text("mine")
    (folder / "b.jpg").write_text("mine")
    for there in (out, folder):
        with pytest.raises(UsageError, match=r"already there; .*--force"):
            into(there)
    given = [of_image(paint("a.jpg"))]
    draw(given, out, force=True)
    draw(given, folder, force=True)
    assert decode(out).size == decode(folder / "a.jpg").size == (20, 10)
    assert (folder / "b.jpg").read_text() == "mine"


def test_a_source_is_never_drawn_over(paint):
    one = paint("in/a.png")
    before = one.read_bytes()
    for out in (one, one.parent):
        with pytest.raises(UsageError, match=r"a\.png is there, and stays as it is"):
            draw([of_image(one)], out, force=True)
    assert one.read_bytes() == before
    assert names(one.parent) == ["a.png"]


@pytest.mark.parametrize("name", ["out.avi", "out.webm", "out.gif", "out.HEIC", "out.pdf"])
def test_suffixes_that_are_not_written_are_refused(tmp_path, name):
    with pytest.raises(UsageError, match=r"is not written; give a name that ends in \.jpg, .*\.mp4.*, or a folder"):
        into(tmp_path / name)


def test_a_folder_that_is_there_may_have_a_dot_in_its_name(tmp_path, paint):
    (tmp_path / "v1.2").mkdir()
    draw([of_image(paint("a.png"))], tmp_path / "v1.2")
    assert names(tmp_path / "v1.2") == ["a.png"]


def test_one_file_takes_one_source(tmp_path, paint):
    image, video = of_image(paint("a.png")), of_video(clips.write_clip(tmp_path / "clip.mp4", ["red"] * 3))
    other = of_video(clips.write_clip(tmp_path / "other.mp4", ["red"] * 3))
    for given, out, said in (
        ([image, of_image(paint("b.png"))], "out.jpg", r"b\.png comes too; give a folder"),
        ([*video, *other], "out.mp4", r"other\.mp4 comes too; give a folder"),
        (video, "out2.jpg", r"clip\.mp4 is a video; give a name that ends in \.mp4, or a folder"),
        ([image], "out2.mp4", r"a\.png is a picture; give a name that ends in \.jpg, or a folder"),
        ([of_camera("0", 1), of_camera("1", 1)], "out3.mp4", "1 comes too; give a folder"),
    ):
        with pytest.raises(UsageError, match=said):
            draw(given, tmp_path / out)


def test_a_file_or_a_folder_in_the_way_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder.mp4").mkdir()
    for out in ("file", "file/out", "file/out.jpg", "folder.mp4"):
        with pytest.raises(UsageError, match=r"give|another"):
            into(tmp_path / out, force=True)
    assert (tmp_path / "file").read_text() == "mine"
