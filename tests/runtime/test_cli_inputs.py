"""Inputs of every kind and name on the command line: what cannot be read has a row, and the others are answered."""

import errno
import os

import pytest

from bad_images import BAD, truncated_jpeg
from helpers import rows, stdin


def labels(ran):
    return {row["source"]: row.get("label") for row in rows(ran)}


# Inputs that cannot be read


@pytest.mark.parametrize("name", BAD)
def test_a_bad_input_has_a_row_and_the_others_are_answered(model, paint, tmp_path, facectl, name):
    data, said = BAD[name]
    first, last = paint("first.png", "red"), paint("last.png", "blue")
    (tmp_path / name).write_bytes(data)
    ran = facectl("predict", model, first, tmp_path / name, last, "--json")
    assert ran.code == 3
    found = rows(ran)
    assert [row.get("label") for row in found] == ["red", None, "blue"]
    assert said in found[1]["error"]
    table = facectl("predict", model, first, tmp_path / name, last)
    assert table.code == 3
    assert [line.split()[0] for line in table.out.splitlines()] == ["98.8%", "error", "98.8%"]
    assert "1 could not be read" in table.err
    assert "Traceback" not in ran.err + table.err


@pytest.mark.parametrize("name", BAD)
def test_a_bad_input_in_an_evaluation_is_named(model, classes, facectl, name):
    data, said = BAD[name]
    (classes / "red" / name).write_bytes(data)
    ran = facectl("evaluate", model, "--data", classes, "--json")
    assert ran.code == 3
    assert said in ran.json()["unreadable"][f"red/{name}"]
    assert ran.json()["n"] == 6


def test_all_of_them_at_once(model, tmp_path, facectl):
    for name, (data, _) in BAD.items():
        (tmp_path / name).write_bytes(data)
    ran = facectl("predict", model, tmp_path, "--csv")
    assert ran.code == 3
    assert ran.out.count("\n") == 1 + len(BAD)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("missing.png", "No such file"),
        ("*.xyz", "nothing matches"),
        ("", "not a path"),
        ("x" * 300, os.strerror(errno.ENAMETOOLONG)),
    ],
)
def test_what_is_not_there_has_a_row(model, facectl, word, said):
    ran = facectl("predict", model, word, "--json")
    assert ran.code == 3
    (row,) = rows(ran)
    assert row["source"] == word
    assert said in row["error"]


def test_a_folder_without_images_has_a_row(model, tmp_path, facectl):
    (tmp_path / "notes.txt").touch()
    ran = facectl("predict", model, tmp_path, "--json")
    assert ran.code == 3
    assert "no images" in rows(ran)[0]["error"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_is_not_waited_for(model, tmp_path, facectl):
    os.mkfifo(tmp_path / "pipe.png")
    ran = facectl("predict", model, tmp_path / "pipe.png", "--json")
    assert ran.code == 3


# Names


ODD = [
    "two words.png", "it's.png", 'say "cheese".png', "🦊.png", "Bär.png", "日本.png", "a,b;c.png", "new\nline.png",
    "[1].png", "~.png", "$HOME.png", "%s.png", "back\\slash.png", os.fsdecode(b"\xff\xfe.png"),
]  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_odd_names(model, paint, tmp_path, facectl, name):
    path = paint(f"f/{name}", "blue")
    shown = os.fsencode(path).decode("utf-8", "replace")
    for word in (path, tmp_path / "f", tmp_path / "f" / "*.png"):
        ran = facectl("predict", model, word, "--json")
        assert ran.code == 0
        assert labels(ran) == {shown: "blue"}
        assert facectl("predict", model, word).out.count("\n") == 1


@pytest.mark.parametrize("name", ["-a.png", "--json", "-", "--"])
def test_names_that_begin_with_a_dash(model, paint, tmp_path, monkeypatch, facectl, name):
    monkeypatch.chdir(tmp_path)
    paint("f/x.png", "blue").rename(tmp_path / name)
    if name != "-":
        assert labels(facectl("predict", "--json", model, "--", name)) == {name: "blue"}
    assert list(labels(facectl("predict", "--json", model, f"./{name}")).values()) == ["blue"]
    if name.endswith(".png"):
        for word in (tmp_path, "*.png"):
            assert list(labels(facectl("predict", "--json", model, word)).values()) == ["blue"]


def test_an_argument_that_is_not_utf8(model, paint, spawn, tmp_path):
    paint(os.fsdecode(b"\xff.png"), "blue")
    name = os.fsencode(tmp_path) + b"/\xff.png"
    for kind in ("--json", "--jsonl", "--csv", "--topk=2"):
        ran = spawn("predict", model, name, kind, "-q")
        assert (ran.code, ran.err) == (0, "")
        assert "\ufffd.png" in ran.out
    ran = spawn("predict", model, os.fsencode(tmp_path) + b"/\xfe.png", "--json")
    assert ran.code == 3


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_that_cannot_show_a_name_is_no_reason_to_stop(model, paint, spawn, encoding):
    path = paint("🦊.png", "blue")
    ran = spawn("predict", model, path, paint("a.png"), env={**os.environ, "PYTHONIOENCODING": encoding})
    assert ran.code == 0
    assert "🦊.png" in ran.out
    assert ran.out.count("\n") == 2
    assert spawn("verify", model, env={**os.environ, "PYTHONIOENCODING": encoding}).code == 0


# Standard input


def test_a_list_on_stdin(model, paint, monkeypatch, facectl):
    paths = [paint("two words.png", "red"), paint("Bär.png", "green"), paint("c.png", "blue")]
    for separator in ("\n", "\r\n", "\0"):
        stdin(monkeypatch, separator.join(map(str, [*paths, ""])).encode())
        assert list(labels(facectl("predict", model, "-", "--json")).values()) == ["red", "green", "blue"]


def test_a_list_with_a_missing_file(model, paint, monkeypatch, facectl):
    stdin(monkeypatch, f"{paint('a.png')}\nmissing.png\n".encode())
    ran = facectl("predict", model, "-", "--json")
    assert ran.code == 3
    assert [("error" in row) for row in rows(ran)] == [False, True]


def test_an_image_on_stdin(model, colours, spawn):
    ran = spawn("predict", model, "-", "--json", "--quiet", stdin=colours.png("green"))
    assert (ran.code, ran.err) == (0, "")
    assert labels(ran) == {"-": "green"}


def test_a_damaged_image_on_stdin(model, spawn):
    ran = spawn("predict", model, "-", "--json", stdin=truncated_jpeg())
    assert ran.code == 3
    assert "damaged" in rows(ran)[0]["error"]


def test_nothing_on_stdin_is_no_row_and_no_error(model, spawn):
    ran = spawn("predict", model, "-", "--json", stdin=b"")
    assert ran.code == 0
    assert rows(ran) == []
