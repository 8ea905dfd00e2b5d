"""Decoded frames as pictures: the colours that were meant, and the right way up."""

import struct
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from clips import clip_bytes, joined, picture, write_clip
from facectl_runtime.errors import ImageError, MissingExtraError
from facectl_runtime.sources import expand
from facectl_runtime.video import frames
from facectl_runtime.video.frames import pyav, to_picture

PAINTS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (200, 120, 40), (30, 90, 160), (128, 128, 128), (0, 0, 0), (255,) * 3]
NEAR = 6  # grey levels: what coding and the rounding of YCbCr cost; another matrix is 20 and more away


def pictures(path: Path):
    return [np.asarray(source.data()).astype(int) for source in expand([str(path)])]


def off(found, meant):
    return np.abs(found[found.shape[0] // 2, found.shape[1] // 2] - meant).max()


# Colours


@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("matrix", ["bt601", "bt709", None])
def test_colours_are_those_that_were_meant(tmp_path, matrix, full):
    path = write_clip(tmp_path / "v.mp4", [picture(paint) for paint in PAINTS], matrix=matrix, full=full)
    for found, meant in zip(pictures(path), PAINTS, strict=True):
        assert off(found, meant) <= NEAR, meant


@pytest.mark.parametrize(("size", "matrix"), [((64, 718), "bt601"), ((64, 720), "bt709")])
def test_what_says_nothing_of_its_colours_is_taken_by_its_height(tmp_path, size, matrix):
    """As players have it: high definition is BT.709."""
    path = write_clip(tmp_path / "v.mkv", [picture((200, 120, 40), size)], matrix=matrix, codec="ffv1")
    with av.open(str(path)) as tagged, av.open(str(tmp_path / "untagged.avi"), "w") as untagged:
        frame = next(tagged.decode(video=0))
        stream = untagged.add_stream("ffv1", rate=30)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        frame.colorspace, frame.pts, frame.time_base = 2, 0, Fraction(1, 30)
        untagged.mux(stream.encode(frame))
        untagged.mux(stream.encode())
    (found,) = pictures(tmp_path / "untagged.avi")
    assert off(found, (200, 120, 40)) <= 3


@pytest.mark.parametrize(
    ("codec", "suffix", "kinds"),
    [
        ("libx264", "mp4", ["yuv422p", "yuv444p", "yuv420p10le", "gray"]),
        ("libx265", "mkv", ["yuv420p10le"]),
        ("mjpeg", "avi", ["yuvj420p", "yuvj444p"]),
        ("ffv1", "mkv", ["yuv420p16le", "bgr0", "gbrp10le"]),
        ("libvpx-vp9", "webm", ["yuv420p", "yuv444p"]),
        ("mpeg4", "avi", ["yuv420p"]),
    ],
)
def test_every_kind_of_pixels_gives_its_colours(tmp_path, codec, suffix, kinds):
    for kind in kinds:
        meant = (128,) * 3 if kind == "gray" else (200, 120, 40)
        coder = {"crf": "10", "b": "0", "qmin": "0", "qmax": "63"} if "vpx" in codec else None
        path = write_clip(tmp_path / f"v.{suffix}", [picture(meant)] * 2, codec=codec, pix_fmt=kind, coder=coder)
        for found in pictures(path):
            assert found.shape == (48, 64, 3)
            assert off(found, meant) <= NEAR, kind


@pytest.mark.parametrize("size", [(63, 47), (1, 1), (3, 200), (321, 5), (640, 2)])
def test_odd_sizes_keep_their_size_and_their_edges(tmp_path, size):
    """A line of the converter's result may be longer than the picture is wide."""
    path = write_clip(tmp_path / "v.mkv", [picture((200, 120, 40), size)], codec="ffv1", pix_fmt="yuv444p")
    (found,) = pictures(path)
    assert found.shape == (size[1], size[0], 3)
    assert np.abs(found - (200, 120, 40)).max() <= 3


def test_a_size_that_changes_in_the_middle_is_followed(tmp_path):
    pieces = [clip_bytes(["red"] * 3, size=(64, 48)), clip_bytes(["blue"] * 3, size=(96, 32))]
    found = pictures(joined(tmp_path / "v.ts", *pieces))
    assert [one.shape[:2] for one in found] == [(48, 64)] * 3 + [(32, 96)] * 3
    assert [one.mean((0, 1)).argmax() for one in found] == [0] * 3 + [2] * 3


# The right way up


def corners(*clockwise: str):
    """Give a picture of four quarters, from the upper left on."""
    one, two, three, four = (picture(colour, (32, 24)) for colour in clockwise)
    return np.concatenate([np.concatenate([one, two], 1), np.concatenate([four, three], 1)])


@pytest.mark.parametrize(
    ("degrees", "clockwise"),
    [
        (0, ["red", "green", "blue", "grey"]),
        (90, ["grey", "red", "green", "blue"]),
        (180, ["blue", "grey", "red", "green"]),
        (270, ["green", "blue", "grey", "red"]),
    ],
)
@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
def test_a_telephone_held_sideways_is_turned_upright(tmp_path, suffix, degrees, clockwise):
    """By so many degrees clockwise, as a player turns it: the upper left comes to the upper right by a quarter."""
    whole = corners("red", "green", "blue", "grey")
    (found,) = pictures(write_clip(tmp_path / f"v.{suffix}", [whole], rotation=degrees))
    height, width = found.shape[:2]
    assert (width, height) == ((64, 48) if degrees % 180 == 0 else (48, 64))
    seen = [found[y * height // 4, x * width // 4] for y, x in ((1, 1), (1, 3), (3, 3), (3, 1))]
    for one, colour in zip(seen, clockwise, strict=True):
        meant = picture(colour, (1, 1))[0, 0].astype(int)
        assert np.abs(one - meant).max() <= NEAR, (colour, one)


@pytest.mark.parametrize(("degrees", "across"), [(90, (0, 1)), (180, (-1, 0)), (270, (0, -1))])
def test_the_way_that_telephones_write_it(tmp_path, degrees, across):
    """In an MP4 the first two numbers of the matrix are where its left edge's direction to the right leads on screen.

    A telephone held upright writes 0, 1: to the right is down, which is a quarter clockwise.
    """
    data = write_clip(tmp_path / "v.mp4", ["red"], rotation=degrees).read_bytes()
    matrix = data.index(b"tkhd") + 4 + 4 + 20 + 16
    assert struct.unpack_from(">2i", data, matrix) == tuple(65536 * one for one in across)


# What is refused


def test_a_frame_too_large_is_refused_before_memory_is_set_aside(tmp_path, monkeypatch):
    path = write_clip(tmp_path / "v.mp4", ["red", "green"])
    monkeypatch.setattr(frames, "MAX_PIXELS", 64 * 48)
    assert [source.error for source in expand([str(path)])] == [None, None]
    monkeypatch.setattr(frames, "MAX_PIXELS", 64 * 48 - 1)
    *_, last = expand([str(path)])
    assert last.error
    frame = av.VideoFrame(64, 48, "yuv420p")
    with pytest.raises(ImageError, match=r"64 x 48 pixels; at most 3071"):
        to_picture(frame)


def test_a_kind_of_pixels_that_cannot_be_converted_is_one_line():
    with pytest.raises(ImageError, match="cannot be turned into a picture"):
        to_picture(av.VideoFrame(64, 48, "gray32le"))


def test_without_pyav_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match=r"v.mp4: a video needs PyAV; .*pip install 'facectl\[camera\]'"):
        pyav("v.mp4: a video")


def test_a_pyav_that_does_not_start_is_another_matter(monkeypatch, tmp_path):
    (tmp_path / "av.py").write_text("raise ImportError('libavcodec.so.99: cannot open shared object file')")
    monkeypatch.delitem(sys.modules, "av")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingExtraError, match=r"does not start \(libavcodec.so.99: .*install it again"):
        pyav("v.mp4: a video")
    sys.modules.pop("av", None)
