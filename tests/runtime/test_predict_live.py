"""`facectl predict` on cameras and streams: the newest frame, for ever, until a signal or the end."""

import csv
import io
import json
import os
import re
import signal
import sys
import time
from datetime import UTC, datetime

import pytest

import rpicam_vid
from clips import numbered, write_clip
from helpers import rows
from streams import mjpeg, serve

LONG = 30  # seconds: how long a test waits for what must happen; never reached where it does
FILM = numbered(300)


@pytest.fixture
def short():
    """Give a stream that ends after a third of a second."""
    with mjpeg(FILM[:10]) as stream:
        yield stream


# What is written


def test_frames_say_when_they_came_and_how_old_the_answer_is(model, short, facectl):
    began = datetime.now(UTC)
    ran = facectl("predict", model, short.address, "--retries", 0, "--json")
    assert ran.code == 3
    *frames, last = rows(ran)
    assert frames
    numbers = [row["frame"] for row in frames]
    assert numbers == sorted(set(numbers))
    for row in frames:
        assert (row["source"], row["label"]) == (short.address, "red")
        assert 0 < row["age"] < 5
        assert "time" not in row
        assert began <= datetime.fromisoformat(row["at"]) <= datetime.now(UTC)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", row["at"])
    assert last["error"].startswith("is lost (")
    (counts,) = ran.json()["streams"]
    assert counts["source"] == short.address
    assert counts["seen"] == counts["answered"] + counts["dropped"]
    assert counts["answered"] == len(frames)
    assert counts["reconnected"] == 0
    assert counts["age_median"] <= counts["age_p95"]


def test_the_formats_of_streams(model, short, facectl):
    words = ["predict", model, short.address, "--retries", 0]
    lines = [json.loads(line) for line in facectl(*words, "--jsonl").out.splitlines()]
    assert lines[0]["age"] > 0
    assert "error" in lines[-1]
    table = list(csv.DictReader(io.StringIO(facectl(*words, "--csv").out)))
    assert table[0]["at"].endswith("Z")
    assert float(table[0]["age"]) > 0
    assert (table[0]["label"], table[0]["time"]) == ("red", "")
    assert table[-1]["error"]
    ran = facectl(*words)
    assert re.match(rf" +95\.8%  red +{re.escape(short.address)}  \d\d:\d\d:\d\d\.\d\d\d  \d+ ms\n", ran.out)
    assert re.search(
        rf"^{re.escape(short.address)}: \d+ frames? seen, \d+ answered, \d+ dropped, age \d+ ms \(p95 \d+\)$",
        ran.err,
        re.MULTILINE,
    )
    assert facectl(*words, "--quiet").err == ""


def test_every_and_on_change(model, facectl):
    with mjpeg(FILM[:30], fps=60) as stream:
        words = ["predict", model, stream.address, "--retries", 0, "--json"]
        labels = [row.get("label") for row in rows(facectl(*words, "--on-change"))]
        assert labels[-1] is None
        assert labels[:-1] == [label for label in ("red", "green", "blue") if label in labels]
        frames = [row for row in rows(facectl(*words, "--every", "0.2s")) if "frame" in row]
        assert 1 <= len(frames) <= 4  # half a second, and what a busy machine adds


# What is not there, and what is none


@pytest.mark.parametrize("retries", [0, 2])
def test_the_last_attempt_ends_it_with_an_error(model, facectl, retries):
    with serve([b"no"], status=404) as stream:
        ran = facectl("predict", model, stream.address, "--retries", retries, "--json")
        assert stream.connections == 1 + retries
    assert ran.code == 3
    (row,) = rows(ran)
    assert row["source"] == stream.address
    assert row["error"].startswith("cannot be reached (Server returned 404 Not Found)")
    assert ("2 attempts to connect again failed" in row["error"]) == bool(retries)


def test_a_camera_that_is_not_there(model, facectl):
    for word in ("7", "/dev/video99"):
        ran = facectl("predict", model, word, "--retries", 0, "--json")
        assert ran.code == 3
        (row,) = rows(ran)
        assert row["source"] == word
        assert "No such file or directory" in row["error"]


