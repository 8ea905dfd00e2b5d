"""Video files: each frame with its number and its time, from where to where one likes; and files that are none."""

import os
import random
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from clips import clip_bytes, cut, joined, jpeg, number_of, numbered, picture, write_clip
from facectl_runtime.errors import MissingExtraError
from facectl_runtime.sources import Source, expand
from facectl_runtime.video.clip import clip
from facectl_runtime.video.selection import Selection, parse_selection
from streams import serve

VP9 = {"crf": "10", "b": "0", "qmin": "0", "qmax": "63", "deadline": "realtime", "cpu-used": "8"}
KINDS = {
    "mp4": {"bframes": 3},
    "mov": {},
    "mkv": {"bframes": 3},
    "avi": {"codec": "mpeg4"},
    "ts": {"bframes": 3},
    "m2ts": {},
    "mpg": {"codec": "mpeg2video"},
    "flv": {"bframes": 3},
    "wmv": {"codec": "wmv2"},
    "webm": {"codec": "libvpx-vp9", "coder": VP9},
}
FRAMES = numbered(75)
"""Two and a half seconds, with a number in each picture."""


@pytest.fixture(scope="module", params=KINDS)
def film(request, tmp_path_factory) -> Path:
    """Make a video of each kind that has a key frame a second."""
    path = tmp_path_factory.mktemp("film") / f"film.{request.param}"
    return write_clip(path, FRAMES, gop=30, **KINDS[request.param])


def read(path: Path, every=None, start=None, end=None) -> list[Source]:
    return list(clip(path, parse_selection(every, start, end)))


def seen(source: Source) -> int:
    """Read the number in the picture itself."""
    return number_of(np.asarray(source.data()))


def errors(sources: list[Source]) -> list[str]:
    return [source.error for source in sources if source.error]


def only_error(path: Path) -> str:
    (source,) = read(path)
    assert source.data is None
    assert source.name == str(path)
    assert len(source.error) < 300
    return source.error


# Which frames, and when


def test_every_frame_comes_in_its_order_with_its_number_and_time(film):
    sources = read(film)
    assert [seen(source) for source in sources] == list(range(75))
    assert [source.frame for source in sources] == list(range(75))
    assert [source.time for source in sources] == pytest.approx([number / 30 for number in range(75)], abs=0.001)
    assert {(source.name, source.error, source.arrived) for source in sources} == {(str(film), None, None)}


@pytest.mark.parametrize(
    ("start", "end", "first", "last"),
    [
        ("1.5", "1.71", 45, 51),
        ("0.02", "0.05", 1, 1),  # between the first two frames
        ("1.01", "1.05", 31, 31),
        ("0.97", "1.05", 30, 31),
        ("2.46", None, 74, 74),
        (None, "0.05", 0, 1),
    ],
)
def test_the_first_frame_is_the_first_at_or_after_the_start(film, start, end, first, last):
    sources = read(film, None, start, end)
    assert [seen(source) for source in sources] == list(range(first, last + 1))
    assert [source.time for source in sources] == pytest.approx([n / 30 for n in range(first, last + 1)], abs=0.001)
    assert all(source.frame is None or source.frame == seen(source) for source in sources)


def test_every_is_in_time_or_in_frames(film):
    assert [seen(source) for source in read(film, "0.5s")] == [0, 15, 30, 45, 60]
    assert [seen(source) for source in read(film, "20")] == [0, 20, 40, 60]
    assert [seen(source) for source in read(film, "20", "1.01")] == [31, 51, 71]


def test_a_start_after_the_last_frame_is_an_error_and_not_silence(film):
    (source,) = read(film, None, "2.49")
    assert "nothing from 2.49 s on: its last frame is at 2.46" in source.error
    (source,) = read(film, None, "1:00:00")
    assert "nothing from 3600 s on" in source.error


@pytest.mark.parametrize("kind", ["mp4", "mkv", "ts", "flv"])
def test_times_count_from_the_first_frame_wherever_a_recording_begins(tmp_path, kind):
    """As of a camera that has run for days, or a film cut from a longer one."""
    path = write_clip(tmp_path / f"v.{kind}", FRAMES, gop=30, start=5000, **KINDS[kind])
    sources = read(path)
    assert errors(sources) == []
    assert [source.time for source in sources] == pytest.approx([number / 30 for number in range(75)], abs=0.001)
    assert [seen(source) for source in read(path, None, "1.2", "1.3")] == [36, 37, 38]


