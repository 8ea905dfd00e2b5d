"""Images that are refused in one line: far too large, damaged, cut off, or none at all."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from facectl_runtime import image
from facectl_runtime.errors import ImageError
from image_files import QUIET, SIXTEEN, SMALL, encode, error_of, picture, png, samples

pytestmark = QUIET


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_samples_without_a_known_range_are_refused(kind):
    message = error_of(encode(Image.fromarray(SIXTEEN.astype(kind)), "TIFF"))
    assert "range is not known" in message


def test_a_picture_far_too_large_is_refused_by_its_header():
    data = png(30_000, 30_000, 8, 2, b"")
    assert len(data) < 100
    assert "30000 x 30000" in error_of(data)
    assert "134217728" in error_of(data)
    assert "200000 x 2" in error_of(png(200_000, 2, 8, 2, b""))
    gif = bytearray(encode(Image.new("P", (4, 4)), "GIF"))
    gif[6:10] = b"\xff\xff\xff\xff"
    assert "65535 x 65535" in error_of(bytes(gif))
    assert "pixels" in error_of(b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xff\x3f\0" * 2)


def test_the_limits_are_inclusive(monkeypatch):
    monkeypatch.setattr(image, "MAX_PIXELS", 1200)
    monkeypatch.setattr(image, "MAX_SIDE", 40)
    assert image.decode(encode(picture(40, 30), "PNG")).size == (40, 30)
    assert "41 x 1" in error_of(encode(picture(41, 1), "PNG"))
    assert "40 x 31" in error_of(encode(picture(40, 31), "PNG"))


def test_a_file_of_too_many_bytes_is_refused_unread(monkeypatch, tmp_path):
    monkeypatch.setattr(image, "MAX_BYTES", 100)
    path = tmp_path / "long.png"
    path.write_bytes(encode(picture(), "PNG"))
    assert "at most 100" in error_of(path)
    assert "at most 100" in error_of(path.read_bytes())


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
def test_a_file_that_ends_too_soon_is_an_error(kind, kept):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
    data = encode(noise, kind)
    error_of(data[: int(len(data) * kept)])


def test_what_is_no_picture_is_refused(tmp_path):
    assert "empty" in error_of(b"")
    assert "b'<!doctyp'" in error_of(b"<!doctype html><html>")
    assert "allowed are JPEG" in error_of(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    assert "damaged" in error_of(b"BM, this is a letter that begins like a bitmap")
    path = tmp_path / "Tiergarten łoś.jpg"
    path.write_text("hello")
    assert "b'hello'" in error_of(path)
    assert "directory" in error_of(tmp_path)
    assert "No such file" in error_of(tmp_path / "missing.jpg")
    assert "null" in error_of(Path("a\0b.jpg"))
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in error_of(tmp_path / "pipe")
    path.write_bytes(encode(picture(), "PNG"))
    assert image.decode(path).size == (40, 30)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_refused(tmp_path):
    path = tmp_path / "mine.png"
    path.write_bytes(encode(picture(), "PNG"))
    path.chmod(0)
    assert "ermission" in error_of(path)


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in samples()])
@given(changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=8), kept=st.floats(0, 1))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_bytes_give_a_picture_or_one_line(capfd, monkeypatch, data, changes, kept):
    monkeypatch.setattr(image, "MAX_PIXELS", 2**22)  # a damaged size would cost seconds and show nothing
    damaged = bytearray(data)
    for place, value in changes:
        damaged[place % len(data)] = value
    damaged = bytes(damaged[: int(len(data) * kept)] if len(changes) < 2 else damaged)
    try:
        found = image.load(damaged, SMALL)
        assert found.shape == (8, 8, 3)
        assert found.dtype == np.uint8
    except ImageError:
        error_of(damaged, SMALL)
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err == "" or data[:2] == b"II"  # libtiff has its own mind
