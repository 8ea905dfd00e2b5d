"""Cameras, on RTSP and on this machine: switched off and on, hanging, not there, or not for this user."""

import sys
import time

import numpy as np
import pytest

import rtsp
from facectl_runtime.errors import UsageError
from facectl_runtime.sources import open_sources
from facectl_runtime.video import stream as module
from watching import AGAIN, LONG, delays, watch

# Cameras on RTSP


@pytest.mark.parametrize("path", ["/h264", "/jpeg"])
def test_a_camera_on_rtsp_that_is_switched_off_and_on(tmp_path, path):
    with rtsp.film(tmp_path, login="someone:secret") as camera, watch(camera.address(path), work=0.1) as watched:
        shown = watched.lives[0].name
        assert "someone:***@" in shown
        seen = watched.take(8)
        assert np.median(np.diff([one.number for one in seen])) >= 2
        assert np.median(delays(seen, camera.sent)) < 2
        camera.kill()
        camera.restart()
        restored = time.monotonic()
        assert watched.until(lambda seen: seen.arrived > restored).arrived - restored < AGAIN
    assert [line.split(" (")[0].split(" after")[0] for line in watched.said] == [
        f"{shown}: lost", f"{shown}: there again"
    ]  # fmt: skip
    assert "secret" not in "".join(watched.said)


def test_a_camera_on_rtsp_that_hangs_is_lost_after_the_timeout(tmp_path):
    with rtsp.film(tmp_path) as camera, watch(camera.address(), timeout=2) as watched:
        watched.take(3)
        camera.freeze()
        limit = time.monotonic() + LONG
        while not watched.said:
            assert time.monotonic() < limit
            time.sleep(0.01)
        camera.thaw()
        thawed = time.monotonic()
        assert watched.until(lambda seen: seen.arrived > thawed).arrived - thawed < AGAIN
    assert "lost (nothing has come for 2 s)" in watched.said[0]


def test_a_camera_on_rtsp_wants_its_password(tmp_path):
    with rtsp.film(tmp_path, login="someone:secret") as camera:
        for login, why in (("", "401"), ("someone:wrong@", "401")):
            word = f"rtsp://{login}127.0.0.1:{camera.port}/h264"
            with watch(word, retries=0) as watched:
                assert watched.to_the_end() == []
            assert why in watched.error
            assert "wrong" not in watched.error + "".join(watched.said)


# Cameras


def test_a_camera_that_is_not_there_says_so():
    with watch("99", retries=0) as watched:
        assert watched.to_the_end() == []
    assert watched.error.startswith("cannot be reached (No such file or directory)")


@pytest.mark.parametrize("there", ["missing", "file", "folder"])
def test_a_device_that_is_none_says_so(tmp_path, there):
    path = tmp_path / "video0"
    if there == "file":
        path.write_bytes(bytes(1000))
    elif there == "folder":
        path.mkdir()
    why = {"missing": "No such file", "file": "ioctl", "folder": "directory"}[there]
    with pytest.raises(OSError, match=why), module.open_camera(str(path), 1) as frames:
        next(frames)


def test_a_device_that_this_user_may_not_open_is_not_waited_for(tmp_path, monkeypatch):
    path = tmp_path / "video0"
    path.touch()
    monkeypatch.setattr(module, "_PLUGGED_IN", 0)
    monkeypatch.setattr(module.os, "access", lambda *_: False)
    with pytest.raises(UsageError, match=r"may not be opened by this user; sudo usermod -aG video"):
        module.open_camera(str(path), 1).__enter__()


def test_a_device_that_was_just_plugged_in_is_opened_once_that_is_allowed(tmp_path, monkeypatch):
    path = tmp_path / "video0"
    path.touch()
    allowed = iter([False, True])
    monkeypatch.setattr(module, "_PLUGGED_IN", 0)
    monkeypatch.setattr(module.os, "access", lambda *_: next(allowed))
    with pytest.raises(OSError, match="ioctl"):
        module.open_camera(str(path), 1).__enter__()


def test_cameras_of_other_systems_are_refused_before_anything_else(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UsageError, match="read on Linux and macOS alone"):
        open_sources(["0"])


def test_two_addresses_that_differ_in_what_is_hidden_keep_apart():
    words = ["http://127.0.0.1:9/s?key=A", "http://127.0.0.1:9/s?key=B", "http://127.0.0.1:9/t"]
    _, lives = open_sources(words)
    shown = "http://127.0.0.1:9/s?key=***"
    assert [live.name for live in lives] == [f"{shown} (1)", f"{shown} (2)", "http://127.0.0.1:9/t"]
