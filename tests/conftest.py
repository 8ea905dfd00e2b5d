"""Fixtures for the tests of every package."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from helpers import Ran, call

# Tests run beside one another: threads of one would take the other's core.
os.environ |= {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}

# Handling of SIGINT is inherited, and a shell's background jobs ignore it.
PROGRAM = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from facectl_runtime.cli import main; "
    "main()"
)


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
def facectl() -> Callable[..., Ran]:
    """Give a function that runs a command line in this process."""
    return call


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Give a function that starts a command line as a process of its own, after `prepare`, ended with the test."""
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: object, prepare: str = "") -> subprocess.Popen[str]:
        words = [sys.executable, "-c", prepare + PROGRAM, *map(str, arguments)]
        started.append(subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def tree() -> Callable[[Path], dict[str, bytes]]:
    """Give a function that reads every file below a folder."""
    return lambda folder: {
        str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }
