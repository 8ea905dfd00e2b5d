"""Photographs that were tagged in VoTT, and the command that cuts them."""

import json

import pytest

from vott_documents import photograph


@pytest.fixture
def pictures(tmp_path):
    """Photographs below a folder, two of which have one name."""
    for seed, name in enumerate(("x.png", "one/face.png", "two/face.png", "my pics/Zoë #1.png")):
        photograph(tmp_path / "pictures" / name, seed)
    return tmp_path / "pictures"


@pytest.fixture
def cut(facectl, pictures, tmp_path):
    """Give a function that cuts what a document says, and says what the command did."""

    def cut(document, *more, to="crops", images=True):
        file = tmp_path / "export.json"
        file.write_bytes(document if isinstance(document, bytes) else json.dumps(document).encode())
        return facectl(
            *("data", "from-vott", file, "--to", tmp_path / to, "--quiet", *more),
            *(("--images", pictures) if images else ()),
        )

    return cut
