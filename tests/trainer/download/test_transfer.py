"""Weights come whole and with the right digest, or not at all; what broke off goes on where it was."""

import dataclasses
import threading

import pytest

from facectl_trainer import transfer
from pulls import CONTENT, HALF, OTHER, get, names, ranges, refused


def test_a_file_from_its_address(weights, site, folder):
    done = get(weights, site)
    assert (done.found.weights, done.found.path, done.source) == (weights, folder / "net.h5", "127.0.0.1")
    assert (folder / "net.h5").read_bytes() == CONTENT
    assert done.found.sha256 == weights.digest.removeprefix("sha256:")
    assert names(folder) == ["net.h5"]


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
