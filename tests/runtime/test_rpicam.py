"""The camera of a Raspberry Pi through `rpicam-vid`, by a program that stands in for it."""

import io
import itertools
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import rpicam_vid
from clips import jpeg, number_of, picture
from facectl_runtime.errors import UsageError
from facectl_runtime.sources import open_sources
from facectl_runtime.video import live as live_module
from facectl_runtime.video import rpicam
from facectl_runtime.video.rpicam import open_picamera, split

LONG = 20.0
PICTURES = [jpeg(picture("red", number=number)) for number in range(8)]


# Where one picture ends


@pytest.mark.parametrize("size", [1, 2, 7, 100, 10**6])
def test_pictures_in_a_row_are_cut_apart_however_they_come(size):
    data = b"".join(PICTURES)
    pieces = (data[at : at + size] for at in range(0, len(data), size))
    assert list(split(pieces)) == PICTURES


def test_what_stands_between_pictures_is_dropped():
    between = [random.Random(number).randbytes(300).replace(b"\xff", b"\0") for number in range(len(PICTURES))]
    data = b"".join(itertools.chain.from_iterable(zip(between, PICTURES, strict=True)))
    assert list(split(iter([data]))) == PICTURES


def test_bytes_that_look_like_a_start_lose_no_picture():
    for false in (b"\xff\xd8\xff", b"\xff\xd8\xff\xe0\0\x10rest", b"\xff\xd8\xff\xd8\xff", b"\xff"):
        assert PICTURES[1] in list(split(iter([PICTURES[0], false, *PICTURES[1:]])))


def test_a_thumbnail_inside_is_not_the_end():
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x927C] = PICTURES[0]
    Image.fromarray(picture("blue")).save(stream, "JPEG", exif=exif)
    whole = stream.getvalue()
    assert whole.count(b"\xff\xd9") == 2
    assert list(split(iter([whole, whole]))) == [whole, whole]


def test_the_last_picture_needs_nothing_after_it_and_a_half_is_none():
    assert list(split(iter([PICTURES[0]]))) == [PICTURES[0]]
    assert list(split(iter([PICTURES[0], PICTURES[1][:-2]]))) == [PICTURES[0]]


def test_noise_is_not_kept(monkeypatch):
    """A picture that never ends is given up."""
    monkeypatch.setattr(rpicam, "_LONGEST", 5000)
    endless = PICTURES[0][:-2] + bytes(6000)
    assert list(split(iter([endless, *PICTURES[:2]]))) == PICTURES[:2]


# The program


@pytest.fixture
def camera(tmp_path, monkeypatch):
    """Give a function that installs the program, misbehaving as told, and says where its log is."""

    def install(name: str = "rpicam-vid", **misbehaviour: object) -> Path:
        monkeypatch.setenv("PATH", rpicam_vid.put_on_path(tmp_path / "bin", name))
        monkeypatch.setenv("RPICAM_LOG", str(tmp_path / "log"))
        for word, value in misbehaviour.items():
            monkeypatch.setenv(f"RPICAM_{word}", str(value))
        return tmp_path / "log"

    return install


def numbers(count: int, timeout: float = LONG) -> list[int]:
    with open_picamera(timeout) as frames:
        return [number_of(np.asarray(frame.picture())) for frame in itertools.islice(frames, count)]


@pytest.mark.parametrize("name", ["rpicam-vid", "libcamera-vid"])
def test_frames_come_as_soon_as_they_are_taken(camera, name):
    log = camera(name)
    with open_picamera(LONG) as frames:
        seen = [(number_of(np.asarray(one.picture())), one.at) for one in itertools.islice(frames, 10)]
    assert [number for number, _ in seen] == list(range(10))
    left = {one.number: one.at for one in rpicam_vid.sent(log)}
    assert np.median([at - left[number] for number, at in seen]) < 2


def test_garbage_between_pictures_loses_few(camera):
    camera(GARBAGE=1000)
    found = numbers(10)
    assert found == sorted(set(found))
    assert found[-1] < 14


def test_ctrl_c_is_not_for_it(camera):
    """It is in a group of its own, and ends when facectl ends it."""
    log = camera()
    with open_picamera(LONG) as frames:
        next(frames)
        child = rpicam_vid.process(log)
        assert os.getpgid(child) == child != os.getpgrp()


@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGTERM])
def test_a_silent_one_ends_with_facectl(camera, model, blow):
    log = camera(STALL=2)
    words = ["predict", model, "picamera", "--jsonl", "--timeout", "60s"]
    program = [sys.executable, "-c", "from facectl_runtime.cli import main; main()", *words]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline()
        time.sleep(0.2)  # by now it is silent
        process.send_signal(blow)
        assert process.wait(LONG) == 130
        assert "Traceback" not in process.stderr.read()
    until = time.monotonic() + LONG
    while Path(f"/proc/{rpicam_vid.process(log)}").exists():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_it_is_ended_with_its_reader(camera):
    log = camera()
    numbers(2)
    size = log.stat().st_size
    time.sleep(0.1)
    assert log.stat().st_size == size


@pytest.mark.parametrize(
    ("misbehaviour", "error", "why"),
    [
        ({"FAIL": rpicam_vid.NO_CAMERA}, OSError, r"rpicam-vid ended with 255: ERROR: \*\*\* no cameras available"),
        ({"DIE": 2}, OSError, r"ended with 255: ERROR: \*\*\* failed to queue request"),
        ({"STALL": 2}, TimeoutError, "no picture for 0.5 s"),
    ],
)
def test_what_goes_wrong_is_said(camera, misbehaviour, error, why):
    camera(**misbehaviour)
    with pytest.raises(error, match=why):
        numbers(10, timeout=0.5 if "STALL" in misbehaviour else LONG)


def test_where_it_is_not_installed_the_package_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="no rpicam-vid here; on a Raspberry Pi: sudo apt install"):
        numbers(1)


def test_a_camera_that_dies_is_started_again(camera, monkeypatch):
    monkeypatch.setattr(live_module, "FIRST_DELAY", 0.01)
    log = camera(DIE=2)
    said = []
    sources, (live,) = open_sources(["picamera"], say=said.append)
    for source in sources:
        assert source.data().size == (640, 480)
        if live.reconnected:
            break
    live.close()
    assert log.read_text().count("start") >= 2
    assert "picamera: lost (rpicam-vid ended with 255: ERROR: *** failed to queue request ***)" in said[0]
