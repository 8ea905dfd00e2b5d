"""Photographs by keyword: what comes is checked and recorded."""

import io
import socket

import numpy as np
import pytest
from PIL import Image

from facectl_runtime import __version__
from facectl_trainer.data import openverse, web
from facectl_trainer.data import search as searching
from facectl_trainer.data.openverse import in_words
from facectl_trainer.data.search_folder import COLUMNS
from loopback import Reply
from openverse_index import TEXTS, bomb, consistent, photo_id, photographs, picture, rows, state


def test_photographs_come_with_their_sources(search, index, to, site):
    for number, kind in enumerate(("JPEG", "PNG", "WEBP", "JPEG")):
        index.add(picture(number, kind), license="cc0" if number == 1 else "by-sa")
    ran = search()
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines() == [
        f"{to}: 3 photographs of 'alpaca', 3 of them new",
        "licences: by-sa 2, cc0 1; sources.csv says whom to name",
        f"next: another keyword beside it: facectl data search KEYWORD --to {to.parent / 'KEYWORD'}; "
        f"then facectl data check {to.parent}",
    ]
    table = consistent(to)
    assert [row["file"] for row in table] == [f"{photo_id(0)}.jpg", f"{photo_id(1)}.png", f"{photo_id(2)}.webp"]
    assert tuple(table[0]) == COLUMNS
    assert (table[1]["license"], table[1]["title"], table[1]["attribution"]) == ("cc0", "title of 1", "photograph 1")
    assert table[2]["url"] == f"{site.address}/photo/2"
    assert (to / f"{photo_id(2)}.webp").read_bytes() == picture(2, "WEBP")
    assert index.queries == [
        {"q": "alpaca", "page_size": "20", "page": "1", "mature": "false", "category": "photograph"}
    ]
    assert site.agents == {f"facectl/{__version__}"}


def test_the_folder_is_ready_for_training(search, index, to):
    from facectl_runtime.labelled import class_folders

    index.add()
    search(count=1)
    assert [image.label for image in class_folders(to.parent)] == ["alpaca"]


def test_licences_and_category_are_asked_for(search, index):
    index.add(license="cc0")
    index.add(license="by-nd")
    ran = search("--license", "CC0, by", "--category", "any", "--json", count=2)
    assert ran.code == 3
    assert index.queries[0]["license"] == "by,cc0"
    assert "category" not in index.queries[0]
    said = ran.json()
    assert said["by_licence"] == {"cc0": 1}
    assert said["left_out"] == {"another licence": 1}
    assert (said["licences"], said["category"], said["asked"], said["new"]) == (["by", "cc0"], None, 2, 1)


def test_as_many_pages_as_needed(search, index, to, waits):
    for _ in range(45):
        index.add()
    assert search(count=41).code == 0
    assert index.pages() == [1, 2, 3]
    assert len(consistent(to)) == 41
    assert all(0 < wait <= 1 for wait in waits)


def test_again_goes_on_where_it_was_and_asks_for_nothing_twice(search, index, to):
    for _ in range(45):
        index.add()
    search(count=5)
    before = {name: (to / name).stat().st_mtime_ns for name in photographs(to)}
    ran = search(count=30)
    assert ran.out.startswith(f"{to}: 30 photographs of 'alpaca', 25 of them new\n")
    assert index.pages() == [1, 2]
    assert len(index.downloads()) == len(set(index.downloads())) == 30
    assert before.items() <= {name: (to / name).stat().st_mtime_ns for name in photographs(to)}.items()
    assert search(count=30).code == search(count=3).code == 0
    assert len(index.queries) == 2


def test_the_progress_is_shown(search, index):
    for _ in range(3):
        index.add()
    assert search(quiet=False).err.startswith("photographs: 3 in ")


