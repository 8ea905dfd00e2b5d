"""A server on this machine, and weights that it has."""

import pytest

from facectl_trainer import transfer
from facectl_trainer.weights import Weights
from loopback import serve
from pulls import CONTENT, digest


@pytest.fixture
def site():
    with serve() as site:
        yield site


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Give the folder that weights go to."""
    monkeypatch.setenv("FACECTL_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("FACECTL_WEIGHTS_DIR", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(transfer, "PAUSE", 0.0)
    return tmp_path / "home" / "weights"


@pytest.fixture
def weights(site):
    """Give weights that the server has."""
    url = site.put("/net.h5", CONTENT)
    return Weights("imagenet", "net.h5", digest(CONTENT), "MIT", "tf", url=url, size=len(CONTENT))
