"""The index is asked within its limits, and what does not come loses nothing."""

import pytest

from facectl_trainer import transfer
from facectl_trainer.data import openverse
from loopback import Reply
from openverse_index import consistent, limits, problem


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
    assert not to.parent.exists()


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
