"""What tests of several packages do with the command line."""

import contextlib
import io
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from facectl_runtime.cli import run


@dataclass(frozen=True)
class Ran:
    """What a command line did."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)

    def error(self) -> str:
        """Give the message, which must be all that was said: one line on stderr, and no answers."""
        assert self.err.startswith("facectl: ")
        assert self.err.count("\n") == 1
        assert self.err.endswith("\n")
        assert "Traceback" not in self.err
        assert self.out == ""
        return self.err.removeprefix("facectl: ").rstrip("\n")


def call(*arguments: object) -> Ran:
    """Run a command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run([str(argument) for argument in arguments])
    return Ran(code, out.getvalue(), err.getvalue())


def rows(ran: Ran) -> list[dict[str, Any]]:
    """Give what `predict --json` said of each image or frame."""
    return ran.json()["results"]


def stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    """Let this process have `data` on its standard input."""
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BufferedReader(io.BytesIO(data))))


@contextlib.contextmanager
def no_file_over(size: int) -> Iterator[None]:
    """Let every write past `size` bytes fail, as on a disk that is full."""
    import resource  # not on Windows

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def slow(*values: Any) -> Any:
    """Give the values of a parametrized test that only `make bench` runs."""
    return pytest.param(*values, marks=pytest.mark.slow)
