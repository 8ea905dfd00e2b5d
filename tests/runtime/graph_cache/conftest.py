"""A home of the test's own for the graphs that are kept."""

import pytest


@pytest.fixture(autouse=True)
def graphs(tmp_path, monkeypatch):
    """Give facectl a folder of its own, and give the folder of the graphs in it."""
    monkeypatch.setenv("FACECTL_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("FACECTL_GRAPH_CACHE", raising=False)
    return tmp_path / "home/graphs"