def test_what_was_removed_by_hand_is_replaced_by_others(search, index, to):
    for _ in range(4):
        index.add()
    search(count=3)
    (to / f"{photo_id(1)}.jpg").unlink()
    assert search(count=3).code == 0
    assert [row["file"][:-4] for row in consistent(to)] == [photo_id(0), photo_id(2), photo_id(3)]
    assert index.downloads() == [f"/photo/{number}" for number in range(4)]
    assert state(to)["refused"] == {photo_id(1): "removed by hand"}


def test_fewer_than_asked_for(search, index, to):
    index.add()
    ran = search(count=5)
    assert ran.code == 3
    assert ran.out.startswith(f"{to}: 1 photographs")
    assert ran.err == (
        "facectl: 1 of 5 photographs of 'alpaca'; there are no further results: "
        "search for other words, into another folder\n"
    )
    assert search(count=5).code == 3
    assert index.pages() == [1]


def test_no_results_at_all(search, index, to):
    ran = search()
    assert ran.code == 3
    assert "0 of 3 photographs of 'alpaca'; there are no further results" in ran.error()
    assert not to.exists()
    assert index.pages() == [1]


UNUSABLE = [
    (b"<html>gone</html>", {}, "no readable picture"),
    (b"", {}, "no readable picture"),
    (picture(1)[:300], {}, "no readable picture"),
    (bomb(), {}, "no readable picture: the picture has 60000 x 60000 pixels"),
    (b"<svg></svg>", {}, "no readable picture"),
    (picture(1) + bytes(40_000), {}, "more than 30000 bytes"),
    (picture(0), {}, "here already"),
    (None, {"mature": True}, "marked as mature"),
    (None, {"license": None}, "no licence"),
    (None, {"url": None}, "no web address"),
    (None, {"url": "file:///etc/passwd"}, "no web address"),
    (None, {"url": "ftp://127.0.0.1/a.jpg"}, "no web address"),
    (None, {"url": "http://[::1"}, "no web address"),
    (None, {"url": "http://"}, "no web address"),
    (None, {"url": "lost"}, "answered 404"),
    (None, {"url": "redirect:file:///etc/passwd"}, "redirected too often, or to no web address"),
    (None, {"url": "redirect:ftp://127.0.0.1/a.jpg"}, "redirected too often, or to no web address"),
    (None, {"url": "redirect:http://:x/"}, "redirected too often, or to no web address"),
    (None, {"url": "redirect:/elsewhere"}, "redirected too often, or to no web address"),
]


@pytest.mark.parametrize(("content", "changes", "why"), UNUSABLE, ids=lambda value: str(value)[:40])
def test_a_photograph_that_is_no_use_is_left_out_for_good(search, index, site, to, monkeypatch, content, changes, why):
    monkeypatch.setattr(searching, "MAX_BYTES", 30_000)
    url = changes.get("url") or ""
    if url == "lost":
        changes = {"url": site.address + "/photo/lost"}
    elif url.startswith("redirect:"):
        target = url.removeprefix("redirect:")
        site.routes["/elsewhere"] = lambda _: Reply(b"", 302, (("Location", target),))
        changes = {"url": site.address + "/elsewhere"}
    index.add()
    bad = index.add(content, **changes)
    index.add()
    assert search(count=2).code == 0
    assert [row["file"][:-4] for row in consistent(to)] == [photo_id(0), photo_id(2)]
    assert state(to)["refused"][bad].startswith(why)
    asked = len(site.asked)
    ran = search(count=3)
    assert ran.code == 3
    assert f"left out: 1 {why.partition(':')[0]}" in ran.out
    assert len(site.asked) == asked


def test_a_redirect_is_followed(search, index, site, to):
    site.routes["/moved"] = lambda _: Reply(b"", 302, (("Location", "/photo/0"),))
    index.add(url=site.address + "/moved")
    assert search(count=1).code == 0
    assert len(consistent(to)) == 1


