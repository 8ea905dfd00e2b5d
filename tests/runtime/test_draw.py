"""`--draw`: answers drawn on pictures and videos, each there whole or not at all."""

import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

import clips
from facectl_runtime.draw import Drawing, drawn, font, recording
from facectl_runtime.draw.picture import draw_answer
from facectl_runtime.errors import MissingExtraError, UsageError
from facectl_runtime.image import decode
from facectl_runtime.rows import Ranked, Row
from facectl_runtime.sources import Source
from facectl_runtime.video.clip import clip
from facectl_runtime.video.selection import ALL, Selection
from helpers import no_file_over


def answer(label: str | None = None, *top: tuple[str, float], name: str = "x", **more) -> Row:
    ranked = tuple(Ranked(*pair) for pair in top or ((label or "", 0.75),))
    return Row(name, label=label or ranked[0].label, probability=ranked[0].probability, top=ranked, **more)


def drawn_on(row: Row, size=(320, 240), colour="white") -> np.ndarray:
    """Give the pixels of a flat picture with an answer on it: int, height x width x 3."""
    return np.asarray(draw_answer(Image.new("RGB", size, colour), row), int)


def touched(pixels: np.ndarray, colour=(255, 255, 255)) -> tuple[int, int]:
    """Give how many columns and rows of a flat picture were drawn in."""
    changed = (pixels != colour).any(axis=2)
    return int(changed.any(axis=0).sum()), int(changed.any(axis=1).sum())


def of_image(path: Path) -> tuple[Source, Row]:
    return Source(str(path), path), answer("red", name=str(path))


def of_video(path: Path, selection: Selection = ALL) -> list[tuple[Source, Row]]:
    return [(source, answer("red", name=source.name)) for source in clip(path, selection)]


def of_camera(name: str, arrived: float, colour: str = "red", size=(64, 48)) -> tuple[Source, Row]:
    picture = Image.new("RGB", size, colour)
    at = datetime(2026, 11, 26, 19, 5, tzinfo=UTC) + timedelta(seconds=arrived)
    shown = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return Source(name, lambda: picture, arrived=arrived), answer("red", name=name, at=shown)


def into(out: Path, **options) -> Drawing:
    return Drawing(out, **{"say": print, **options})


def draw(given, out: Path, **options) -> None:
    given = list(given)
    assert list(drawn(iter(given), into(out, **options))) == given


def frames(path: Path) -> list[tuple[float, np.ndarray]]:
    """Read a video: (seconds, int pixels) a frame."""
    with av.open(str(path)) as file:
        return [(frame.time, frame.to_ndarray(format="rgb24").astype(int)) for frame in file.decode(video=0)]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# The picture


@pytest.mark.parametrize("colour", ["white", "black", "red", "#808080"])
def test_letters_stand_out_on_any_ground(colour):
    plain = np.asarray(Image.new("RGB", (320, 240), colour), int)
    pixels = drawn_on(answer("elephant"), colour=colour)
    assert (pixels[:120] == plain[:120]).all()
    panel = pixels[-20:, :150].mean(axis=2)
    assert np.median(panel) < 90
    assert panel.max() > 240


@pytest.mark.parametrize("size", [(1, 1), (2, 300), (12, 8), (64, 48), (300, 200), (200, 900), (2000, 100)])
@pytest.mark.parametrize("label", ["cat", "long " * 60, "犬" * 30, "", "line\nline"])
def test_every_size_and_label_fits(size, label):
    picture = Image.new("RGB", size, "white")
    row = answer(label or "x", (label, 0.5), *((f"other {number}", 0.1) for number in range(5)))
    done = draw_answer(picture, row)
    assert done.size == size
    assert picture.getcolors() == [(size[0] * size[1], (255, 255, 255))]
    assert done.getcolors(size[0] * size[1]) != picture.getcolors()