def test_a_rate_that_varies_keeps_its_times(tmp_path):
    times = [0, 0.04, 0.3, 0.31, 1.0, 2.5, 2.54, 4.0]
    path = write_clip(tmp_path / "v.mp4", FRAMES[:8], times=times)
    assert [source.time for source in read(path)] == pytest.approx(times, abs=0.001)
    assert [seen(source) for source in read(path, None, "0.305", "2.52")] == [3, 4, 5]
    assert [seen(source) for source in read(path, "1s")] == [0, 4, 5, 7]


def test_a_last_frame_that_stands_for_long_is_no_loss(tmp_path):
    """As of a screen on which nothing moves."""
    path = write_clip(tmp_path / "v.mp4", FRAMES[:8], times=[0, 0.04, 0.08, 0.12, 0.16, 0.2, 0.24, 0.28], last=4)
    with av.open(str(path)) as file:
        assert file.duration == pytest.approx(4_280_000, abs=50_000)
    assert errors(read(path)) == []


@pytest.mark.parametrize("kind", KINDS)
def test_many_cores_decode_the_same(tmp_path, monkeypatch, kind):
    path = write_clip(tmp_path / f"v.{kind}", FRAMES, gop=30, **KINDS[kind])
    one = [(source.frame, source.time, seen(source)) for source in read(path)]
    monkeypatch.setattr("facectl_runtime.video.clip.usable_cores", lambda: 16)
    assert [(source.frame, source.time, seen(source)) for source in read(path)] == one


@pytest.mark.parametrize("fps", [24000 / 1001, 7.5, 120])
def test_any_rate_has_its_times(tmp_path, fps):
    path = write_clip(tmp_path / "v.mp4", FRAMES[:20], fps=fps)
    assert [source.time for source in read(path)] == pytest.approx([number / fps for number in range(20)], abs=0.001)


def test_what_has_no_times_goes_by_its_rate(tmp_path):
    path = tmp_path / "v.mjpeg"
    path.write_bytes(b"".join(map(jpeg, FRAMES[:50])))
    sources = read(path)
    assert [seen(source) for source in sources] == list(range(50))
    assert [source.time for source in sources] == pytest.approx([number / 25 for number in range(50)], abs=0.001)
    assert [seen(source) for source in read(path, None, "1", "1.1")] == [25, 26, 27]


def test_sound_beside_the_pictures_changes_nothing(tmp_path):
    """The sound goes on for a second longer, which is no loss of pictures."""
    path = tmp_path / "v.mkv"
    with av.open(str(path), "w") as file:
        pictures, sound = file.add_stream("libx264", rate=30), file.add_stream("aac", rate=48_000)
        pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
        for number, pixels in enumerate(FRAMES[:30]):
            frame = av.VideoFrame.from_ndarray(pixels).reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 30)
            file.mux(pictures.encode(frame))
        for number in range(94):
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            samples.sample_rate, samples.pts = 48_000, 1024 * number
            file.mux(sound.encode(samples))
        file.mux(pictures.encode())
        file.mux(sound.encode())
    sources = read(path)
    assert errors(sources) == []
    assert [seen(source) for source in sources] == list(range(30))


def test_the_first_of_several_pictures_side_by_side_is_taken(tmp_path):
    path = tmp_path / "v.mkv"
    with av.open(str(path), "w") as file:
        streams = [file.add_stream("ffv1", rate=30) for _ in range(2)]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = 64, 48, "bgr0"
        for stream, colour in zip(streams, ("red", "blue"), strict=True):
            frame = av.VideoFrame.from_ndarray(picture(colour)).reformat(format="bgr0")
            frame.pts, frame.time_base = 0, Fraction(1, 30)
            file.mux(stream.encode(frame))
            file.mux(stream.encode())
    (source,) = read(path)
    assert source.data().getpixel((5, 5)) == (255, 0, 0)