def test_a_photograph_that_breaks_off_is_tried_the_next_time(search, index, site, to):
    index.add(path="/photo/cut")
    index.add()
    answer = site.routes["/v1/images/"]

    def cut(query):
        reply = answer(query)
        site.cuts = [None, 100]  # this answer, and the photograph after it
        return reply

    site.routes["/v1/images/"] = cut
    ran = search(count=2)
    assert ran.code == 3
    assert "1 could not be downloaded now: run it again to try them again" in ran.err
    assert [photo["id"] for photo in state(to)["pending"]] == [photo_id(0)]
    assert search(count=2).code == 0
    assert {row["file"][:-4] for row in consistent(to)} == {photo_id(0), photo_id(1)}
    assert index.pages() == [1]


def test_a_host_that_is_busy_is_left_alone(search, index, site, to):
    busy = []
    site.routes["/busy"] = lambda _: busy.append(1) or Reply(b"", 429)
    for _ in range(3):
        index.add(url=site.address + "/busy")
    ran = search(count=1, quiet=False)
    assert ran.code == 3
    assert "3 could not be downloaded now" in ran.err
    assert len(busy) == 1
    assert len(state(to)["pending"]) == 3


def test_a_host_that_is_not_there_is_not_waited_for_again_and_again(search, index, monkeypatch):
    import requests

    asked = []
    get = requests.Session.get

    def counted(session, url, **options):
        asked.append(url)
        return get(session, url, **options)

    monkeypatch.setattr(requests.Session, "get", counted)
    for number in range(8):
        index.add(url=f"http://127.0.0.1:9/{number}")
    index.add(url=index.site.address.replace("127.0.0.1", "localhost") + "/photo/8")
    assert search(count=1).code == 0
    assert len([url for url in asked if ":9/" in url]) == searching.STRIKES


@pytest.mark.parametrize("status", [500, 503, 408])
def test_a_host_that_fails_is_not_asked_again_and_again(search, index, site, to, status):
    asked = []
    site.routes["/broken"] = lambda _: asked.append(1) or Reply(b"", status)
    for _ in range(8):
        index.add(url=site.address + "/broken")
    index.add(url=site.address.replace("127.0.0.1", "localhost") + "/photo/8")
    assert search(count=1).code == 0
    assert len(asked) == searching.STRIKES
    assert len(state(to)["pending"]) == 8


def test_a_host_that_drips_is_not_asked_again_and_again(search, index, monkeypatch, to):
    for _ in range(8):
        index.add()
    monkeypatch.setattr(web, "LONGEST", -1.0)
    monkeypatch.setattr(openverse, "receive", lambda answer, _: answer.content)
    assert search(count=1).code == 3
    assert len(index.downloads()) == searching.STRIKES
    assert len(state(to)["pending"]) == 8


LOCAL = [
    *("127.0.0.1", "127.1", "2130706433", "0x7f.0.0.1", "localhost", "LOCALHOST.", "x.localhost", "0.0.0.0"),
    *("169.254.169.254", "10.0.0.1", "192.168.1.1", "172.16.0.1", "100.64.0.1"),
    *("[::1]", "[fe80::1]", "[fe80::1%25eth0]", "[fd00::1]", "[::ffff:127.0.0.1]", "[::]"),
]


@pytest.mark.parametrize("redirected", [False, True])
def test_addresses_of_this_machine_and_its_network_are_not_asked(search, index, site, to, monkeypatch, redirected):
    def here(name, *more, **named):
        assert name in ("openverse.test", "photos.test"), "an address that was to be refused is asked"
        return found("127.0.0.1", *more, **named)

    found = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", here)
    monkeypatch.setenv("NO_PROXY", "*")
    public = site.address.replace("127.0.0.1", "photos.test")
    for number, name in enumerate(LOCAL):
        target = site.address.replace("127.0.0.1", name) + "/photo/secret"
        site.routes[f"/to/{number}"] = lambda _, target=target: Reply(b"", 302, (("Location", target),))
        index.add(url=f"{public}/to/{number}" if redirected else target)
    site.routes["/to/good"] = lambda _: Reply(b"", 302, (("Location", f"/photo/{len(LOCAL)}"),))
    index.add(url=f"{public}/to/good")
    assert search(count=1, api=site.address.replace("127.0.0.1", "openverse.test")).code == 0
    refused = state(to)["refused"]
    assert set(refused.values()) == {"an address of this machine or its own network"}
    assert len(refused) == len(LOCAL)
    assert index.downloads() == [f"/photo/{len(LOCAL)}"]


