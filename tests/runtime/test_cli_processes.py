"""The command line as a process: pipes, interruptions, a full disk, and nothing left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from facectl_runtime import cli

PROGRAM = (sys.executable, "-c", "from facectl_runtime.cli import main; main()")


def test_nothing_is_left_on_the_disk(model, colours, spawn, tmp_path):
    """ONNX Runtime would leave a file in TMPDIR and an identifier in the cache where its telemetry is on."""
    places = {name: str(tmp_path) for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME")}
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    ran = spawn("predict", model, "-", stdin=colours.png("green"), cwd=tmp_path, env={**environment, **places})
    assert ran.code == 0
    assert list(tmp_path.iterdir()) == []


def test_what_libraries_left_for_the_end_is_done(tmp_path):
    """TensorFlow removes its temporary files only then."""
    left = tmp_path / "left.py"
    left.touch()
    words = "import atexit, pathlib, sys; atexit.register(pathlib.Path(sys.argv.pop()).unlink)"
    code = f"{words}; from facectl_runtime.cli import main; main()"
    assert subprocess.run([sys.executable, "-c", code, "--version", left], stdout=subprocess.DEVNULL).returncode == 0
    assert not left.exists()


@pytest.fixture
def many(tmp_path) -> Path:
    """Make a folder of hundreds of images that take a while each: the same large one under many names."""
    folder = tmp_path / "many"
    folder.mkdir()
    Image.effect_noise((1500, 1500), 90).convert("RGB").save(folder / "000.png")
    for number in range(1, 400):
        os.link(folder / "000.png", folder / f"{number:03}.png")
    return folder


posix = pytest.mark.skipif(os.name != "posix", reason="signals and pipes of POSIX")


@posix
@pytest.mark.parametrize("kind", [[], ["--jsonl"], ["--csv"], ["--json"]], ids=["table", "jsonl", "csv", "json"])
def test_a_reader_that_has_had_enough_ends_it_quietly(model, many, kind):
    process = subprocess.Popen(
        [*PROGRAM, "predict", str(model), str(many), *kind], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout.readline()
    process.stdout.close()
    started = time.monotonic()
    assert process.stderr.read() == b""
    assert process.wait(30) == 0
    if kind != ["--json"]:  # a document is written by the block, and learns of it later
        assert time.monotonic() - started < 5


@posix
@pytest.mark.parametrize("words", [["--help"], ["predict", "--help"], ["--version"], ["inspect", "MODEL"]])
def test_a_reader_that_reads_nothing_ends_it_quietly(model, words):
    read, write = os.pipe()
    os.close(read)
    words = [str(model) if word == "MODEL" else word for word in words]
    ran = subprocess.run([*PROGRAM, *words], stdout=write, stderr=subprocess.PIPE, timeout=30)
    os.close(write)
    assert ran.stderr == b""
    assert ran.returncode in (0, 1)  # typer gives 1 where its own help was not read


# `evaluate` says nothing before its end: this says when it has begun.
EVALUATE = """
import facectl_runtime.evaluate as module
from facectl_runtime.cli import main
begin = module.answer_labelled
module.answer_labelled = lambda *arguments: print("begun", flush=True) or begin(*arguments)
main()
"""


@posix
@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_an_interruption_ends_it_with_one_line(model, many, command):
    if command == "predict":
        words = [*PROGRAM, "predict", model, many]
    else:
        many.rename(many.with_name("red"))
        words = [sys.executable, "-c", EVALUATE, "evaluate", model, "--data", many.parent]
    process = subprocess.Popen(
        [*map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        # Handling of SIGINT is inherited, and a shell's background jobs ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout.readline()
    process.send_signal(signal.SIGINT)
    started = time.monotonic()
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.decode().splitlines()[-1] == "facectl: interrupted"
    assert "Traceback" not in err.decode()
    assert time.monotonic() - started < 5


def test_a_second_interruption_while_the_first_is_said(monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    ended = []
    monkeypatch.setattr(cli, "run", interrupted)
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)
    monkeypatch.setattr(cli.gc, "set_threshold", lambda _: None)
    monkeypatch.setattr(cli.atexit, "_run_exitfuncs", lambda: None)
    monkeypatch.setattr(cli.os, "_exit", ended.append)
    cli.main()
    assert ended == [130]


@posix
def test_a_closed_stdout_is_no_traceback(model, paint):
    path = paint("a.png")
    ran = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *PROGRAM, "predict", str(model), str(path), "-q"],
        capture_output=True,
        timeout=30,
    )
    assert ran.stderr == b""
    assert ran.returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("kind", ["--json", "--csv", "--topk=1"])
def test_a_full_disk_is_one_line_and_no_success(model, paint, kind):
    path = paint("a.png")
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(
            [*PROGRAM, "predict", str(model), str(path), kind], stdout=full, stderr=subprocess.PIPE, timeout=30
        )
    assert ran.returncode not in (0, 3)
    assert ran.stderr.decode().count("\n") == 1
    assert "No space left" in ran.stderr.decode()
