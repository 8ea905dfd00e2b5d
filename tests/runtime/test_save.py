"""`--save`: pictures of chosen labels, kept in bounds, beside whatever else lies there."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import clips
from facectl_runtime import save
from facectl_runtime.errors import ImageError, UsageError
from facectl_runtime.image import decode
from facectl_runtime.rows import Row
from facectl_runtime.save import Store, parse_size, saved
from facectl_runtime.sources import Source
from facectl_runtime.video.clip import clip
from facectl_runtime.video.selection import ALL
from helpers import no_file_over

LABELS = ("red", "green", "a/b")


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def store(tmp_path, said):
    """Give a function that opens the folder `kept`, as a run of its own does."""

    def open_again(*labels: str, **options) -> Store:
        return Store(tmp_path / "kept", LABELS, labels, **{"say": said.append, **options})

    return open_again


def frame(second: int, label: str = "red", colour: str = "red", camera: str = "rtsp://u:***@cam:554/a") -> tuple:
    picture = Image.new("RGB", (64, 48), colour)
    at = f"2026-11-26T19:05:{second:02}.123Z"
    return Source(camera, lambda: picture, frame=second, arrived=float(second)), Row(camera, at=at, label=label)


def image(path: Path, label: str = "red") -> tuple:
    return Source(str(path), path), Row(str(path), label=label)


def fill(opened: Store, seconds) -> None:
    """Keep frames, each file older than the next by a second."""
    for second in seconds:
        before = names(opened._folder)
        opened.keep(*frame(second))
        for name in names(opened._folder) - before:
            os.utime(opened._folder / name, (second, second))


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def seconds(folder: Path) -> list[int]:
    return sorted(int(Path(name).name[13:15]) for name in names(folder) if ".facectl." in name)


def test_frames_of_a_camera_are_kept_as_jpeg_by_label_and_time(store, tmp_path):
    given = [frame(1), frame(2, "a/b", "blue"), frame(3, "unknown")]
    assert list(saved(iter(given), store())) == given
    assert names(tmp_path / "kept") == {
        "red/20261126T190501.123Z-rtsp-u-@cam-554-a.facectl.jpg",
        "a%2Fb/20261126T190502.123Z-rtsp-u-@cam-554-a.facectl.jpg",
        "unknown/20261126T190503.123Z-rtsp-u-@cam-554-a.facectl.jpg",
    }
    with Image.open(next(tmp_path.glob("kept/a%2Fb/*"))) as kept:
        assert kept.format == "JPEG"
        assert np.abs(np.asarray(kept, int) - (0, 0, 255)).max() <= 3


def test_files_are_kept_as_they_are(store, tmp_path, paint, colours):
    jpg = paint("DSC 1.JPG")
    bare = paint("x.png").rename(tmp_path / "bare")
    opened = store()
    opened.keep(*image(jpg))
    opened.keep(*image(bare))
    opened.keep(Source("-", colours.png("red")), Row("-", label="red"))
    kept = tmp_path / "kept" / "red"
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == {
        "DSC 1.facectl.JPG": jpg.read_bytes(),
        "bare.facectl.png": bare.read_bytes(),
        "picture.facectl.png": colours.png("red"),
    }


def test_frames_of_a_video_are_named_by_their_times(store, tmp_path):
    path = clips.write_clip(tmp_path / "door.mp4", ["red", "green", "red"], fps=2)
    opened = store("red")
    for source, label in zip(clip(path, ALL), ("red", "green", "red"), strict=True):
        opened.keep(source, Row(source.name, source.frame, source.time, label=label))
    assert names(tmp_path / "kept") == {
        "red/door-000000.000s.facectl.jpg",
        "red/door-000001.000s.facectl.jpg",
    }
    assert np.abs(np.asarray(decode(tmp_path / "kept/red/door-000001.000s.facectl.jpg"), int)[24, 32, 0] - 255) < 8


def test_nothing_is_overwritten(store, tmp_path, paint):
    first = paint("kept/red/a.facectl.png", "blue").read_bytes()
    for colour in ("red", "green"):
        store().keep(*image(paint("a.png", colour)))
    kept = tmp_path / "kept" / "red"
    assert (kept / "a.facectl.png").read_bytes() == first
    assert decode(kept / "a-2.facectl.png").getpixel((5, 5)) == (255, 0, 0)
    assert decode(kept / "a-3.facectl.png").getpixel((5, 5)) == (0, 255, 0)


def test_the_number_holds_over_former_runs_and_other_files_stay(store, tmp_path, said):
    fill(store(most=5), range(4))
    kept = tmp_path / "kept"
    for name in ("red/mine.jpg", "mine.facectl.jpg", "red/deeper/a.facectl.jpg", "red/notes.facectl.txt"):
        (kept / name).parent.mkdir(exist_ok=True)
        (kept / name).write_bytes(b"mine")
        os.utime(kept / name, (0, 0))
    (kept / frame_name(kept, 1)).rename(kept / "red" / "chosen.jpg")
    (kept / "red" / ".cut-off.facectl.jpg").write_bytes(b"killed while this was written")
    os.utime(kept / "red" / ".cut-off.facectl.jpg", (0, 0))
    fill(store(most=5), range(10, 14))
    others = {"red/mine.jpg", "mine.facectl.jpg", "red/deeper/a.facectl.jpg", "red/notes.facectl.txt", "red/chosen.jpg"}
    ours = {name for name in names(kept) if name not in others}
    assert others < names(kept)
    assert sorted(Path(name).name[13:15] for name in ours) == ["03", "10", "11", "12", "13"]
    assert [line.split("; ")[1] for line in said] == ["from here on the oldest are removed (--save-most, --save-bytes)"]


def frame_name(kept: Path, second: int) -> str:
    return next(name for name in names(kept) if f"T1905{second:02}" in name)


def test_the_bytes_hold_too(store, tmp_path):
    fill(store(), range(1))
    size = next((tmp_path / "kept" / "red").iterdir()).stat().st_size
    fill(store(most_bytes=int(3.5 * size)), range(1, 8))
    assert seconds(tmp_path / "kept") == [5, 6, 7]


def test_two_at_once_keep_to_the_bounds_together(store, tmp_path):
    fill(store(), range(1))
    size = next((tmp_path / "kept" / "red").iterdir()).stat().st_size
    for bound in ({"most": 10}, {"most_bytes": 10 * size}):
        both = store(**bound), store(**bound)
        for second in range(1, 41):
            fill(both[second % 2], [second])
            assert len(seconds(tmp_path / "kept")) <= 11
        assert len(seconds(tmp_path / "kept")) >= 9
        assert min(seconds(tmp_path / "kept")) >= 30
        fill(both[0], range(41, 60))  # the other has ended
        assert min(seconds(tmp_path / "kept")) >= 49


@pytest.mark.parametrize("links", [True, False])
def test_a_name_that_comes_meanwhile_is_not_taken_from_its_owner(store, tmp_path, monkeypatch, links):
    """Another process keeps a picture of the same name while this one writes it."""
    write = Path.write_bytes

    def overtaken(path, data):
        write(path, data)
        if path.name.startswith("."):
            write(path.with_name(path.name.partition("-")[2]), b"the other's")

    monkeypatch.setattr(Path, "write_bytes", overtaken)
    if not links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(PermissionError(1, "no links here")))
    fill(store(), range(1))
    first, second = sorted((tmp_path / "kept" / "red").iterdir(), key=lambda path: len(path.name))
    assert first.read_bytes() == b"the other's"
    assert second.stem.removesuffix(".facectl").endswith("-2")
    assert second.stat().st_size > 500


def test_a_folder_is_seldom_listed(store, monkeypatch):
    opened, listed = store(most=500), []
    counted = Store._counted
    monkeypatch.setattr(Store, "_counted", lambda self: listed.append(1) or counted(self))
    fill(opened, range(50))
    assert len(listed) == 9


def test_what_was_deleted_makes_room(store, tmp_path):
    opened = store(most=5)
    fill(opened, range(5))
    for second in (3, 4):
        (tmp_path / "kept" / frame_name(tmp_path / "kept", second)).unlink()
    fill(opened, (10, 11))
    assert seconds(tmp_path / "kept") == [0, 1, 2, 10, 11]


def test_a_picture_over_the_bound_costs_no_other(store, tmp_path, said):
    opened = store(most_bytes=2000)
    fill(opened, range(1))
    noise = tmp_path / "noise.png"
    Image.effect_noise((100, 100), 90).save(noise)
    for _ in range(2):
        opened.keep(*image(noise))
    assert seconds(tmp_path / "kept") == [0]
    assert len(said) == 1
    assert f"{noise.stat().st_size:,} bytes is over --save-bytes" in said[0]


def test_chosen_labels_alone(store, tmp_path):
    opened = store("unknown", "green")
    for second, label in enumerate(("red", "unknown", "green", None)):
        opened.keep(*frame(second, label))
    assert seconds(tmp_path / "kept") == [1, 2]


def test_a_label_that_the_model_has_not_is_refused(store, tmp_path):
    with pytest.raises(UsageError, match=r"--save-label 'grene': no answer has this label; did you mean 'green'\?"):
        store("red", "grene")
    assert not (tmp_path / "kept").exists()


def test_a_place_that_is_no_folder_is_refused(store, tmp_path):
    (tmp_path / "kept").write_text("a file")
    with pytest.raises(UsageError, match=r"--save .*kept: cannot be written \(File exists\); give another place"):
        store()
    assert (tmp_path / "kept").read_text() == "a file"


def test_a_full_disk_is_refused_at_the_start(store):
    with no_file_over(100), pytest.raises(UsageError, match="cannot be written"):
        store()


def test_a_disk_that_fills_up_is_said_once_and_tried_again(store, tmp_path, said, monkeypatch):
    opened = store()
    with no_file_over(100):
        given = [frame(1), frame(2), frame(3)]
        assert list(saved(given, opened)) == given
        monkeypatch.setattr(save, "_RETRY", 0.0)
        opened.keep(*frame(4))
    assert names(tmp_path / "kept") == set()
    fill(opened, (5, 6))
    assert seconds(tmp_path / "kept") == [5, 6]
    kept = tmp_path / "kept"
    assert said == [
        f"--save {kept}: cannot be written (File too large); answers go on, and it is tried again",
        f"--save {kept}: can be written again",
    ]


def test_it_is_not_tried_at_every_frame(store, tmp_path):
    opened = store()
    with no_file_over(100):
        opened.keep(*frame(1))
    opened.keep(*frame(2))  # at once, and not yet tried again
    assert names(tmp_path / "kept") == set()


def test_what_cannot_be_read_again_is_passed_over(store, tmp_path, said, paint):
    def lost() -> Image.Image:
        raise ImageError("the frame is gone")

    gone = paint("gone.png")
    given = [(Source("0", lost), Row("0", label="red")), image(gone), (Source("x", None), Row("x", error="missing"))]
    gone.unlink()
    assert list(saved(given, store())) == given
    assert names(tmp_path / "kept") == set()
    assert said == []


def test_what_lies_there_already_is_not_kept_again(store, tmp_path, paint):
    store().keep(*image(paint("kept/green/a.png")))
    assert names(tmp_path / "kept") == {"green/a.png"}


def test_an_array_is_kept_too(store, tmp_path):
    pixels = np.full((48, 64, 3), (0, 255, 0), np.uint8)
    store().keep(Source("array", lambda: pixels), Row("array", label="green"))
    kept = Image.open(io.BytesIO((tmp_path / "kept/green/array.facectl.jpg").read_bytes()))
    assert kept.size == (64, 48)


@pytest.mark.parametrize(
    ("text", "size"), [("500MB", 500_000_000), ("1.5 GB", 1_500_000_000), ("100kB", 100_000), ("2tb", 2 * 10**12)]
)
def test_sizes(text, size):
    assert parse_size("--save-bytes", text) == size


@pytest.mark.parametrize("text", ["", "500", "0MB", "-1GB", "1XB", "GB", "1e3GB"])
def test_no_sizes(text):
    with pytest.raises(UsageError, match=r"--save-bytes .* is not a size; use one such as 500MB, 2GB or 100kB"):
        parse_size("--save-bytes", text)