@pytest.mark.parametrize("name", ["8.8.8.8", "[2606:4700::1111]", "localhost.example.org", "10.example.org", "[", ""])
def test_other_addresses_are_no_local_ones(name):
    assert not web.is_local(f"http://{name}/a.jpg")


def test_a_photograph_that_drips(search, index, monkeypatch, to):
    index.add()
    monkeypatch.setattr(web, "LONGEST", -1.0)
    monkeypatch.setattr(openverse, "receive", lambda answer, _: answer.content)
    assert search(count=1).code == 3
    assert len(state(to)["pending"]) == 1


def test_fields_that_are_null_and_texts_of_any_kind(search, index, to):
    fields = dict.fromkeys((*TEXTS, "attribution", "mature"))
    index.add(**fields)
    odd = 'Ein "Älpaka", 羊驼 🦙\r\nzwei\nZeilen\rdrei; =1+1\0'
    index.add(title=odd, creator="x" * 200_000)
    assert search(count=2).code == 0
    bare, told = consistent(to)
    assert {bare[name] for name in (*TEXTS, "attribution")} == {""}
    assert told["title"] == odd
    assert len(told["creator"]) == 10_000
    index.add()
    assert search(count=2).code == 0


def test_a_copy_of_a_photograph_of_mine_is_left_out(search, index, to):
    for _ in range(3):
        index.add()
    search(count=1)
    (to / "mine.jpg").write_bytes(picture(1))
    assert search(count=2).code == 0
    assert [row["file"][:-4] for row in rows(to)] == [photo_id(0), photo_id(2)]
    assert (to / "mine.jpg").read_bytes() == picture(1)


def textured(seed, quality, mirrored=False):
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    large = Image.fromarray(small).resize((320, 240), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    (large.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else large).save(file, "JPEG", quality=quality)
    return file.getvalue()


def test_a_picture_that_was_only_saved_again_or_mirrored_is_left_out(search, index, to):
    first, _, other, _ = (
        index.add(content)
        for content in (textured(0, 95), textured(0, 60), textured(1, 90), textured(0, 90, mirrored=True))
    )
    assert search(count=1).code == 0
    done = search(count=4)  # goes on, and knows what it kept before
    assert done.code == 3
    assert "2 nearly the same is here already" in done.err
    assert sorted(path.stem for path in to.glob("*.jpg")) == sorted([first, other])


@pytest.mark.parametrize(
    ("words", "more", "said"),
    [
        ("alpaca", ("--license", "by,cc-0"), "--license 'cc-0' is not known; did you mean 'cc0'?; use by, "),
        ("alpaca", ("--category", "photo"), "--category 'photo' is not known; did you mean 'photograph'?; use photo"),
        ("  ", (), "a search takes 1 to 200 characters of text; these are 0: ''"),
        ("x" * 201, (), "these are 201"),
        ("alpaca", ("--count", "0"), "Invalid value for '--count'"),
    ],
)
def test_what_is_asked_for_wrongly(search, index, to, words, more, said):
    ran = search(*more, words=words)
    assert ran.code == 2
    assert said in ran.error()
    assert index.queries == []
    assert not to.exists()


@pytest.mark.parametrize("api", ["openverse", "file:///etc", "http://[", "ftp://127.0.0.1"])
def test_an_address_that_is_none(search, to, api):
    ran = search(api=api)
    assert ran.code == 2
    assert "is no address of the web" in ran.error()
    assert not to.exists()


@pytest.mark.parametrize(("seconds", "words"), [(0.2, "1 s"), (59.9, "60 s"), (3000, "50 min"), (86_400, "24 h")])
def test_lengths_of_time(seconds, words):
    assert in_words(seconds) == words
