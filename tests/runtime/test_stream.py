"""Network streams: frames as they come, whatever happens to them on the way."""

import io
import time
from contextlib import ExitStack
from fractions import Fraction

import av
import numpy as np
import pytest

from clips import clip_bytes, jpeg, numbered, write_clip
from facectl_runtime.errors import UsageError
from facectl_runtime.video import stream as module
from facectl_runtime.video.live import Arrived
from streams import by_frame, mjpeg, multipart, serve, transport
from watching import AGAIN, FILM, LONG, delays, watch

STREAMS = {
    "mjpeg": lambda **options: mjpeg(FILM, **options),
    "mjpeg without lengths": lambda **options: mjpeg(FILM, lengths=False, **options),
    "h264": lambda **options: transport(clip_bytes(FILM, gop=15, coder={"tune": "zerolatency"}), **options),
}


def test_an_address_may_be_typed_in_capitals():
    with STREAMS["mjpeg"]() as stream, watch(stream.address.replace("http", "HTTP")) as watched:
        assert len(watched.take(2)) == 2


@pytest.mark.parametrize("kind", STREAMS)
def test_a_slow_engine_answers_the_newest_frame_and_falls_behind_no_further(kind):
    """Thirty frames a second, and an engine for ten: old frames would pile up by two thirds of the time."""
    with STREAMS[kind]() as stream, watch(stream.address, work=0.1) as watched:
        seen = watched.take(10)
        (live,) = watched.lives
        counts = live.counts()
        assert [one.number for one in seen] == sorted({one.number for one in seen})
        assert np.median(np.diff([one.number for one in seen])) >= 2
        assert np.median(delays(seen, stream.sent)) < 1  # generous: benchmarks/live.py holds the figure
        assert counts.answered == 10
        assert counts.dropped >= 10
        assert counts.age_median < 1
    assert watched.said == []


def test_a_fast_engine_misses_nothing():
    with mjpeg(FILM[:20], fps=20) as stream, watch(stream.address, retries=0) as watched:
        seen = watched.to_the_end()
    assert len(seen) >= 10
    assert [one.frame for one in seen] == [one.number for one in seen]
    assert watched.error.startswith("is lost (")


def test_what_comes_faster_than_it_can_be_read_is_passed_over(monkeypatch):
    """As of a computer that was busy for a while: what waits to be read is old, however new it looks."""
    monkeypatch.setattr(module, "_WINDOW", 0.2)
    monkeypatch.setattr(module, "Arrived", lambda *values: time.sleep(0.02) or Arrived(*values))  # a slow decoder
    data = clip_bytes(FILM, gop=15, coder={"tune": "zerolatency"})
    with transport(data, fps=120) as stream, watch(stream.address) as watched:
        watched.until(lambda seen: seen.number > 100)
        (live,) = watched.lives
        assert live.seen > 100 - 15
        assert len(watched.seen) < 80
        assert max(delays(watched.seen, stream.sent)) < 3


def test_sound_that_comes_just_before_its_pictures_loses_none():
    """As of a sender that writes both at once: no picture has to be waited for, and none is old."""
    with (
        serve(with_sound(80), fps=20, content_type="video/x-flv") as stream,
        watch(stream.address, retries=0) as watched,
    ):
        seen = watched.to_the_end()
    assert [one.number for one in seen[-30:]] == list(range(50, 80))


def with_sound(count: int) -> list[bytes]:
    """Give FLV of 20 pictures a second in pieces: each a picture, and before it the sound of its time."""
    stream = io.BytesIO()
    with av.open(stream, "w", format="flv", options={"flvflags": "no_duration_filesize"}) as file:
        pictures, sound = file.add_stream("libx264", rate=20), file.add_stream("aac", rate=44_100)
        pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
        pictures.codec_context.options = {"preset": "ultrafast", "tune": "zerolatency", "g": "10"}
        samples = 0
        for number, pixels in enumerate(FILM[:count]):
            while samples < 44_100 * number / 20:
                heard = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
                heard.sample_rate, heard.pts = 44_100, samples
                file.mux(sound.encode(heard))
                samples += 1024
            frame = av.VideoFrame.from_ndarray(pixels).reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 20)
            file.mux(pictures.encode(frame))
    data, pieces, start, at = stream.getvalue(), [], 0, 13  # after the header and the size of no tag
    while at < len(data):
        size = 15 + int.from_bytes(data[at + 1 : at + 4])
        if data[at] == 9 and data[at + 12] == 1:  # a tag of a picture, not of what the decoder has to know before
            pieces.append(data[start : at + size])
            start = at + size
        at += size
    return pieces


def test_what_is_passed_over_for_ever_is_lost(monkeypatch):
    monkeypatch.setattr(module, "_WINDOW", 0.2)
    monkeypatch.setattr(module, "_SILENT", 0.5)
    monkeypatch.setattr(module, "_WAITED", LONG)  # nothing ever looks as if it had been waited for
    monkeypatch.setattr(module, "_IDLE", 2.0)
    with mjpeg(FILM, fps=60) as stream, watch(stream.address, retries=0) as watched:
        watched.to_the_end()
    assert "comes faster than it can be decoded" in watched.error