def test_letters_grow_with_the_picture():
    small, large = (touched(drawn_on(answer("cat"), size))[1] for size in ((400, 300), (1600, 1200)))
    assert large == pytest.approx(4 * small, rel=0.1)


def test_each_label_has_a_line_as_far_as_there_is_room():
    top = [(f"label {number}", 0.2) for number in range(12)]
    rows = [touched(drawn_on(answer(None, *top[:count])))[1] for count in (1, 2, 3, 12)]
    assert rows[1] == 2 * rows[0]
    assert rows[2] == 3 * rows[0]
    assert 3 * rows[0] < rows[3] <= 0.6 * 240


def test_a_label_that_is_too_long_is_cut_before_its_probability():
    long = "Cavalier King Charles spaniel, tricolour, seen from the side at dusk"
    pixels = drawn_on(answer(long, (long, 0.73)))
    assert (drawn_on(answer(f"{long} again", (f"{long} again", 0.73))) == pixels).all()
    assert (drawn_on(answer(long, (long, 0.12)))[:, 280:] != pixels[:, 280:]).any()
    assert touched(pixels)[0] == 320


def test_the_probability_is_a_bar_too():
    def bar(probability: float) -> int:
        pixels = drawn_on(answer("cat", ("cat", probability)))
        return int((pixels[..., 2] - pixels[..., 0] > 60).any(axis=0).sum())

    assert bar(0.8) == pytest.approx(2 * bar(0.4), abs=2)


def test_unknown_says_what_it_would_have_been():
    one, two = drawn_on(answer("unknown", ("cat", 0.4))), drawn_on(answer("cat", ("cat", 0.4)))
    assert touched(one)[1] == 2 * touched(two)[1]
    amber = (one[..., 0] > 200) & (one[..., 2] < 120)
    assert amber.sum() > 50
    assert not ((two[..., 0] > 200) & (two[..., 2] < 120)).any()


def test_an_error_is_drawn():
    assert touched(drawn_on(Row("x", error="no face was found")))[1] > 10


def test_an_answer_without_a_label_leaves_the_picture_as_it_is():
    assert touched(drawn_on(Row("x"))) == (0, 0)


def test_characters_that_no_font_has_become_question_marks(monkeypatch):
    monkeypatch.setattr(font, "_NAMES", ())
    font.fitting.cache_clear()
    assert (drawn_on(answer("L\u00f6we")) == drawn_on(answer("L?we"))).all()
    assert (drawn_on(answer("Lowe")) != drawn_on(answer("L?we"))).any()
    font.fitting.cache_clear()


# Where it goes


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


# Videos


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".MOV"])
def test_a_video_keeps_its_frames_and_their_times(tmp_path, suffix):
    times = [0, 0.04, 0.1, 0.5, 0.52, 1.25]
    source = clips.write_clip(tmp_path / "in.mp4", clips.numbered(6, (320, 240), hold=2), times=times)
    out = tmp_path / f"out{suffix}"
    draw(of_video(source), out)
    with av.open(str(out)) as file:
        stream = file.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert file.duration / 1e6 == pytest.approx(1.25 + 0.73, abs=0.01)
    got = frames(out)
    assert [time for time, _ in got] == pytest.approx(times, abs=0.001)
    assert [clips.number_of(pixels.astype(np.uint8)) for _, pixels in got] == list(range(6))
    for (_, pixels), colour in zip(got, ("red", "red", "green", "green", "blue", "blue"), strict=True):
        assert np.abs(pixels[100, 200] - clips.RGB[colour]).max() < 10
        assert np.median(pixels[-20:, :100]) < 80


def test_a_part_of_a_video_begins_at_once(tmp_path):
    source = clips.write_clip(tmp_path / "in.mp4", ["red"] * 20, fps=10)
    draw(of_video(source, Selection(start=1.0, every_seconds=0.5)), tmp_path / "out.mp4")
    assert [time for time, _ in frames(tmp_path / "out.mp4")] == pytest.approx([0, 0.5], abs=0.001)