def test_a_frame_is_only_decoded_when_it_is_asked_for(tmp_path, monkeypatch):
    """And a picture is only made of those that are answered."""
    made = []
    monkeypatch.setattr("facectl_runtime.video.clip.to_picture", made.append)
    sources = clip(write_clip(tmp_path / "v.mp4", FRAMES), Selection())
    first = next(sources)
    assert made == []
    first.data()
    assert len(made) == 1


# What breaks off or is damaged


@pytest.mark.parametrize("kind", ["mp4", "mkv", "avi", "flv", "webm"])
def test_a_file_that_breaks_off_gives_what_is_there_and_says_so(tmp_path, kind):
    options = {"movflags": "faststart"} if kind == "mp4" else None
    path = cut(write_clip(tmp_path / f"v.{kind}", FRAMES * 2, options=options, gop=30, **KINDS[kind]), 0.6)
    *frames, last = read(path)
    assert 50 < len(frames) < 120
    assert last.data is None
    for source in frames[:-1]:  # the very last may be put together from a half
        assert seen(source) == round(30 * source.time) % 75
    assert "breaks off at " in last.error
    assert "of 5.0 s" in last.error
    end = last.error.rpartition("--end ")[2]
    assert errors(read(path, None, None, end)) == []


def test_an_mp4_whose_table_comes_last_and_is_lost_holds_nothing(tmp_path):
    assert "not a video that facectl reads, or a damaged one" in only_error(
        cut(write_clip(tmp_path / "v.mp4", FRAMES), 0.6)
    )


def test_a_transport_stream_may_end_anywhere(tmp_path):
    """As a recording does that was stopped; it does not say how long it was to be."""
    sources = read(cut(write_clip(tmp_path / "v.ts", FRAMES), 0.6))
    frames = [seen(source) for source in sources if source.data]
    assert frames == list(range(len(frames)))
    assert 20 < len(frames) < 75
    assert len(errors(sources)) <= 1


def test_damage_in_the_middle_is_said_and_the_rest_is_answered(tmp_path):
    path = write_clip(tmp_path / "v.avi", FRAMES, codec="mjpeg")
    with av.open(str(path)) as file:
        packets = [packet for packet in file.demux(video=0) if packet.size]
        damaged = [bytes(packets[number]) for number in (20, 21, 40)]
    data = path.read_bytes()
    for packet in damaged:
        data = data.replace(packet, bytes(len(packet)))
    path.write_bytes(data)
    *frames, last = read(path)
    assert [seen(source) for source in frames] == [n for n in range(75) if n not in (20, 21, 40)]
    assert "is damaged in 3 places" in last.error
    *_, last = read(path, end="1s")
    assert "is damaged in 2 places" in last.error
    assert errors(read(path, end="0.5s")) == []


def test_frames_that_the_decoder_made_up_are_said(tmp_path):
    """H.264 with holes: the frames come out, but some are of what could be made of them."""
    noise = np.random.default_rng(0).integers(0, 256, (30, 48, 64, 3), np.uint8)
    path = write_clip(tmp_path / "v.mkv", list(noise), gop=30)
    with av.open(str(path)) as file:
        packets = [bytes(packet) for packet in file.demux(video=0) if packet.size]
    data = path.read_bytes()
    for packet in packets[10:20]:
        middle = len(packet) // 2
        data = data.replace(packet, packet[:middle] + bytes(len(packet) - middle))
    path.write_bytes(data)
    *frames, last = read(path)
    assert len(frames) > 20
    assert "is damaged in" in last.error


def test_a_clock_that_begins_again_goes_on(tmp_path):
    """Recordings joined byte by byte, as cameras' pieces often are."""
    pieces = [clip_bytes(FRAMES[:60]), clip_bytes(FRAMES[:60])]
    path = joined(tmp_path / "v.ts", *pieces)
    times = [source.time for source in read(path)]
    assert len(times) == 120
    assert times == sorted(times)
    half_seconds = [source.time for source in read(path, every="0.5s")]
    assert half_seconds == pytest.approx([0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5], abs=0.05)


