"""Pairs of photographs that a file lists."""

import os
from collections import Counter
from pathlib import Path

import pytest

from facectl_runtime.errors import UsageError
from facectl_runtime.faces.pair_files import Pair, read_pairs, read_triplets

PROTOCOL = Path(os.environ.get("FACECTL_TEST_DATA", Path(__file__).parents[4] / "shared/data")) / "lfw-protocol"


SMALL = """2\t1
Ann\t1\t12
Ann\t2\tBo_B\t3
Cy\t10\t4
Cy\t1\tDi\t10000
"""


@pytest.fixture
def write(tmp_path):
    def write(content: str | bytes, name: str = "list.txt") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@pytest.mark.parametrize("change", [lambda t: t, lambda t: t.replace("\t", " "), lambda t: t.replace("\n", "\r\n"),
                                    lambda t: "\ufeff" + t + "\n\n"])  # fmt: skip
def test_folds_of_pairs_are_read(write, change):
    assert read_pairs(write(change(SMALL))) == [
        Pair("Ann/Ann_0001.jpg", "Ann/Ann_0012.jpg", True, 0),
        Pair("Ann/Ann_0002.jpg", "Bo_B/Bo_B_0003.jpg", False, 0),
        Pair("Cy/Cy_0010.jpg", "Cy/Cy_0004.jpg", True, 1),
        Pair("Cy/Cy_0001.jpg", "Di/Di_10000.jpg", False, 1),
    ]


def test_one_set_of_pairs_is_one_fold(write):
    found = read_pairs(write("1\nAnn 1 2\nAnn 1 Bo 1\n"))
    assert [(pair.same, pair.fold) for pair in found] == [(True, 0), (False, 0)]


@pytest.mark.skipif(not PROTOCOL.is_dir(), reason="LFW's lists of pairs are not here")
@pytest.mark.parametrize(
    ("name", "folds", "each"), [("pairs.txt", 10, 300), ("pairsDevTest.txt", 1, 500), ("pairsDevTrain.txt", 1, 1100)]
)
def test_the_lists_of_lfw_are_read(name, folds, each):
    found = read_pairs(PROTOCOL / name)
    assert Counter((pair.fold, pair.same) for pair in found) == {
        (fold, same): each for fold in range(folds) for same in (True, False)
    }
    assert all((pair.a.split("/")[0] == pair.b.split("/")[0]) == pair.same for pair in found)
    people = [{path.split("/")[0] for pair in found if pair.fold == fold for path in (pair.a, pair.b)}
              for fold in range(folds)]  # fmt: skip
    assert len(set().union(*people)) == sum(map(len, people))  # nobody is in two folds


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "empty"),
        ("\n\n", "empty"),
        ("pairs\n", "line 1: 'pairs' does not say"),
        ("1 2 3\n", "line 1: '1 2 3' does not say"),
        ("0\n", "line 1: '0' does not say"),
        ("-1 5\n", "line 1: '-1 5' does not say"),
        (SMALL.replace("Cy\t10\t4\n", ""), "3 lines of pairs, where its first line, '2 1', says 4"),
        (SMALL + "Ann\t1\t2\n", "5 lines of pairs"),
        (SMALL.replace("Ann\t1\t12", "Ann\t1\tBo\t2"), "line 2: 'Ann 1 Bo 2' has 4 fields; 'Name i j'"),
        (SMALL.replace("Cy\t1\tDi\t10000", "Cy\t1\t2"), "line 5: 'Cy 1 2' has 3 fields; 'Name i Other j'"),
        (SMALL.replace("\t12", "\ttwelve"), "line 2: 'Ann 1 twelve' has no number"),
        (SMALL.replace("\t12", "\t0"), "line 2: 'Ann 1 0' has no number"),
        (SMALL.replace("\t12", "\t٣"), "line 2: .* has no number"),
        (SMALL.replace("\t12", "\t1"), "line 2: .* pairs a photograph with itself"),
        (SMALL.replace("Bo_B", "Ann"), "line 3: .* names one person twice"),
        (SMALL.replace("Bo_B", "../Bo"), "line 3: .* a name that cannot be a folder's"),
        (SMALL.replace("Bo_B", ".."), "line 3: .* a name that cannot be a folder's"),
        (b"\xff\xfe1\x00", "byte 0 is not UTF-8"),
    ],
)
def test_a_list_of_pairs_that_is_not_right_is_one_clear_line(write, content, says):
    path = write(content)
    with pytest.raises(UsageError, match=says) as met:
        read_pairs(path)
    assert str(met.value).startswith(f"{path}: ")
    assert "\n" not in str(met.value)


def test_a_list_that_is_not_there_is_named(tmp_path):
    for read in (read_pairs, lambda path: read_triplets(path, tmp_path)):
        with pytest.raises(UsageError, match=r"none\.txt: cannot be read"):
            read(tmp_path / "none.txt")
        with pytest.raises(UsageError, match="cannot be read"):
            read(tmp_path)