def test_one_picture_or_a_file_is_a_usage_error(model, facectl, tmp_path, colours):
    film = write_clip(tmp_path / "v.mp4", FILM[:60], options={"movflags": "faststart"}).read_bytes()
    for data, kind, said in (
        (film, "video/mp4", "it is a file of 2.0 s, not a stream; download it, and give the file"),
        (colours.png("red"), "image/png", "it is one picture, not a stream; download it, and give the file"),
    ):
        with serve([data], content_type=kind, headers={"Content-Length": str(len(data))}) as stream:
            ran = facectl("predict", model, stream.address)
        assert ran.code == 2
        assert ran.error() == f"{stream.address}: {said}"


def test_what_is_typed_wrong_opens_nothing(model, facectl, paint):
    with mjpeg(FILM) as stream:
        for words in (
            [stream.address, stream.address],
            [stream.address, paint("a.png")],
            ["-", stream.address],
            [stream.address, "--start", "1"],
            [stream.address, "--end", "1"],
        ):
            ran = facectl("predict", model, *words)
            assert ran.code == 2
            assert ran.error()
        assert stream.connections == 0


def test_no_password_is_ever_printed(model, facectl, capfd):
    with mjpeg(FILM[:2]) as stream:
        for login in ("user:Geheim1", "user:Geh%40eim1", "user:x@Geheim1", ":Geheim1"):
            word = stream.address.replace("://", f"://{login}@")
            for words in (["--json"], []):
                ran = facectl("predict", model, word, "--retries", 0, *words)
                assert ran.code == 3
                assert "***@" in ran.out
                assert "Geh" not in ran.out + ran.err
            for words in ([word, word], [word, "x.png"], [word, "--start", "1"]):
                assert "Geh" not in facectl("predict", model, *words).error()
    printed = capfd.readouterr()
    assert printed.out + printed.err == ""


