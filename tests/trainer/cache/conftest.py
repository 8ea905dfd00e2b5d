"""A file for the feature cache, which is not there yet."""

import pytest


@pytest.fixture
def file(tmp_path):
    return tmp_path / "deep" / "er" / "features.sqlite"
