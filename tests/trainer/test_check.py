"""`facectl data check`: what is wrong is said, what is right is not, and nothing is touched."""

import os
import shutil
import struct
import sys
import zlib
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image, ImageFilter

from facectl_runtime.labelled import Image as Labelled
from facectl_runtime.labelled import Split
from facectl_trainer.data.check import scan
from facectl_trainer.data.check.findings import KINDS
from soft_pictures import draw_cats_and_dogs, picture, save


@pytest.fixture
def data(tmp_path):
    return draw_cats_and_dogs(tmp_path / "photos")


@pytest.fixture
def check(facectl):
    return lambda *words: facectl("data", "check", "--quiet", *words)


def bomb(path):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b""))


def cut_short(path):
    save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def deep(path):
    noise = np.random.default_rng(1).integers(0, 2**16, (120, 160), np.uint16)
    Image.fromarray(noise).save(path)


def with_holes(path):
    image = picture(99).convert("P")
    image.save(path, transparency=0)


def turned(path):
    exif = Image.Exif()
    exif[0x0112] = 6
    save(path, exif=exif)


def blurred(path):
    picture(99).filter(ImageFilter.GaussianBlur(9)).save(path)


ONE_FILE = {
    "cat/cut.jpg": ("unreadable", cut_short, "damaged"),
    "cat/text.jpg": ("unreadable", lambda path: path.write_text("a letter"), "not an image that facectl reads"),
    "cat/empty.png": ("unreadable", lambda path: path.touch(), "is empty (0 bytes)"),
    "cat/bomb.png": ("unreadable", bomb, "60000 x 60000 pixels"),
    "cat/loop.jpg": ("unreadable", lambda path: path.symlink_to("loop.jpg"), "cannot be read"),
    "cat/nowhere.jpg": ("unreadable", lambda path: path.symlink_to("gone.jpg"), "cannot be read"),
    "dog/grey.jpg": ("mode", lambda path: picture(99).convert("L").save(path), "grey"),
    "dog/holes.png": ("mode", with_holes, "transparent (P)"),
    "dog/print.jpg": ("mode", lambda path: picture(99).convert("CMYK").save(path), "CMYK"),
    "dog/deep.png": ("mode", deep, "more than 8 bits"),
    "dog/turned.jpg": ("rotated", turned, "EXIF orientation 6"),
    "dog/tiny.png": ("tiny", lambda path: picture(99, (63, 200)).save(path), "63 × 200"),
    "dog/soft.png": ("blurred", blurred, "blur 0."),
    "dog/puppies/one.jpg": ("nested", save, "inside the class folder dog"),
    "beside.jpg": ("stray", save, "beside the class folders"),
}


@pytest.mark.parametrize("name", ONE_FILE)
def test_one_file_is_found_for_what_it_is(check, data, name):
    kind, make, why = ONE_FILE[name]
    (data / name).parent.mkdir(exist_ok=True)
    make(data / name)
    assert_found(check, data, kind, [name], why)


def assert_found(check, data, kind, names, why, *more):
    """Hold that just one thing is found, in every way of asking."""
    problem = KINDS[kind][0] == "problem"
    done = check(data, "--json", *more)
    assert done.code == int(problem)
    (found,) = done.json()["findings"]
    assert (found["kind"], found["level"]) == (kind, KINDS[kind][0])
    assert sorted(photograph["path"] for photograph in found["photographs"]) == [n for n in names if n != "beside.jpg"]
    assert why in found["why"]
    words = check(data, *more)
    assert words.code == int(problem)
    assert kind in words.out
    assert why[:40] in words.out
    assert all(name in words.out for name in names)
    assert check(data, "--strict", *more).code == 1
    ignored = check(data, "--ignore", kind, "--strict", *more)
    assert ignored.code == 0
    assert "nothing found" in ignored.out


