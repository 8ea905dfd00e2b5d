"""Where facectl keeps its own files."""

from pathlib import Path

import pytest

from facectl_runtime.home import home


@pytest.mark.parametrize(
    ("chosen", "cache", "expected"),
    [
        ("/somewhere", "/cache", "/somewhere"),
        ("~/own", "/cache", "/user/own"),
        (None, "/cache", "/cache/facectl"),
        ("", "/cache", "/cache/facectl"),
        (None, "", "/user/.cache/facectl"),
        (None, "relative", "/user/.cache/facectl"),
        (None, None, "/user/.cache/facectl"),
    ],
)
def test_home(monkeypatch, chosen, cache, expected):
    monkeypatch.setenv("HOME", "/user")
    for name, value in (("FACECTL_HOME", chosen), ("XDG_CACHE_HOME", cache)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert home() == Path(expected)
