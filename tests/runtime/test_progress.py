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


def run(program, *words, stdout=None):
    """Run a program whose stderr is a terminal; gives what it drew there, and what it wrote to a pipe of `stdout`."""
    pty = pytest.importorskip("pty")
    terminal, theirs = pty.openpty()
    child = subprocess.Popen([*program, *words], stdout=stdout, stderr=theirs, env={**os.environ, "TERM": "xterm"})
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
    written = child.stdout.read() if child.stdout else b""
    assert child.wait() == 0
    return drawn, written


def test_a_bar_is_drawn_while_libraries_are_silenced():
    drawn, _ = run([sys.executable, "-c", SILENCED])
    assert b"calibration images" in drawn
    assert b"2/3" in drawn
    assert b"remark" not in drawn


@pytest.mark.parametrize("form", ["--json", "--jsonl", "--csv"])
def test_what_goes_to_a_file_is_all_there_while_a_bar_is_drawn(colours, paint, tmp_path, form):
    model = colours.save(tmp_path / "colours.onnx", colours.spec())
    pictures = [paint(f"{number}.png") for number in range(3)]
    program = [sys.executable, "-c", "from facectl_runtime.cli import main; main()"]
    drawn, written = run(program, "predict", model, *pictures, form, stdout=subprocess.PIPE)
    assert b"answered" in drawn
    assert b".png" not in drawn
    assert [str(picture).encode() in written for picture in pictures] == [True] * 3