# Lost and found


@pytest.mark.parametrize("kind", ["mjpeg", "h264"])
def test_a_stream_that_is_cut_goes_on_where_it_is_there_again(kind):
    with STREAMS[kind]() as stream, watch(stream.address) as watched:
        watched.take(3)
        stream.cut(refuse=True)
        time.sleep(0.2)
        stream.restore()
        restored = time.monotonic()
        first = watched.until(lambda seen: seen.arrived > restored)
        assert first.arrived - restored < AGAIN
        (live,) = watched.lives
        assert live.counts().reconnected == 1
        assert [seen.frame for seen in watched.seen] == sorted({seen.frame for seen in watched.seen})
    assert [line.split(" (")[0].split(" after")[0] for line in watched.said] == [
        f"{stream.address}: lost", f"{stream.address}: there again"
    ]  # fmt: skip


def test_a_stream_that_falls_silent_is_lost_after_the_timeout():
    with mjpeg(FILM[:5], stall=True) as stream, watch(stream.address, timeout=0.4, retries=0) as watched:
        watched.to_the_end()
    assert watched.seen
    assert watched.error.startswith("is lost (")
    assert watched.error == "is lost (nothing has come for 0.4 s); check that it is on, and its address"


BROKEN = {
    "404": lambda: serve([b"no"], status=404),
    "401": lambda: serve([b"no"], status=401, headers={"WWW-Authenticate": 'Basic realm="camera"'}),
    "503": lambda: serve([b"no"], status=503),
    "garbage": lambda: serve([bytes(range(256)) * 400]),
    "text": lambda: serve([b"<html>hello</html>"], content_type="text/html"),
    "nothing": lambda: serve([]),
    "silence": lambda: serve([], stall=True),
    "no pictures": lambda: serve(multipart([b"no jpeg"] * 5), content_type="multipart/x-mixed-replace; boundary=frame"),
}
WHY = {
    "404": "Server returned 404 Not Found",
    "401": "Server returned 401 Unauthorized (authorization failed)",
    "503": "Server returned 5XX Server Error reply",
    "silence": "nothing has come for 0.4 s",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_gives_no_frames_says_why(kind):
    with BROKEN[kind]() as stream, watch(stream.address, timeout=0.4, retries=0) as watched:
        assert watched.to_the_end() == []
    why = WHY.get(kind, "Input/output error")
    assert watched.error == f"cannot be reached ({why}); check that it is on, and its address"


def test_an_address_where_nothing_listens_says_so():
    with mjpeg(FILM) as stream:
        stream.cut(refuse=True)
        with watch(stream.address, retries=0) as watched:
            assert watched.to_the_end() == []
    assert watched.error.startswith("cannot be reached (Connection refused)")


# What changes, and what is none


def test_a_size_that_changes_is_followed():
    pieces = FILM[:20] + numbered(20, (96, 64))
    with mjpeg(pieces, stall=True) as stream, watch(stream.address) as watched:
        watched.until(lambda seen: seen.size == (64, 48))
        watched.until(lambda seen: seen.size == (96, 64))
    assert watched.said == []


@pytest.mark.parametrize("codec", ["libx265", "mpeg4"])
def test_a_codec_that_changes_is_connected_to_again(codec):
    """As of a camera whose settings someone changes while it is watched."""
    before = by_frame(clip_bytes(FILM[:15]))
    after = by_frame(clip_bytes(numbered(240, (96, 64)), codec=codec))
    connections = iter([before + after])
    with serve(lambda: next(connections, after), fps=120) as stream, watch(stream.address) as watched:
        watched.until(lambda seen: seen.size == (64, 48))
        watched.until(lambda seen: seen.size == (96, 64))
    assert "lost (what comes cannot be decoded any more); connecting again" in watched.said[0]


def test_one_picture_is_no_stream():
    with serve([jpeg(FILM[0])], content_type="image/jpeg") as stream, watch(stream.address) as watched:
        said = f"{stream.address}: it is one picture, not a stream; download it, and give the file"
        with pytest.raises(UsageError, match=said):
            watched.to_the_end()


@pytest.mark.parametrize("kind", ["mp4", "matroska"])
def test_a_file_is_no_stream(kind, tmp_path):
    options = {"movflags": "faststart"} if kind == "mp4" else None
    data = write_clip(tmp_path / "v", FILM[:60], container=kind, options=options).read_bytes()
    length = {"Content-Length": str(len(data))}
    with serve([data], content_type="video/mp4", headers=length) as stream, watch(stream.address) as watched:
        said = f"{stream.address}: it is a file of 2.0 s, not a stream; download it, and give the file"
        with pytest.raises(UsageError, match=said):
            watched.to_the_end()


def test_two_streams_are_read_at_the_same_time():
    with ExitStack() as stack:
        streams = [stack.enter_context(mjpeg(FILM)) for _ in range(2)]
        watched = stack.enter_context(watch(*[stream.address for stream in streams], work=0.05))
        names = [seen.name for seen in watched.take(16)]
        assert min(map(names.count, set(names))) >= 6
        assert set(names) == {stream.address for stream in streams}
