"""Videos with answers on them: every frame at its time, and whole where it ends early or the disk is full."""

import sys
from contextlib import closing

import av
import numpy as np
import pytest
from PIL import Image

import clips
from drawings import answer, draw, frames, into, names, of_camera, of_image, of_video
from facectl_runtime.draw import drawn, recording
from facectl_runtime.errors import MissingExtraError, UsageError
from facectl_runtime.image import decode
from facectl_runtime.rows import Row
from facectl_runtime.sources import Source
from facectl_runtime.video.selection import Selection
from helpers import no_file_over


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