def test_without_pyav_the_extra_is_named(model, facectl, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    for word, kind in (("rtsp://user:secret@cam/1", "stream"), ("0", "camera")):
        ran = facectl("predict", model, word)
        assert ran.code == 2
        shown = word.replace("secret", "***")
        assert ran.error() == f"{shown}: a {kind} needs PyAV; install it with: pip install 'facectl[camera]'"


def test_the_raspberry_pis_camera_needs_no_package(model, facectl, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setenv("PATH", rpicam_vid.put_on_path(tmp_path / "bin"))
    monkeypatch.setenv("RPICAM_DIE", "6")
    ran = facectl("predict", model, "picamera", "--retries", 0, "--json")
    assert ran.code == 3
    *frames, last = rows(ran)
    assert {row["label"] for row in frames} == {"red"}
    assert last["error"].startswith("is lost (rpicam-vid ended with 255: ERROR: *** failed to queue request ***)")


def test_a_computer_without_that_camera(model, facectl, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    ran = facectl("predict", model, "picamera")
    assert ran.code == 2
    assert ran.error() == "picamera: no rpicam-vid here; on a Raspberry Pi: sudo apt install rpicam-apps-lite"
    monkeypatch.setenv("PATH", rpicam_vid.put_on_path(tmp_path / "bin"))
    monkeypatch.setenv("RPICAM_FAIL", rpicam_vid.NO_CAMERA)
    ran = facectl("predict", model, "picamera", "--retries", 0, "--json")
    assert ran.code == 3
    assert "no cameras available" in rows(ran)[0]["error"]


# Signals


posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


# Says when the model is open and a signal ends it gently.
BEGUN = """
import sys
from facectl_runtime.cli import signals
from contextlib import contextmanager
ending = signals.ending
@contextmanager
def begun(stop):
    with ending(stop) as met:
        print("begun", file=sys.stderr, flush=True)
        yield met
signals.ending = begun
"""


@posix
@pytest.mark.parametrize(("number", "form"), [(signal.SIGINT, "--json"), (signal.SIGTERM, "--csv")])
def test_a_signal_ends_it_with_everything_said(model, start, number, form):
    """Two streams that are cut meanwhile: what was answered until then is whole."""
    with mjpeg(FILM) as one, mjpeg(FILM) as other:
        process = start("predict", model, one.address, other.address, form, prepare=BEGUN)
        assert process.stderr.readline() == "begun\n"
        for stream in (one, other):
            stream.wait(frames=len(stream.sent) + 10, seconds=LONG)
        one.cut()
        assert process.stderr.readline().startswith(f"facectl: {one.address}: lost (")
        assert process.stderr.readline().startswith(f"facectl: {one.address}: there again after ")
        process.send_signal(number)
        out, err = process.communicate(timeout=LONG)
    assert process.returncode == 130
    assert "Traceback" not in err
    lines = err.splitlines()
    assert re.match(r"\d+ frames, [\d.]+ s, onnxruntime", lines[0])
    assert lines[1].startswith(f"{one.address}: ")
    assert lines[1].endswith("; connected again 1 time")
    assert lines[2].startswith(f"{other.address}: ")
    assert lines[3:] == ["facectl: interrupted"]
    found = json.loads(out)["results"] if form == "--json" else list(csv.DictReader(io.StringIO(out)))
    assert {row["source"] for row in found} == {one.address, other.address}
    if form == "--json":
        streams = json.loads(out)["streams"]
        assert [stream["answered"] for stream in streams] == [
            sum(row["source"] == address for row in found) for address in (one.address, other.address)
        ]


@posix
def test_a_signal_ends_the_wait_for_what_is_not_there(model, start):
    with mjpeg(FILM) as stream:
        stream.cut(refuse=True)
        process = start("predict", model, stream.address, "--csv")
        assert "waiting for it" in process.stderr.readline()
        assert process.stdout.readline().startswith("source,")  # the model is open
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=LONG)
    assert process.returncode == 130
    assert out == ""
    assert err.splitlines()[-1] == "facectl: interrupted"


# What hangs, and says when it does.
HANG = """
import time
def hang(*_):
    print("hangs", file=sys.stderr, flush=True)
    time.sleep(600)
"""


@posix
def test_an_engine_that_hangs_keeps_nobody_waiting(model, start):
    hang = "from facectl_runtime import classifier\nclassifier.image.to_input = hang\n"
    with mjpeg(FILM) as stream:
        process = start("predict", model, stream.address, "--json", prepare=BEGUN + HANG + hang)
        assert {process.stderr.readline() for _ in range(2)} == {"begun\n", "hangs\n"}
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=LONG)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "facectl: interrupted"
    assert json.loads(out)["results"] == []


@posix
def test_a_second_signal_ends_what_the_first_cannot(model, start):
    """Such as an output that nobody reads."""
    hang = "from facectl_runtime import output\noutput.FORMATS['json'] = hang\n"
    with mjpeg(FILM) as stream:
        process = start("predict", model, stream.address, "--json", prepare=BEGUN + HANG + hang)
        assert [process.stderr.readline() for _ in range(2)] == ["begun\n", "hangs\n"]
        limit, sent = time.monotonic() + LONG, 0
        while process.poll() is None:  # two that come too close together are one
            assert time.monotonic() < limit
            process.send_signal(signal.SIGINT)
            sent += 1
            time.sleep(0.2)
        _, err = process.communicate(timeout=LONG)
    assert sent >= 2
    assert process.returncode == 130
    assert err == "facectl: interrupted\n"


@posix
def test_a_reader_that_has_had_enough_ends_it_quietly(model, start):
    with mjpeg(FILM) as stream:
        process = start("predict", model, stream.address)
        assert process.stdout.readline()
        process.stdout.close()
        assert process.wait(LONG) == 0
        assert process.stderr.read() == ""


def test_a_slow_engine_answers_young_frames(model, facectl, monkeypatch):
    """Each answer takes three frame times; the age stays below one answer and two frames."""
    from facectl_runtime import reading

    answer = reading.answers

    def slow(decoded, engine, lanes):
        assert lanes == 1
        for item in answer(decoded, engine, lanes):
            time.sleep(0.1)
            yield item

    monkeypatch.setattr(reading, "answers", slow)
    with mjpeg(FILM[:45]) as stream:
        ran = facectl("predict", model, stream.address, "--retries", 0, "--json")
    *frames, _ = rows(ran)
    (counts,) = ran.json()["streams"]
    assert counts["age_p95"] < 3
    assert counts["age_median"] < 0.1 + 2 / 30 + 0.5
    assert counts["dropped"] > counts["answered"] > 5
    assert counts["seen"] == 45
    assert [row["frame"] for row in frames] == sorted({row["frame"] for row in frames})
