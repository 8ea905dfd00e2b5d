"""Drawn photographs, one run trained on them, and what tests do with the command line."""

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

from facectl_runtime.cli import run

COLOURS = {"red": (205, 60, 50), "green": (60, 170, 70), "blue": (50, 70, 200)}
# Handling of SIGINT is inherited, and a shell's background jobs ignore it.
PROGRAM = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from facectl_runtime.cli import main; "
    "main()"
)


def draw(path: Path, colour: str, seed: int, size: tuple[int, int] = (64, 64)) -> Path:
    """Save noise around a colour; no two seeds give the same picture."""
    noise = np.random.default_rng(seed).normal(0, 25, (size[1], size[0], 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.uint8(np.clip(noise + COLOURS[colour], 0, 255))).save(path)
    return path


def draw_classes(folder: Path, counts: Mapping[str, int], seed: int = 0) -> Path:
    """Draw a folder of pictures for each colour; a class called `either` holds reds and greens in turn."""
    for label, count in counts.items():
        for number in range(count):
            colour = ("red", "green")[number % 2] if label == "either" else label
            seed += 1
            draw(folder / label / f"{number:02}.png", colour, seed)
    return folder


@dataclass(frozen=True)
class Ran:
    """What a command line did."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return msgspec.json.decode(self.out)

    def error(self) -> str:
        """Give the message, which is all that there is on stderr: one line, and no answers."""
        assert self.err.startswith("facectl: ")
        assert self.err.count("\n") == 1
        assert self.err.endswith("\n")
        assert self.out == ""
        return self.err.removeprefix("facectl: ").rstrip("\n")


@dataclass(frozen=True)
class Trained:
    folder: Path
    data: Path
    home: Path
    arguments: Sequence[str]
    """Of the command, all but `--out`."""
    report: dict[str, Any]
    """What `train --json` said."""


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module", autouse=True)
def own_home(home: Path) -> Iterator[None]:
    """Keep the tests out of the user's own cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACECTL_HOME", str(home))
        yield


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes; what is in the third, nobody can tell from the others, so that accuracy is not simply 1."""
    return draw_classes(tmp_path_factory.mktemp("photographs"), {"red": 12, "green": 12, "either": 12})


@pytest.fixture(scope="session")
def trained(home: Path, photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train a run that every test may read and none may change."""
    pytest.importorskip("tf_keras")
    folder = tmp_path_factory.mktemp("runs") / "colours"
    words = ["train", "zoo", "--data", str(photographs), "--epochs", "15", "--seed", "3", "--device", "cpu", "--json"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACECTL_HOME", str(home))
        done = run_apart(words, "--out", str(folder), "--quiet")
    assert done.code == 0, done.err
    return Trained(folder, photographs, home, words, done.json())


def run_apart(words: Sequence[str], *more: str) -> Ran:
    """Run a command line in this process, for fixtures that outlive a test's captured output."""
    import contextlib
    import io

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run([*words, *more])
    return Ran(code, out.getvalue(), err.getvalue())


@pytest.fixture
def facectl(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Give a function that runs a command line in this process."""

    def call(*arguments: object) -> Ran:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        return Ran(code, *capsys.readouterr())

    return call


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Give a function that starts a command line as a process of its own, ended with the test."""
    started: list[subprocess.Popen[str]] = []

    def call(*arguments: object) -> subprocess.Popen[str]:
        words = [sys.executable, "-c", PROGRAM, *map(str, arguments)]
        started.append(subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield call
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture(name="draw", scope="session")
def _draw() -> Callable[..., Path]:
    return draw


@pytest.fixture(name="draw_classes", scope="session")
def _draw_classes() -> Callable[..., Path]:
    return draw_classes


@pytest.fixture(scope="session")
def tree() -> Callable[[Path], dict[str, bytes]]:
    """Give a function that reads every file below a folder."""
    return lambda folder: {
        str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }
