"""Fixtures of the tests of `facectl data search`."""

import time

import pytest

from loopback import serve
from openverse_index import Index

pytest.importorskip("requests")


@pytest.fixture
def site():
    with serve() as site:
        yield site


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    """Give the waits, none of which is waited for."""
    waits = []
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(time, "sleep", waits.append)
    return waits


@pytest.fixture
def index(site):
    return Index(site)


@pytest.fixture
def to(tmp_path):
    return tmp_path / "photos" / "alpaca"


@pytest.fixture
def search(facectl, site, to):
    """Give a function that searches as the command does."""

    def search(*more, count=3, words="alpaca", api=None, quiet=True):
        options = ["--count", count, "--to", to, "--api", api or site.address, *(["--quiet"] if quiet else [])]
        return facectl("data", "search", words, *options, *more)

    return search