def test_a_size_and_a_codec_that_change_are_followed(tmp_path):
    pieces = [clip_bytes(FRAMES[:30]), clip_bytes(numbered(30, (96, 32)), start=1)]
    sources = read(joined(tmp_path / "v.ts", *pieces))
    assert errors(sources) == []
    assert [source.data().size for source in sources] == [(64, 48)] * 30 + [(96, 32)] * 30
    assert [seen(source) for source in sources] == list(range(30)) * 2


@pytest.mark.parametrize("kind", ["mp4", "mkv", "ts", "avi"])
def test_bytes_turned_over_at_random_raise_nothing(tmp_path, kind):
    data = write_clip(tmp_path / f"v.{kind}", FRAMES[:20], **KINDS[kind]).read_bytes()
    for seed in range(12):
        chance, damaged = random.Random(seed), bytearray(data)
        for _ in range(chance.randrange(1, 60)):
            damaged[chance.randrange(len(data))] = chance.randrange(256)
        path = tmp_path / f"{seed}.{kind}"
        path.write_bytes(damaged[: chance.randrange(len(data) // 2, len(data))])
        for words in ((), (None, "0.3", "0.5")):
            sources = read(path, *words)
            assert len(errors(sources)) <= 1
            for source in sources:
                assert source.error or source.data().size


# What is no video


def sound(path: Path) -> None:
    with av.open(str(path), "w") as file:
        stream = file.add_stream("aac", rate=48_000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 48_000
        file.mux(stream.encode(frame))
        file.mux(stream.encode())


NO_VIDEO = {
    "random": random.Random(1).randbytes(50_000),
    "text": b"just a text\n" * 500,
    "html": b"<!doctype html><html><body>404</body></html>",
    "picture": jpeg(picture("red")),
    "zeros": bytes(10_000),
}


@pytest.mark.parametrize("kind", NO_VIDEO)
@pytest.mark.parametrize("suffix", ["mp4", "ts", "avi"])
def test_what_is_no_video_is_one_error(tmp_path, kind, suffix):
    path = tmp_path / f"v.{suffix}"
    path.write_bytes(NO_VIDEO[kind])
    assert "is not a video that facectl reads, or a damaged one" in only_error(path)


def test_what_cannot_even_be_opened_says_why(tmp_path):
    path = tmp_path / "v.mp4"
    assert "No such file" in only_error(path)
    path.touch()
    assert "is empty" in only_error(path)
    path.unlink()
    path.mkdir()
    assert "not a regular file" in only_error(path)
    path.rmdir()
    os.mkfifo(path)
    assert "not a regular file" in only_error(path)  # and is not waited for
    path.unlink()
    path.symlink_to(path)
    assert "symbolic links" in only_error(path)
    path.unlink()
    sound(path)
    assert "has no pictures in it" in only_error(path)


def test_a_file_that_may_not_be_read_says_so(tmp_path, monkeypatch):
    path = write_clip(tmp_path / "v.mp4", ["red"])
    path.chmod(0)
    if os.geteuid() == 0:  # root may read everything

        def refuse(*_):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "open", refuse)
    assert "cannot be read: Permission denied; check" in only_error(path)


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{}'\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\na=control:{}\nm=video 9 RTP/AVP 96\n",
        '<?xml version="1.0"?><MPD><Period><BaseURL>{}</BaseURL></Period></MPD>',
    ],
    ids=["m3u8", "concat", "sdp", "mpd"],
)
@pytest.mark.parametrize("suffix", ["mp4", "ts", "mpg"])
def test_a_playlist_in_disguise_leads_nowhere(tmp_path, text, suffix):
    """Neither to an address, which would be told that someone looks, nor to a file that it may not name."""
    other = write_clip(tmp_path / "other.ts", FRAMES[:5])
    path = tmp_path / f"v.{suffix}"
    with serve([other.read_bytes()]) as stream:
        for target in (stream.address, str(other), "other.ts"):
            path.write_text(text.format(target))
            assert "not a video that facectl reads" in only_error(path)
        assert stream.connections == 0


def test_without_pyav_the_extra_is_named(tmp_path, monkeypatch):
    path = write_clip(tmp_path / "v.mp4", ["red"])
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match=r"v\.mp4: a video needs PyAV; .*pip install 'facectl\[camera\]'"):
        list(expand([str(path)]))
