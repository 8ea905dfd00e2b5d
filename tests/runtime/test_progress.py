"""Progress on a real terminal, and beside libraries that are silenced."""

import os
import subprocess
import sys

import pytest

SILENCED = """
import os, time
from facectl_runtime.progress import progress
from facectl_runtime.quiet import silent_stderr

with progress("calibration images", 3) as advance, silent_stderr():
    os.write(2, b"a library's remark")
    advance(2)
    time.sleep(1)
    os._exit(0)  # what the terminal has by now was drawn in the silence
"""


def test_a_bar_is_drawn_while_libraries_are_silenced():
    pty = pytest.importorskip("pty")
    terminal, theirs = pty.openpty()
    child = subprocess.Popen([sys.executable, "-c", SILENCED], stderr=theirs, env={**os.environ, "TERM": "xterm"})
    os.close(theirs)
    drawn = b""
    while True:
        try:
            some = os.read(terminal, 4096)
        except OSError:  # Linux says so where the other end is gone
            break
        if not some:
            break
        drawn += some
    os.close(terminal)
    assert child.wait() == 0
    assert b"calibration images" in drawn
    assert b"2/3" in drawn
    assert b"remark" not in drawn