def test_a_list_that_is_far_too_long_is_not_read(write, monkeypatch):
    monkeypatch.setattr("facectl_runtime.text.MAX_BYTES", 10)
    with pytest.raises(UsageError, match="over 10 bytes"):
        read_pairs(write(SMALL))


@pytest.fixture
def photographs(tmp_path):
    for name in ("ann/1.jpg", "ann/2.jpg", "bo, b/1.jpg", "ann/é.jpg"):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "data"


ROWS = 'Anchor,Positive,Negative\nann/1.jpg,ann/2.jpg,"bo, b/1.jpg"\nann/2.jpg,ann/é.jpg,"bo, b/1.jpg"\n'


def test_a_triplet_is_two_decisions(write, photographs):
    expected = [
        Pair("ann/1.jpg", "ann/2.jpg", True, 0),
        Pair("ann/1.jpg", "bo, b/1.jpg", False, 0),
        Pair("ann/2.jpg", "ann/é.jpg", True, 0),
        Pair("ann/2.jpg", "bo, b/1.jpg", False, 0),
    ]
    assert read_triplets(write(ROWS), photographs) == expected
    assert read_triplets(write("\ufeff" + ROWS.replace("\n", "\r\n") + "\r\n,,\r\n"), photographs) == expected


def test_one_photograph_spelt_in_two_ways_is_one(write, photographs):
    dotted = write(ROWS.replace("ann/2.jpg,ann/é.jpg", "./ann/2.jpg,ann//é.jpg"))
    assert read_triplets(dotted, photographs) == read_triplets(write(ROWS), photographs)
    with pytest.raises(UsageError, match="three different ones are needed"):
        read_triplets(write(ROWS.replace("ann/2.jpg,ann/é.jpg", "ann/2.jpg,./ann/2.jpg")), photographs)


def test_columns_may_stand_in_any_order_with_others(write, photographs):
    text = "Negative,Note,Anchor,Positive\n" + '"bo, b/1.jpg",x,ann/1.jpg,ann/2.jpg\n'
    assert read_triplets(write(text), photographs)[1] == Pair("ann/1.jpg", "bo, b/1.jpg", False, 0)


def test_what_facectl_writes_is_read(tmp_path):
    triplets = pytest.importorskip("facectl_trainer.data.triplets")
    names = [f"{person}/{number}.jpg" for person in ("ann", 'b"o', "c,y") for number in range(3)]
    for name in names:
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    drawn = triplets.draw({p: [n for n in names if n.startswith(p)] for p in ("ann", 'b"o', "c,y")}, 30, 0)
    triplets._write(tmp_path / "triplets.csv", drawn)
    found = read_triplets(tmp_path / "triplets.csv", tmp_path / "data")
    assert [(same.a, same.b, different.b) for same, different in zip(found[::2], found[1::2], strict=True)] == drawn


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "no triplets"),
        ("Anchor,Positive,Negative\n", "no triplets"),
        ("anchor,Positive,Negative\na,b,c\n", "no single column Anchor among anchor, Positive, Negative"),
        ("Anchor,Positive\na,b\n", "no single column Negative among Anchor, Positive"),
        ("Anchor,Positive,Negative,Anchor\na,b,c,d\n", "no single column Anchor"),
        ("ann/1.jpg,ann/2.jpg,bo/1.jpg\n", "no single column Anchor among ann/1.jpg"),
        ("Anchor,Positive,Negative\nann/1.jpg,ann/2.jpg\n", "line 2: a path is missing"),
        ("Anchor,Positive,Negative\nann/1.jpg,,ann/2.jpg\n", "line 2: a path is missing"),
        ("Anchor,Positive,Negative\na,b,c\na,b,/c\n", "line 3: '?/c'? is not a path below"),
        ("Anchor,Positive,Negative\na,../b,c\n", "line 2: '../b' is not a path below"),
        ("Anchor,Positive,Negative\na,C:\\b,c\n", "line 2: .* is not a path below"),
        ("Anchor,Positive,Negative\na,a,c\n", "line 2: it names 'a' with a photograph twice"),
        ('Anchor,Positive,Negative\n"a,b,c\n', "not a table, line 2"),
        (b"Anchor,Positive,Negative\n\xe9,b,c\n", "byte 25 is not UTF-8"),
        (b"Anchor,Positive,Negative\na\0,b,c\n", "zero bytes"),
        (ROWS + "".join(f"x/{n}.jpg,y/{n}.jpg,ann/1.jpg\n" for n in range(3)), "6 of its 10 images are not below"),
    ],
)
def test_triplets_that_are_not_right_are_one_clear_line(write, photographs, content, says):
    path = write(content)
    with pytest.raises(UsageError, match=says) as met:
        read_triplets(path, photographs)
    assert str(met.value).startswith(f"{path}: ")
    assert "\n" not in str(met.value)


def test_of_many_missing_images_the_first_are_named(write, photographs):
    path = write(ROWS + "".join(f"x/{n}.jpg,y/{n}.jpg,ann/1.jpg\n" for n in range(3)))
    with pytest.raises(UsageError, match=r"data: x/0.jpg, y/0.jpg, x/1.jpg and 3 more; give the folder"):
        read_triplets(path, photographs)
