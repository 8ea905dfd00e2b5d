"""A check that is interrupted, or loses a process: one line, no traceback, and no process left behind."""

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def many(tmp_path):
    """Links to one large picture: minutes of work, and little disk."""
    Image.linear_gradient("L").resize((4000, 3000)).convert("RGB").save(tmp_path / "large.png")
    for number in range(600):
        link = tmp_path / "photos" / "ab"[number % 2] / f"{number}.png"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(tmp_path / "large.png")
    return tmp_path / "photos"


def readers(process):
    """Give the numbers of the processes that it started to read photographs."""
    return [int(pid) for pid in _words(f"{process.pid}/task/{process.pid}/children") if _reads(pid)]


def _words(name):
    try:
        return Path("/proc", name).read_text().replace("\0", " ").split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _reads(pid):
    words = _words(f"{pid}/cmdline")
    return bool(words) and not any("resource_tracker" in word for word in words)


def wait_until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not (met := condition()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return met


def all_gone(pids):
    return not any(_reads(pid) for pid in pids)  # a zombie has no command line


@pytest.fixture
def begun(start, many):
    """Give a function that starts a check: (its process, those that read for it), which are ended with the test."""
    known = set()

    def begun(seconds):
        process = start("data", "check", many, "--quiet")
        wait_until(lambda: readers(process))
        time.sleep(seconds)
        pids = readers(process)
        known.update(pids)
        return process, pids

    yield begun
    for pid in filter(_reads, known):
        os.kill(pid, signal.SIGKILL)


def tell(pids):
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGINT)


@pytest.mark.parametrize(("seconds", "times"), [(0, 1), (0.2, 1), (1.5, 2)])
def test_ctrl_c_ends_it_at_once(begun, seconds, times):
    process, pids = begun(seconds)
    for _ in range(times):  # a terminal tells all of them, in no order
        tell(pids)
        time.sleep(0.05)
        tell([process.pid])
    out, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert err == "facectl: interrupted\n"
    assert out == ""
    wait_until(lambda: all_gone(pids))


def test_a_process_that_is_killed_from_outside_is_one_line(begun):
    process, pids = begun(0.7)
    os.kill(pids[0], signal.SIGKILL)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert err.startswith("facectl: a process that reads photographs was ended from outside")
    assert err.count("\n") == 1
    assert out == ""
    wait_until(lambda: all_gone(pids))


def test_where_the_first_process_is_killed_the_others_end_too(begun):
    process, pids = begun(0.7)
    process.kill()
    process.wait(timeout=20)
    wait_until(lambda: all_gone(pids))