def copy(source, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def many_cats(data):
    for number in range(12):
        save(data / "cat" / f"more{number}.jpg", 200 + number)


def two_in_case(data):
    for number in range(3):
        save(data / "Dog" / f"{number}.jpg", 300 + number)


WHOLE = {
    "alike": (two_in_case, [], "Dog and dog"),
    "duplicate": (lambda d: copy(d / "cat/0.jpg", d / "cat/again.jpg"), ["cat/0.jpg", "cat/again.jpg"], "same file"),
    "conflict": (lambda d: copy(d / "cat/0.jpg", d / "dog/cat.jpg"), ["cat/0.jpg", "dog/cat.jpg"], "as cat and dog"),
    "near-duplicate": (
        lambda d: picture(2).resize((96, 72)).save(d / "cat" / "near.jpg", quality=50),
        ["cat/1.jpg", "cat/near.jpg"],
        "nearly the same picture",
    ),
    "imbalance": (many_cats, [], "cat has 15 different photographs, dog 3: 5.0 times as many"),
    "few": (lambda d: (d / "dog" / "1.jpg").unlink(), [], "dog: 2 different photographs; add 1 or more"),
    "empty-class": (lambda d: (d / "emu").mkdir(), [], "emu: no photographs in this class folder"),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_what_several_files_make_wrong_is_found(check, data, kind):
    make, names, why = WHOLE[kind]
    make(data)
    assert_found(check, data, kind, names, why)


def test_nothing_is_found_where_nothing_is_wrong(check, data):
    done = check(data, "--strict")
    assert done.code == 0
    assert done.err == ""
    assert "6 photographs of 2 classes, 3 to 3 each" in done.out
    assert "nothing found" in done.out
    assert f"facectl data split {data}" in done.out


def test_the_same_picture_in_two_parts_is_a_leak(check, tmp_path):
    for place, part in enumerate(("train", "val", "test")):
        draw_cats_and_dogs(tmp_path / "photos" / part, 10 * place)
    assert check(tmp_path / "photos", "--strict").code == 0
    copy(tmp_path / "photos/train/cat/0.jpg", tmp_path / "photos/test/cat/same.jpg")
    names = ["test/cat/same.jpg", "train/cat/0.jpg"]
    assert_found(check, tmp_path / "photos", "leak", names, "the same file, in test and train")
    copy(tmp_path / "photos/train/dog/0.jpg", tmp_path / "photos/train/dog/same.jpg")
    found = check(tmp_path / "photos", "--json").json()["findings"]
    assert [(one["kind"], one["level"]) for one in found] == [("leak", "problem"), ("duplicate", "warning")]


def test_parts_that_have_other_names_are_not_taken_for_classes(check, tmp_path):
    draw_cats_and_dogs(tmp_path / "train")
    draw_cats_and_dogs(tmp_path / "test", 10)
    done = check(tmp_path)
    assert done.code == 2
    assert "name them train, val, test" in done.error()


@pytest.fixture
def split(data):
    """Write a split file: of each class one photograph for each part."""
    parts = {
        part: [Labelled(f"{label}/{number}.jpg", label) for label in ("cat", "dog")]
        for number, part in enumerate(("train", "val", "test"))
    }
    path = data.parent / "split.json"
    path.write_bytes(msgspec.json.encode(Split(str(data), parts, {})))
    return path


def test_a_near_copy_across_a_split_file_is_a_leak(check, data, split, tmp_path):
    assert check("--split", split, "--strict").code == 0
    picture(0).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(data / "cat" / "2.jpg")
    done = check("--split", split, "--json")
    assert done.code == 1
    (found,) = done.json()["findings"]
    assert found["kind"] == "leak"
    assert found["why"] == "nearly the same picture, mirrored, in test and train"
    assert 0.9 <= found["likeness"] <= 1
    data.rename(tmp_path / "moved")
    gone = check("--split", split)
    assert gone.code == 2
    assert "name the folder where they lie now" in gone.error()
    assert check(tmp_path / "moved", "--split", split, "--json").json()["findings"] == [found]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"root": "x"}', b"\xff\xfe", b'{"root":1,"parts":{}}'])
def test_a_damaged_split_file_is_one_line(check, split, content):
    split.write_bytes(content)
    done = check("--split", split)
    assert done.code == 2
    assert "not a split file" in done.error()


def test_a_photograph_of_a_split_that_is_gone_is_a_problem(check, data, split):
    (data / "dog" / "1.jpg").unlink()
    done = check("--split", split, "--ignore", "few", "--json")
    assert done.code == 1
    assert [(f["kind"], f["photographs"][0]["path"]) for f in done.json()["findings"]] == [("unreadable", "dog/1.jpg")]


def test_a_table_is_held_against_the_photographs(check, data):
    rows = [f"{label}/{number}.jpg,{label}" for label in ("cat", "dog") for number in range(3)]
    (data / "labels.csv").write_text("\n".join(["file,class", *rows]))
    assert check(data, "--labels", "labels.csv", "--strict").code == 0
    save(data / "dog" / "unnamed.jpg")
    assert_found(check, data, "unlisted", [], "dog/unnamed.jpg", "--labels", "labels.csv")
    (data / "labels.csv").write_text("\n".join(["file,class", *rows, "dog/unnamed.jpg,dog", "dog/gone.jpg,dog"]))
    assert_found(check, data, "bad-row", [], "dog/gone.jpg: no such image", "--labels", "labels.csv")


def test_every_kind_of_finding_is_made_here():
    kinds = {kind for kind, *_ in ONE_FILE.values()} | WHOLE.keys() | {"leak", "bad-row", "unlisted"}
    assert kinds == KINDS.keys()


def test_json_holds_all_and_the_gravest_is_first(check, data):
    for name in ("beside.jpg", "cat/text.jpg", "dog/turned.jpg"):
        ONE_FILE[name][1](data / name)
    copy(data / "cat/0.jpg", data / "dog/cat.jpg")
    report = check(data, "--json", "--ignore", "mode, tiny").json()
    assert {name: report[name] for name in ("root", "n", "classes", "ignored", "fixed")} == {
        "root": str(data),
        "n": 9,
        "classes": {"cat": {"": 4}, "dog": {"": 5}},
        "ignored": ["mode", "tiny"],
        "fixed": None,
    }
    assert [finding["kind"] for finding in report["findings"]] == ["unreadable", "conflict", "rotated", "stray"]
    assert report["findings"][1]["photographs"] == [
        {"path": "cat/0.jpg", "label": "cat", "part": ""},
        {"path": "dog/cat.jpg", "label": "dog", "part": ""},
    ]


def test_how_small_is_tiny_can_be_said(check, data):
    assert check(data, "--strict", "--min-side", 120).code == 0
    done = check(data, "--strict", "--min-side", 121, "--json")
    assert done.code == 1
    assert [finding["kind"] for finding in done.json()["findings"]] == ["tiny"] * 6


def test_photographs_without_classes_are_checked_alike(check, data):
    copy(data / "cat/1.jpg", data / "cat/same.jpg")
    report = check(data / "cat", "--json").json()
    assert report["classes"] == {"": {"": 4}}
    assert [finding["kind"] for finding in report["findings"]] == ["duplicate"]


def test_links_that_lead_round_are_not_followed(check, data):
    (data / "cat" / "round").symlink_to(data)
    (data / "dog" / "self").symlink_to("self")
    (data / "self").symlink_to("self")
    report = check(data, "--json", "--strict")
    assert report.code == 0
    assert report.json()["n"] == 6


def test_a_name_that_is_no_text_is_shown_all_the_same(check, data):
    try:
        for name in (b"dog/\xff.jpg", b"\xfe.jpg"):
            (data / os.fsdecode(name)).write_bytes(b"broken")
        (data / os.fsdecode(b"\xfd")).mkdir()
    except OSError:
        pytest.skip("this file system takes no such names")
    done = check(data, "--json")
    assert done.code == 1
    found = done.json()["findings"]
    assert [finding["kind"] for finding in found] == ["unreadable", "unreadable", "empty-class", "stray"]
    assert found[0]["why"] == "dog/\N{REPLACEMENT CHARACTER}.jpg: its name is not UTF-8; rename it"
    assert found[1]["photographs"][0]["path"] == "dog/\N{REPLACEMENT CHARACTER}.jpg"
    check(data).out.encode()  # raises where there is what cannot be printed


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--ignore", "blured"), "'blured' is not known; did you mean 'blurred'?"),
        (("--ignore", "mode,,tiny"), "'' is not known"),
        (("--min-side", 0), "--min-side"),
        (("--labels", "none.csv"), "none.csv"),
        (("--split", "none.json"), "none.json"),
    ],
)
def test_an_option_that_cannot_be_is_one_line(check, data, words, said):
    done = check(data, *words)
    assert done.code == 2
    assert said in done.error()