def test_a_single_frame_is_a_video_too(tmp_path):
    draw([of_camera("0", 100.0, size=(1, 1))], tmp_path / "out.mp4")
    assert len(frames(tmp_path / "out.mp4")) == 1


def test_odd_sizes_and_a_change_of_size(tmp_path):
    sizes = [(101, 75), (101, 75), (75, 300), (1000, 40)]
    draw([of_camera("0", 5 + i / 10, "white", size) for i, size in enumerate(sizes)], tmp_path / "out.mp4")
    got = frames(tmp_path / "out.mp4")
    assert {pixels.shape for _, pixels in got} == {(74, 100, 3)}
    assert got[2][1][20, 50].min() > 230
    assert got[2][1][20, 5].max() < 20  # beside the upright picture


def test_cameras_in_turn_have_a_video_each(tmp_path):
    given = [
        of_camera(name, 10 + second / 5, colour)
        for second in range(5)
        for name, colour in (("0", "red"), ("rtsp://cam/a", "blue"))
    ]
    draw(given, tmp_path / "out")
    assert names(tmp_path / "out") == ["0-20261126T190510Z.mp4", "rtsp-cam-a-20261126T190510Z.mp4"]
    for name, colour in zip(names(tmp_path / "out"), ((255, 0, 0), (0, 0, 255)), strict=True):
        got = frames(tmp_path / "out" / name)
        assert [time for time, _ in got] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8], abs=0.001)
        assert np.abs(got[4][1][5, 32] - colour).max() < 10


def test_a_camera_begins_a_new_video_every_ten_minutes(tmp_path):
    out = tmp_path / "out"
    drawing = into(out)
    for minute in range(0, 25, 2):
        drawing.add(*of_camera("0", 60 * minute + 7.5))
    assert len([name for name in names(out) if name.endswith(".mp4") and not name.startswith(".")]) == 2
    for source, row in (of_camera("1", 60.0), of_camera("1", 59.0)):
        drawing.add(source, row)
    drawing.close()
    assert names(out) == [
        "0-20261126T190507Z.mp4",
        "0-20261126T191507Z.mp4",
        "0-20261126T192507Z.mp4",
        "1-20261126T190600Z.mp4",
    ]
    for name, count in zip(names(out), (5, 5, 3, 2), strict=True):
        assert len(frames(out / name)) == count
    assert [time for time, _ in frames(out / names(out)[1])] == pytest.approx([0, 120, 240, 360, 480], abs=0.001)


def test_of_cameras_of_like_names_none_removes_the_others_video(tmp_path):
    draw([of_camera(name, second / 5) for second in range(3) for name in ("a:b", "a/b")], tmp_path / "out")
    assert [len(frames(tmp_path / "out" / name)) for name in names(tmp_path / "out")] == [3, 3]


def test_what_a_killed_process_left_of_a_camera_is_removed(tmp_path):
    left = tmp_path / "out" / ".0.mp4.facectl.abc"
    left.mkdir(parents=True)
    (left / "0-20251126T190507Z.mp4").write_bytes(b"half")
    draw([of_camera("0", 1.0)], tmp_path / "out", force=True)
    assert names(tmp_path / "out") == ["0-20261126T190501Z.mp4"]


def test_frames_of_one_moment_follow_one_another(tmp_path):
    draw([of_camera("0", 7.0) for _ in range(3)], tmp_path / "out.mkv")
    times = [time for time, _ in frames(tmp_path / "out.mkv")]
    assert times == sorted(set(times))
    assert len(times) == 3


def test_the_same_video_twice_in_a_folder_is_two(tmp_path):
    one = of_video(clips.write_clip(tmp_path / "a.mp4", ["red"] * 3))
    draw([*one, *one], tmp_path / "out")
    assert [len(frames(tmp_path / "out" / name)) for name in names(tmp_path / "out")] == [3, 3]


