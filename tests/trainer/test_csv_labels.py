"""Labels from a table: what is taken, and that nothing is left out without a word."""

import os
import random
import unicodedata
from collections import Counter
from pathlib import Path

import pytest

from facectl_runtime.errors import UsageError, describe
from facectl_trainer.data.csv_labels import read_labels
from facectl_trainer.data.files_below import FilesBelow

DATA = Path(os.environ.get("FACECTL_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))


@pytest.fixture
def data(tmp_path):
    for name in ("a.jpg", "b.jpg", "c.png", "sub/d.jpg", "one/e.jpg", "two/e.jpg", "x.y.jpg", "notes.txt"):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return tmp_path / "data"


@pytest.fixture
def read(data, tmp_path):
    def read(text):
        table = tmp_path / "labels.csv"
        table.write_bytes(text if isinstance(text, bytes) else text.encode())
        images, left_out = read_labels(data, table)
        return {image.path: image.label for image in images}, left_out

    return read


def fails(read, text):
    with pytest.raises(UsageError) as caught:
        read(text)
    message = str(caught.value)
    assert "labels.csv" in message
    assert "\n" not in message
    assert len(message) < 1000
    return message


def test_rows_become_images_sorted_by_path(read):
    images, left_out = read("ID,Class\nsub/d.jpg,OLD\na.jpg,YOUNG\nc.png,OLD\n")
    assert images == {"a.jpg": "YOUNG", "c.png": "OLD", "sub/d.jpg": "OLD"}
    assert list(images) == sorted(images)
    assert left_out == dict.fromkeys(("b.jpg", "one/e.jpg", "two/e.jpg", "x.y.jpg"), "not in the table")


@pytest.mark.parametrize(
    "text",
    [
        "ID,Class\na.jpg,OLD\nd,YOUNG\nx.y,OLD\n",
        "\ufefflabel;id\r\nOLD;a\r\nYOUNG;d.jpg\r\nOLD;x.y.jpg\r\n",
        "Category\tPath\nOLD\ta.jpg\nYOUNG\tsub\\d\nOLD\t./x.y.jpg\n",
        'number,File Name,class\n1,"a.jpg", OLD \n2,sub/d.jpg,"YOUNG"\n\n3,x.y,OLD\n,,\n',
        "whatever,class\na,OLD\nsub/d,YOUNG\nx.y,OLD",
        "id,filename,class\n7,a.jpg,OLD\n8,d.jpg,YOUNG\n9,x.y.jpg,OLD\n",
        "ID,Class\ra.jpg,OLD\rd,YOUNG\rx.y,OLD\r",
    ],
)
def test_tables_as_people_write_them(read, text):
    assert read(text)[0] == {"a.jpg": "OLD", "sub/d.jpg": "YOUNG", "x.y.jpg": "OLD"}


def test_everything_left_out_has_its_reason_in_whatever_order(read, data):
    (data / "zz.jpg").write_bytes(b"")
    rows = [
        *("a.jpg,OLD", "a,YOUNG", "b.jpg,OLD", "b.jpg,OLD", "c.png,", "gone.jpg,OLD", "e.jpg,OLD", "one/e,YOUNG"),
        *("../a.jpg,OLD", "/etc/passwd,OLD", "C:\\b.jpg,OLD", ",OLD", "zz.jpg,OLD,far"),
    ]
    expected = {
        "a.jpg": "under 2 labels, OLD and YOUNG",
        "c.png": "no label",
        "gone.jpg": "no such image",
        "e.jpg": "fits 2 files, one/e.jpg and two/e.jpg",
        "../a.jpg": "leads out of the data folder",
        "/etc/passwd": "leads out of the data folder",
        "C:\\b.jpg": "leads out of the data folder",
        "": "no file name",
        "zz.jpg": "more fields than the 2 columns; quote what has commas",
    } | dict.fromkeys(("sub/d.jpg", "two/e.jpg", "x.y.jpg"), "not in the table")
    for seed in range(5):
        random.Random(seed).shuffle(rows)
        images, left_out = read("\n".join(["ID,Class", *rows]))
        assert images == {"b.jpg": "OLD", "one/e.jpg": "YOUNG"}
        assert left_out == expected


def test_a_path_from_the_root_is_taken_where_it_leads_into_the_folder(read, data):
    (data / "e.jpg").write_bytes(b"")
    linked = data.with_name("linked")
    linked.symlink_to(data)
    rows = [f"{data}/a.jpg,OLD", f"{data}/sub/d,YOUNG", f"{data}/e.jpg,ROOT", f"{data}/two//e.jpg,TWO"]
    images, _ = read("\n".join(["ID,Class", *rows]))
    assert images == {"a.jpg": "OLD", "sub/d.jpg": "YOUNG", "e.jpg": "ROOT", "two/e.jpg": "TWO"}
    outside = [f"{data}/../a.jpg", f"{data}/sub/../../x/a.jpg", f"{data}x/a.jpg", f"{data.parent}/a.jpg", "//a.jpg"]
    within = {f"{data}": "no such image", f"{data}/d.jpg": "no such image"}
    _, left_out = read("\n".join(["ID,Class", "b.jpg,OLD", *(f"{path},OLD" for path in (*outside, *within))]))
    expected = dict.fromkeys(outside, "leads out of the data folder") | within
    assert {name: why for name, why in left_out.items() if why != "not in the table"} == expected
    known = FilesBelow(linked)
    assert known.find(f"{linked}/a.jpg") == known.find(f"{data}/a.jpg") == Path("a.jpg")


def test_a_whole_path_is_told_from_the_end_of_another(read, data):
    (data / "e.jpg").write_bytes(b"")
    (data / "a.jpg.png").write_bytes(b"")
    images, _ = read("ID,Class\ne.jpg,ROOT\ntwo/e.jpg,TWO\na.jpg,EXACT\n")
    assert images == {"e.jpg": "ROOT", "two/e.jpg": "TWO", "a.jpg": "EXACT"}


def test_accents_fit_however_they_are_written(read, data):
    (data / unicodedata.normalize("NFD", "Zoë.jpg")).write_bytes(b"")
    images, _ = read(f"ID,Class\n{unicodedata.normalize('NFC', 'Zoë.jpg')},OLD\n")
    assert [unicodedata.normalize("NFC", path) for path in images] == ["Zoë.jpg"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("\n\n \n", "empty"),
        ("ID,Class\n", "no row names an image"),
        ("ID,Class\nnowhere.jpg,OLD\n", "no row names an image"),
        ("a.jpg,OLD\nb.jpg,YOUNG\n", "no column of classes among a.jpg, OLD"),
        ("ID,Clas\na.jpg,OLD\n", "did you mean 'class'"),
        ("ID,Class,Label\na.jpg,OLD,OLD\n", "more than one column of classes"),
        ("Class\nOLD\n", "no column of files"),
        ("ID,id,Class\na,a,OLD\n", "two columns are called"),
        (b"\x89PNG\r\n\x1a\n\0\0\0", "UTF-8"),
        ("ID,Class\na.jpg,OLD".encode("utf-16"), "UTF-8"),
        (b"ID,Class\na.jpg,\0OLD\n", "zero bytes"),
        ('ID,Class\na.jpg,"OLD\nb.jpg,YOUNG\n', "not a table"),
        ("ID,Class\n" + "a" * 200_000 + ",OLD\n", "not a table, line 2"),
        (",".join(f"column {i}" for i in range(100_000)), "…"),
    ],
)
def test_what_is_no_table_of_labels_is_one_line(read, text, said):
    assert said in fails(read, text)


def test_a_table_too_large_is_refused(read, monkeypatch):
    monkeypatch.setattr("facectl_runtime.text.MAX_BYTES", 20)
    assert "20 bytes" in fails(read, "ID,Class\na.jpg,OLD\n" * 2)


def test_missing_places_are_named(data, tmp_path):
    with pytest.raises(UsageError, match=r"none\.csv: cannot be read"):
        read_labels(data, tmp_path / "none.csv")
    with pytest.raises(UsageError, match="cannot be read"):
        read_labels(data, tmp_path)
    with pytest.raises(UsageError, match="nowhere: no such folder"):
        read_labels(tmp_path / "nowhere", tmp_path / "none.csv")


def test_what_is_left_out_is_told_in_one_bounded_line():
    assert describe({}) == "nothing"
    assert describe({"b": "no label", "a\n": "no such image"}) == "a\\n: no such image; b: no label"
    line = describe({f"{number:04}.jpg": "no label" for number in range(1500)})
    assert line.endswith("; and 1,497 more")
    assert len(line) < 200


@pytest.mark.skipif(not (DATA / "age" / "train.csv").is_file(), reason=f"no age/train.csv in {DATA}")
def test_the_age_data_is_read_whole():
    images, left_out = read_labels(DATA / "age", DATA / "age" / "train.csv")
    assert left_out == {}
    assert Counter(image.label for image in images) == {"YOUNG": 1500, "MIDDLE": 1500, "OLD": 1500}
