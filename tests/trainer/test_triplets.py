"""Triplets: two photographs of one person and one of another, drawn fairly, repeatably and once each."""

import csv
import os
from collections import Counter

import msgspec
import pytest

from facectl_runtime.errors import UsageError
from facectl_runtime.labelled import Image, Split, content_hash
from facectl_trainer.data.triplets import draw


@pytest.fixture
def data(tmp_path):
    """Three people of 5, 4 and 2 different photographs, one of them copied, and one person with one."""
    for person, count in {"anna": 5, "bob": 4, "cleo, the 2nd": 2, "dan": 1}.items():
        for number in range(count):
            path = tmp_path / "faces" / person / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(f"{person} {number}".encode())
    (tmp_path / "faces" / "bob" / "copy.jpg").write_bytes(b"bob 0")
    return tmp_path / "faces"


@pytest.fixture
def drawn(facectl, data, tmp_path):
    """Give a function that draws triplets, and says what the command did and what is in the file."""

    def drawn(*more, to="triplets.csv"):
        done = facectl("data", "triplets", "--data", data, "--to", tmp_path / to, "--quiet", *more)
        rows = list(csv.reader((tmp_path / to).open(newline=""))) if done.code in (0, 3) else []
        return done, rows

    return drawn


def person(path):
    return path.split("/")[0]


MOST = 5 * 4 * 6 + 4 * 3 * 7 + 2 * 1 * 9


@pytest.mark.parametrize("count", [1, 50, MOST])
def test_a_triplet_is_two_of_one_person_and_one_of_another(drawn, data, count):
    done, (header, *rows) = drawn("--count", count)
    assert done.code == 0
    assert done.err == ""
    assert "triplets.csv is ready" in done.out
    assert header == ["Anchor", "Positive", "Negative"]
    assert len(rows) == len({tuple(row) for row in rows}) == count
    for row in rows:
        anchor, positive, negative = row
        assert person(anchor) == person(positive) != person(negative)
        assert "dan" not in map(person, row)
        assert len({(data / path).read_bytes() for path in row}) == 3


def test_the_seed_decides_and_the_order_of_files_does_not(drawn, data):
    _, rows = drawn("--count", 40)
    for folder in sorted(data.iterdir(), reverse=True):  # made anew in another order
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
        for name in files:
            (folder / name).unlink()
        for name in sorted(files, reverse=True):
            (folder / name).write_bytes(files[name])
    assert drawn("--count", 40, to="again.csv")[1] == rows
    assert drawn("--count", 40, "--seed", 1, to="other.csv")[1] != rows


def test_people_are_anchors_alike_however_many_photographs_they_have():
    people = {"many": [f"many/{n}" for n in range(300)], "few": [f"few/{n}" for n in range(30)], "some": ["s/1", "s/2"]}
    anchors = Counter(person(anchor) for anchor, _, _ in draw(people, 900, seed=0))
    assert all(240 < anchors[name] < 360 for name in ("many", "few", "s"))


def test_who_has_one_photograph_is_left_out():
    people = {"a": ["a/1", "a/2"], "b": ["b/1", "b/2"], "c": ["c/1"]}
    triplets = draw(people, 8, seed=0)
    assert "c/1" not in {path for triplet in triplets for path in triplet}
    with pytest.raises(UsageError, match="--count 9: its 2 people make 8 triplets"):
        draw(people, 9, seed=0)


def test_more_than_there_are_is_one_line(drawn, tmp_path):
    done, _ = drawn("--count", MOST + 1)
    assert done.code == 2
    assert f"--count {MOST + 1}: its 3 people make {MOST} triplets; ask for at most as many" in done.error()
    assert [path.name for path in tmp_path.iterdir()] == ["faces"]


def test_fewer_than_two_people_with_two_photographs_is_one_line(drawn, data):
    for path in [*(data / "anna").iterdir(), *(data / "bob").iterdir()]:
        path.write_bytes(b"the same all over" + path.parent.name.encode())
    done, _ = drawn()
    assert done.code == 2
    assert "1 of 4 people have two different photographs or more" in done.error()


def test_nested_folders_belong_to_the_person_above(drawn, data):
    (data / "bob" / "later").mkdir()
    (data / "bob" / "3.jpg").rename(data / "bob" / "later" / "3.jpg")
    done, (_, *rows) = drawn("--count", MOST)
    assert done.code == 0
    assert "bob/later/3.jpg" in {path for row in rows for path in row}


def test_what_cannot_be_used_is_left_out_and_said(drawn, data):
    (data / "bob" / "loop.jpg").symlink_to("loop.jpg")
    (data / "anna" / "empty.jpg").write_bytes(b"")
    (data / "bob" / "twin.jpg").write_bytes(b"cleo, the 2nd 1")
    (data / "anna" / os.fsdecode(b"\xff.jpg")).write_bytes(b"anna 7")
    done, (_, *rows) = drawn("--count", 20)
    assert done.code == 3
    assert done.err.startswith("left out: 5: ")
    assert "bob/loop.jpg: is not a file, or a link to nothing" in done.err
    assert "anna/empty.jpg: is empty" in done.err
    assert "bob/twin.jpg, cleo, the 2nd/1.jpg: the same picture stands under two people" in done.err
    assert "its name is not UTF-8" in done.err
    used = {path for row in rows for path in row}
    assert not used & {"bob/loop.jpg", "anna/empty.jpg", "bob/twin.jpg", "cleo, the 2nd/1.jpg"}


def test_what_is_there_is_left_alone(drawn, tmp_path):
    (tmp_path / "triplets.csv").write_text("precious")
    done, _ = drawn()
    assert done.code == 2
    assert "already there" in done.error()
    assert (tmp_path / "triplets.csv").read_text() == "precious"
    (tmp_path / "file").write_text("no folder")
    done, _ = drawn("--count", 10, to="file/triplets.csv")
    assert done.code == 2
    assert "cannot be written" in done.error()
    done, _ = drawn("--count", 0, to="none.csv")
    assert done.code == 2
    assert "--count" in done.error()


def test_of_a_split_the_people_of_one_part_are_drawn_and_what_changed_since_is_left_out(drawn, data, tmp_path):
    parts = {"train": ["dan"], "val": [], "test": ["anna", "bob"]}
    images = {part: [Image(f"{who}/{n}.jpg", who) for who in some for n in range(4)] for part, some in parts.items()}
    tested = [image.path for image in images["test"]]
    hashes = {path: content_hash(data / path) for path in tested}
    (tmp_path / "split.json").write_bytes(msgspec.json.encode(Split(str(data), images, hashes)))
    (data / "bob" / "3.jpg").write_bytes(b"another")
    done, (_, *rows) = drawn("--split", tmp_path / "split.json", "--count", 4 * 3 * 3 + 3 * 2 * 4)
    assert (done.code, done.err) == (3, "left out: 1: bob/3.jpg: changed since the split was made\n")
    assert {path for row in rows for path in row} == {*tested} - {"bob/3.jpg"}
    done, _ = drawn("--part", "val", to="none.csv")
    assert (done.code, "is not split" in done.error()) == (2, True)


def test_a_folder_that_is_none_is_one_line(facectl, tmp_path):
    done = facectl("data", "triplets", "--data", tmp_path / "none", "--to", tmp_path / "triplets.csv")
    assert done.code == 2
    assert "none: no such folder" in done.error()