@pytest.mark.parametrize("how", ["closed", "failed"])
def test_what_ends_early_leaves_a_whole_video(tmp_path, how):
    out = tmp_path / "out" / "out.mp4"
    out.parent.mkdir()
    out.write_text("former")

    def answers():
        yield from (of_camera("0", second / 10) for second in range(7))
        raise KeyboardInterrupt

    with closing(drawn(answers(), into(out, force=True))) as given:
        for _ in range(7):
            next(given)
        assert out.read_text() == "former"
        if how == "failed":
            with pytest.raises(KeyboardInterrupt):
                next(given)
    assert [time for time, _ in frames(out)] == pytest.approx([second / 10 for second in range(7)], abs=0.001)
    assert names(out.parent) == ["out.mp4"]


def noisy(second: int) -> tuple[Source, Row]:
    """Give a frame of a camera that a video takes some 50 kB for."""
    noise = Image.effect_noise((320, 240), 90).convert("RGB")
    source, row = of_camera("0", float(second))
    return Source("0", lambda: noise, arrived=source.arrived), row


def test_a_disk_that_fills_up_ends_no_camera(tmp_path, monkeypatch):
    out, said = tmp_path / "out", []
    monkeypatch.setattr(recording, "_RETRY", 0.0)
    drawing = into(out, say=said.append)
    with no_file_over(100_000):
        for second in range(40):
            drawing.add(*noisy(second))
    assert [name for name in names(out) if not name.startswith(".")] == []
    assert len(said) == 1
    for second in (601, 602, 1202):  # what was begun on the full disk is finished, and another begun
        drawing.add(*of_camera("0", float(second)))
    drawing.add(*of_camera("0", 1900.0))
    drawing.close()
    assert said == [
        f"--draw {out}: the video of 0 cannot be written (File too large); answers go on, and it is tried again",
        f"--draw {out}: 0 can be written again",
    ]
    assert "0-20261126T192502Z.mp4" in names(out)
    assert all(frames(out / name) for name in names(out))


def test_it_is_not_tried_at_every_frame(tmp_path):
    said = []
    drawing = into(tmp_path / "out", say=said.append)
    with no_file_over(100_000):
        for second in range(40):
            drawing.add(*noisy(second))
    drawing.add(*noisy(40))
    assert names(tmp_path / "out") == []
    drawing.close()
    assert len(said) == 1


@pytest.mark.parametrize("name", ["out.mp4", "out.png"])
def test_a_full_disk_is_an_error_and_leaves_what_was_there(tmp_path, name):
    out = tmp_path / "out" / name
    out.parent.mkdir()
    out.write_text("former")
    noise = Image.effect_noise((200, 200), 90).convert("RGB")
    live = {"arrived": 1.0} if name == "out.mp4" else {}
    with no_file_over(1000), pytest.raises(UsageError, match=r"cannot be written \(.*\); give another place"):
        draw([(Source("0", lambda: noise, **live), answer("red"))], out, force=True)
    assert out.read_text() == "former"
    assert names(out.parent) == [name]


def test_few_frames_wait_in_memory(tmp_path):
    waiting = []
    given = [of_camera("0", second / 30, size=(320, 240)) for second in range(40)]
    drawing = into(tmp_path / "out.mp4")
    for number, (source, row) in enumerate(given):
        drawing.add(source, row)
        video = drawing._live["0"]
        waiting.append(number + 1 - video._stream.frames)
    drawing.close()
    assert len(frames(tmp_path / "out.mp4")) == 40
    assert max(waiting) <= 8


def test_without_pyav_a_video_is_refused_at_once_and_pictures_are_drawn(tmp_path, paint, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match=r"needs PyAV; install it with: pip install 'facectl\[camera\]'"):
        into(tmp_path / "out.mp4")
    draw([of_image(paint("a.png"))], tmp_path / "out.jpg")
    assert decode(tmp_path / "out.jpg").size == (20, 10)