def test_a_folder_with_nothing_to_check_is_one_line(check, tmp_path):
    (tmp_path / "empty" / "cat").mkdir(parents=True)
    for words, said in (
        ([tmp_path / "gone"], "no such folder"),
        ([tmp_path / "empty"], "no photographs in it"),
        ([], "what to check?"),
    ):
        done = check(*words)
        assert done.code == 2
        assert said in done.error()


def listing(folder):
    """Give all that can be seen of a folder from outside, links and times too."""
    paths = sorted([folder, *folder.rglob("*")])
    return [(str(p), p.lstat().st_mtime_ns, p.lstat().st_mode, p.is_file() and p.read_bytes()) for p in paths]


def test_the_photographs_stay_as_they_are(check, data, tmp_path):
    for name, (_, make, _) in ONE_FILE.items():
        (data / name).parent.mkdir(exist_ok=True)
        make(data / name)
    before = listing(data)
    done = check(data, "--html", tmp_path / "page.html", "--fix", tmp_path / "fixed")
    assert done.code == 1
    assert listing(data) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fixed", "page.html", "photos"]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is forked")
@pytest.mark.parametrize(("threads", "way"), [(1, "fork"), (2, "spawn")])
def test_many_are_looked_at_in_processes_with_the_same_result(check, tmp_path, monkeypatch, threads, way):
    monkeypatch.setattr(scan, "active_count", lambda: threads)
    for number in range(75):
        save(tmp_path / "ab"[number % 2] / f"{number:02}.jpg", number)
    copy(tmp_path / "a/00.jpg", tmp_path / "a/99.jpg")
    for number in (10, 36, 74):
        (tmp_path / "a" / f"{number}.jpg").write_bytes(b"broken")
    pools = []
    monkeypatch.setattr(scan, "get_context", lambda kind, real=scan.get_context: pools.append(kind) or real(kind))
    in_processes = check(tmp_path, "--json").json()
    assert pools == [way]
    monkeypatch.setattr(scan, "_CHUNK", 1000)
    in_this = check(tmp_path, "--json").json()
    assert pools == [way]
    assert [finding["kind"] for finding in in_this["findings"]] == ["unreadable"] * 3 + ["duplicate"]
    assert in_processes | {"seconds": 0} == in_this | {"seconds": 0}


def test_the_documentation_names_each_kind():
    page = (Path(__file__).parents[2] / "docs/data.md").read_text(encoding="utf-8")
    assert [kind for kind in KINDS if f"`{kind}`" not in page] == []


def test_what_comes_next_can_be_run(check, data, split):
    assert f"next: facectl data split {data} --to split.json --near" in check(data).out
    assert f"next: facectl train zoo --split {split}" in check("--split", split).out
