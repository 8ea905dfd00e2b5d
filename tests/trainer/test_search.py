"""Photographs by keyword: what comes is checked and recorded, and what does not come loses nothing."""

import csv
import fcntl
import hashlib
import io
import json
import math
import os
import signal
import struct
import threading
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from facectl_runtime import __version__
from facectl_runtime.errors import UsageError
from facectl_trainer import transfer
from facectl_trainer.data import openverse, search_folder, web
from facectl_trainer.data import search as searching
from facectl_trainer.data.openverse import in_words
from facectl_trainer.data.search_folder import COLUMNS, open_search
from loopback import Reply, serve

pytest.importorskip("requests")

TEXTS = ("title", "creator", "creator_url", "license_version", "license_url", "source", "foreign_landing_url")


def picture(seed, kind="JPEG"):
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (12, 16, 3), np.uint8)).save(file, kind)
    return file.getvalue()


def bomb():
    """Give a PNG whose header claims more pixels than any photograph has."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def photo_id(number):
    return f"00000000-0000-4000-8000-{number:012}"


class Index:
    """Openverse on this machine: as many photographs as a test adds, and answers of its own before those."""

    def __init__(self, site):
        self.site, self.photos, self.queries = site, [], []
        self.replies = []
        """What comes instead of the next pages."""
        self.headers = ()
        site.routes["/v1/images/"] = self.answer

    def add(self, content=None, path=None, **changes):
        number = len(self.photos)
        name = photo_id(number)
        url = self.site.put(path or f"/photo/{number}", picture(number) if content is None else content)
        about = {field: f"{field} of {number}" for field in TEXTS}
        known = {"id": name, "url": url, "license": "by", "attribution": f"photograph {number}", "mature": False}
        more = {"height": 12, "width": 16, "tags": [{"name": "x"}], "thumbnail": None, "filesize": None}
        self.photos.append(about | known | more | changes)
        return name

    def answer(self, query):
        self.queries.append(query)
        if self.replies:
            return self.replies.pop(0)
        size, page = int(query["page_size"]), int(query["page"])
        if size > 20 or page * size > 240:
            return problem(401, "Anonymous requests go no deeper than 240.")
        pages = math.ceil(len(self.photos) / size)
        found = self.photos[(page - 1) * size : page * size]
        body = {
            "result_count": len(self.photos),
            "page_count": pages,
            "page_size": size,
            "page": page,
            "results": found,
        }
        return Reply(json.dumps(body).encode(), headers=self.headers)

    def pages(self):
        return [int(query["page"]) for query in self.queries]

    def downloads(self):
        return [path for path, _ in self.site.asked if path.startswith("/photo")]


def problem(status, detail, *headers):
    return Reply(json.dumps({"detail": detail}).encode(), status, headers)


def limits(available, rate="20/min", scope="anon_burst"):
    return ((f"X-RateLimit-Limit-{scope}", rate), (f"X-RateLimit-Available-{scope}", str(available)))


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


def names(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def photographs(folder):
    return [name for name in names(folder) if name not in ("sources.csv", ".search.json")]


def rows(folder):
    with (folder / "sources.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def state(folder):
    return json.loads((folder / ".search.json").read_bytes())


def consistent(folder):
    """Check that table and files are of each other, and that nothing half-written is left; gives the rows."""
    table = rows(folder) if (folder / "sources.csv").exists() else []
    assert sorted(row["file"] for row in table) == photographs(folder)
    for row in table:
        assert hashlib.sha256((folder / row["file"]).read_bytes()).hexdigest() == row["sha256"]
    json.loads((folder / ".search.json").read_bytes())
    return table


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


def test_the_depth_without_a_key(search, index, to):
    for number in range(260):
        index.add(None if number < 2 else b"<html>")
    ran = search(count=250)
    assert ran.code == 3
    assert index.pages() == list(range(1, 13))
    assert "2 of 250 photographs of 'alpaca'; left out: 238 no readable picture" in ran.err
    assert "without a key, 240 results are given at most" in ran.err
    assert len(consistent(to)) == 2


def test_a_depth_that_has_become_less(search, index):
    for _ in range(45):
        index.add()
    search(count=20)
    index.replies = [problem(401, "No deeper than 20.")]
    ran = search(count=30)
    assert ran.code == 3
    assert "20 of 30" in ran.err
    assert "127.0.0.1: answers 401 Unauthorized (No deeper than 20.)" in ran.err


@pytest.mark.parametrize("status", [400, 401, 404])
def test_a_question_that_is_refused(search, index, to, status):
    index.replies = [problem(status, "Not so.\nNever.")]
    ran = search()
    assert ran.code == 1
    assert ran.error().startswith(f"127.0.0.1: answers {status} ")
    assert ran.error().endswith("(Not so.\\nNever.)")
    assert not to.exists()


def test_throttled(search, index, waits):
    for _ in range(3):
        index.add()
    said = "Request was throttled. Expected available in 35 seconds."
    index.replies = [problem(429, said, ("Retry-After", "35"))]
    ran = search(quiet=False)
    assert ran.code == 0
    assert len([wait for wait in waits if 34 < wait <= 35]) == 1
    assert ran.err.startswith("127.0.0.1: it has been asked too often; waiting 35 s\n")
    assert index.pages() == [1, 1]


def test_throttled_for_longer_than_there_is_patience(search, index, to, waits):
    for _ in range(25):
        index.add()
    search(count=20)
    index.replies = [problem(429, "Later.", ("Retry-After", "3000"))]
    ran = search(count=25)
    assert ran.code == 1
    assert ran.error() == (
        f"127.0.0.1: it has been asked too often; 20 of 25 photographs are in {to}; "
        "run it again in 50 min, or give more --patience (seconds)"
    )
    assert len(consistent(to)) == 20
    assert not [wait for wait in waits if wait > 1]
    assert search("--patience", 4000, count=25).code == 0


@pytest.mark.parametrize("after", [(), (("Retry-After", "Sun, 29 Nov 2026 00:00:00 GMT"),), (("Retry-After", "-1"),)])
def test_throttled_without_a_number(search, index, waits, after):
    index.add()
    index.replies = [problem(429, "Later.", *after)]
    assert search(count=1).code == 0
    assert [wait for wait in waits if 59 < wait <= 60]


def test_throttled_again_and_again(search, index, to):
    index.replies = [problem(429, "Later.", ("Retry-After", "1"))] * 9
    ran = search()
    assert ran.code == 1
    assert ran.error().startswith("127.0.0.1: answers 429 Too Many Requests (Later.); run it again in 1 s")
    assert len(index.queries) == transfer.TRIES
    assert not to.exists()


def test_no_request_left_in_this_minute(search, index, waits):
    for _ in range(25):
        index.add()
    index.headers = limits(199, "200/day", "anon_sustained") + limits(0)
    ran = search(count=25, quiet=False)
    assert ran.code == 0
    assert [wait for wait in waits if 59 < wait <= 60]
    assert "127.0.0.1: it allows 20/min requests, and they are used up; waiting 60 s\n" in ran.err


def test_no_request_left_today(search, index, to):
    for _ in range(25):
        index.add()
    index.headers = limits(19) + limits(0, "200/day", "anon_sustained")
    ran = search(count=25)
    assert ran.code == 1
    assert f"used up; 20 of 25 photographs are in {to}; run it again in 24 h" in ran.error()
    assert search(count=20).code == 0
    assert index.pages() == [1]


def test_a_server_that_fails_and_recovers(search, index, site):
    for _ in range(3):
        index.add()
    site.statuses = [500, 503]
    assert search().code == 0
    assert [path[:11] for path, _ in site.asked[:3]] == ["/v1/images/"] * 3


def test_a_server_that_goes_on_failing(search, site, to):
    site.statuses = [500] * 9
    ran = search()
    assert ran.code == 1
    assert ran.error() == "127.0.0.1: answers 500 Internal Server Error; run it again"
    assert not to.exists()


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"<html>login</html>",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"results": [{"id": "../../etc"}]}',
        b'{"results": [{"id": null}]}',
        b'{"results": [{"id": "a", "url": 1}]}',
        b"{}",
    ],
    ids=str,
)
def test_an_answer_that_is_no_page(search, index, to, body):
    index.replies = [Reply(body)] * 9
    ran = search()
    assert ran.code == 1
    assert "127.0.0.1: answers something else than a page of results; run it again" in ran.error()
    assert not to.exists()


def test_an_answer_without_end(search, index, monkeypatch):
    monkeypatch.setattr(openverse, "_LARGEST", 1000)
    index.replies = [Reply(bytes(100_000))]
    assert "sends more than the 1000 bytes" in search().error()


def test_a_server_that_is_not_there(search, to):
    ran = search(api="http://127.0.0.1:9")
    assert ran.code == 1
    assert ran.error() == "127.0.0.1: cannot be reached; run it again"
    assert not to.exists()
    assert to.parent.exists()


def test_the_connection_is_lost_in_the_middle(search, index, site, to):
    for _ in range(25):
        index.add()
    answered = site.routes["/v1/images/"]

    def once(query):
        if query["page"] == "2":
            return Reply(b"", 502)
        return answered(query)

    site.routes["/v1/images/"] = once
    ran = search(count=25)
    assert ran.code == 1
    assert ran.error() == (
        f"127.0.0.1: answers 502 Bad Gateway; 20 of 25 photographs are in {to}; run it again to go on"
    )
    assert len(consistent(to)) == 20
    site.routes["/v1/images/"] = answered
    assert search(count=25).code == 0
    assert len(index.downloads()) == 25
    assert index.pages() == [1, 2]


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


def test_pictures_that_the_caller_knows_are_left_out(index, site, to):
    for _ in range(3):
        index.add()
    met = []

    def is_known(image):
        met.append((image.mode, image.size))
        return len(met) == 2

    question = searching.ask_for("alpaca")
    done = searching.search(question, to, 2, api=site.address, quiet=True, is_known=is_known)
    assert [row["file"][:-4] for row in done.rows] == [photo_id(0), photo_id(2)]
    assert (done.left_out, set(met)) == ({"here already": 1}, {("RGB", (16, 12))})


@pytest.mark.parametrize("after", ["_write_table", "_done"])
def test_interrupted_between_two_files(search, index, to, monkeypatch, after):
    for _ in range(3):
        index.add()
    with monkeypatch.context() as patch:
        calls = []

        def interrupt(folder):
            calls.append(1)
            if len(calls) == 2:
                raise KeyboardInterrupt
            whole(folder)

        whole = getattr(search_folder.SearchFolder, after)
        patch.setattr(search_folder.SearchFolder, after, interrupt)
        ran = search(count=3)
        assert (ran.code, ran.error()) == (130, "interrupted")
    assert search(count=3).code == 0
    assert [row["file"][:-4] for row in consistent(to)] == [photo_id(number) for number in range(3)]


def test_interrupted_while_writing(search, index, to, monkeypatch):
    for _ in range(3):
        index.add()
    with monkeypatch.context() as patch:

        def interrupt(path, target):
            if target.name == "sources.csv" and target.exists():
                raise KeyboardInterrupt
            os.replace(path, target)  # noqa: PTH105

        patch.setattr(search_folder.Path, "replace", interrupt)
        assert search(count=3).code == 130
    assert len(rows(to)) == 1
    assert not list(to.glob(".*new"))
    assert search(count=3).code == 0
    assert len(consistent(to)) == 3


def test_a_full_disk(search, index, to, monkeypatch):
    for _ in range(3):
        index.add()
    with monkeypatch.context() as patch:

        def full(path, content):
            if path.name.startswith(f".{photo_id(1)}"):
                raise OSError(28, "No space left on device", str(path))
            with path.open("wb") as file:
                return file.write(content)

        patch.setattr(search_folder.Path, "write_bytes", full)
        ran = search(count=3)
    assert ran.code == 1
    assert ran.error() == (
        f"{to / photo_id(1)}.jpg: cannot be written (No space left on device); make room, or give another folder "
        "with --to"
    )
    assert len(consistent(to)) == 1
    assert search(count=3).code == 0


def test_two_at_once(search, index, to):
    index.add()
    search(count=1)
    lock = os.open(to, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    ran = search(count=1)
    os.close(lock)
    assert ran.code == 2
    assert ran.error() == f"{to}: another process is at it; wait for it, or give another --to"
    assert search(count=1).code == 0


def test_a_process_that_is_interrupted_while_a_second_one_tries(start, search, index, site, to):
    asked, release = threading.Event(), threading.Event()

    def slow(_):
        asked.set()
        release.wait(30)
        return Reply(b"", 404)

    site.routes["/slow"] = slow
    index.add()
    index.add(url=site.address + "/slow")
    index.add()
    first = start("data", "search", "alpaca", "--count", 3, "--to", to, "--api", site.address)
    assert asked.wait(60)
    assert "another process is at it" in search().error()
    first.send_signal(signal.SIGINT)
    out, err = first.communicate(timeout=60)
    release.set()
    assert (first.returncode, out, err) == (130, "", "facectl: interrupted\n")
    assert len(consistent(to)) == 1
    assert search(count=2).code == 0
    assert len(consistent(to)) == 2


def test_what_a_killed_process_left(search, index, to):
    for _ in range(2):
        index.add()
    search(count=1)
    (to / ".sources.csv.facectl.new").write_bytes(b"half")
    (to / f"{photo_id(1)}.jpg").write_bytes(picture(1))  # no row yet
    assert search(count=2).code == 0
    assert len(consistent(to)) == 2


@pytest.mark.parametrize(
    ("words", "more", "met"),
    [
        ("lama", (), "'alpaca', not 'lama'"),
        ("alpaca", ("--license", "cc0"), "'alpaca', not 'alpaca' (licence cc0)"),
        ("alpaca", ("--category", "any"), "'alpaca', not 'alpaca' (category any)"),
    ],
)
def test_a_folder_of_another_search_is_refused(search, index, to, tree, words, more, met):
    index.add()
    search(count=1)
    before = tree(to)
    ran = search(*more, words=words)
    assert ran.code == 2
    assert ran.error() == f"{to}: holds the search for {met}; give another --to"
    assert tree(to) == before


def test_a_folder_that_is_no_search_is_refused(search, index, to, tree):
    index.add()
    to.mkdir(parents=True)
    (to / "mine.jpg").write_bytes(b"precious")
    ran = search()
    assert ran.code == 2
    assert ran.error() == f"{to}: already there, and holds no search; give another --to"
    assert tree(to) == {"mine.jpg": b"precious"}
    assert index.queries == []


def test_an_empty_folder_will_do(search, index, to):
    to.mkdir(parents=True)
    assert search().code == 3
    assert names(to) == []
    index.add()
    assert search(count=1).code == 0


def test_a_place_that_cannot_be_written(search, index, to):
    to.parent.write_text("a file")
    assert "cannot be written" in search().error()
    to.parent.unlink()
    to.parent.mkdir()
    to.write_text("a file")
    assert "there is something else of that name" in search().error()
    assert index.queries == []


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        (".search.json", b"{", "not the state of a search"),
        (".search.json", b'{"question": 3}', "not the state of a search"),
        ("sources.csv", b"a,b\n1,2\n", "not the columns"),
        ("sources.csv", b'"', "cannot be read"),
        ("sources.csv", b"\xff", "cannot be read"),
        ("sources.csv", (",".join(COLUMNS) + "\n../x.jpg" + "," * 11).encode(), "'../x.jpg' is no file of this"),
        ("sources.csv", (",".join(COLUMNS) + "\nx.jpg,1\n").encode(), "not the columns"),
    ],
)
def test_a_folder_that_was_damaged(search, index, to, tree, file, content, said):
    index.add()
    search(count=1)
    (to / file).write_bytes(content)
    before = tree(to)
    ran = search()
    assert ran.code == 2
    assert said in ran.error()
    assert tree(to) == before


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


def test_the_lock_is_let_go(to):
    question = searching.ask_for("alpaca")
    for _ in range(2):
        with open_search(to, question):
            with pytest.raises(UsageError, match="another process is at it"), open_search(to, question):
                pass
            assert to.is_dir()
        assert not to.exists()


@pytest.mark.parametrize(("seconds", "words"), [(0.2, "1 s"), (59.9, "60 s"), (3000, "50 min"), (86_400, "24 h")])
def test_lengths_of_time(seconds, words):
    assert in_words(seconds) == words
