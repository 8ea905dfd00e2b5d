"""Class folders from a table: what is taken, as many of each class, and nothing left out without a word."""

import os
import time

import pytest

CLASSES = ("OLD", "YOUNG", "MIDDLE")


@pytest.fixture
def images(tmp_path):
    """Thirty files, ten of each class, in two folders that use the same names."""
    for number in range(30):
        path = tmp_path / "images" / "ab"[number % 2] / f"{number // 2:02}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"picture {number}".encode())
    return tmp_path / "images"


def rows(count=30):
    return [f"{'ab'[number % 2]}/{number // 2:02}.jpg,{CLASSES[number % 3]}" for number in range(count)]


@pytest.fixture
def made(facectl, images, tmp_path):
    """Give a function that makes class folders of a table's text, and says what the command did."""

    def made(text, *more, to="classes"):
        table = tmp_path / "labels.csv"
        table.write_bytes(text if isinstance(text, bytes) else text.encode())
        return facectl("data", "from-csv", table, "--images", images, "--to", tmp_path / to, "--quiet", *more)

    return made


def table(lines, header="ID,Class"):
    return "\n".join([header, *lines]) + "\n"


def contents(folder):
    """Give class → the contents of its files."""
    return {
        label.name: sorted(path.read_text() for path in label.iterdir()) for label in folder.iterdir() if label.is_dir()
    }


def expected(*numbers):
    classes = {}
    for number in numbers or range(30):
        classes.setdefault(CLASSES[number % 3], []).append(f"picture {number}")
    return {label: sorted(files) for label, files in classes.items()}


def test_each_row_becomes_a_copy_under_its_class(made, tmp_path, tree, images):
    before = tree(images)
    done = made(table(rows()))
    assert done.code == 0
    assert done.err == ""
    assert contents(tmp_path / "classes") == expected()
    assert "30 images of 3 classes: MIDDLE 10, OLD 10, YOUNG 10" in done.out
    assert f"next: facectl train zoo --data {tmp_path / 'classes'}" in done.out
    assert tree(images) == before


@pytest.mark.parametrize(
    ("text", "more"),
    [
        ("\ufeffID;Class\r\na/00.jpg;OLD\r\nb/00;YOUNG\r\n", ()),
        ('ID,Class\n"a/00.jpg","OLD"\n"b/00.jpg", "YOUNG"\n', ()),
        ("ID,Class\na/00.jpg,OLD\na/00.jpg,OLD\nb/00.jpg,YOUNG\nb/00.jpg,YOUNG\n", ()),
        (
            "portrait\tage group\nb/00.jpg\tYOUNG\na/00.jpg\tOLD\n",
            ("--file-column", "portrait", "--label-column", "Age group"),
        ),
        ("Class,kind,ID\nx,OLD,a/00.jpg\ny,YOUNG,b/00.jpg\n", ("--label-column", "kind")),
        ("ID,Class,where\nx,OLD,a/00.jpg\ny,YOUNG,b/00.jpg\n", ("--file-column", "where")),
        ("label,Class\na/00.jpg,OLD\nb/00.jpg,YOUNG\n", ("--file-column", "label")),
    ],
)
def test_tables_as_people_write_them(made, tmp_path, text, more):
    done = made(text, *more)
    assert done.code == 0
    assert "left out: 28" in done.err
    assert "not in the table" in done.err
    assert contents(tmp_path / "classes") == expected(0, 1)


@pytest.mark.parametrize(
    ("header", "more", "said"),
    [
        (
            "face,clas",
            ("--label-column", "class"),
            "no column 'class' among face, clas; did you mean 'clas'?",
        ),
        ("ID,Class", ("--file-column", "path"), "no column 'path' among ID, Class; name one of these"),
        ("ID,age", (), "--label-column"),
        ("ID,Class", ("--file-column", "Class", "--label-column", "Class"), "name two"),
        ("Class,Class", ("--label-column", "Class"), "2 columns are called 'Class'"),
    ],
)
def test_a_column_that_is_not_there_is_one_line(made, tmp_path, header, more, said):
    done = made(table(rows(), header), *more)
    assert done.code == 2
    assert said in done.error()
    assert not (tmp_path / "classes").exists()


def test_rows_without_an_image_are_left_out_and_the_rest_is_done(made, images, tmp_path):
    (images / "loop.jpg").symlink_to("loop.jpg")
    (images / "empty.jpg").write_bytes(b"")
    (images / "round").symlink_to(images)
    done = made(
        table([*rows(), "gone.jpg,OLD", "../labels.csv,OLD", "00.jpg,OLD", "loop.jpg,OLD", "empty,OLD"]), "--json"
    )
    assert done.code == 3
    assert contents(tmp_path / "classes") == expected()
    assert done.json() == {
        "to": str(tmp_path / "classes"),
        "images": dict.fromkeys(sorted(CLASSES), 10),
        "renamed": {},
        "left_out": {
            "00.jpg": "fits 2 files, a/00.jpg and b/00.jpg",
            "../labels.csv": "leads out of the data folder",
            "gone.jpg": "no such image",
            "loop.jpg": "is not a file, or a link to nothing; give an image file",
            "empty.jpg": "is empty (0 bytes); give an image file",
        },
    }
    assert done.err.startswith("left out: 5: ../labels.csv: leads out of the data folder; 00.jpg: fits 2 files")
    assert done.err.count("\n") == 1


def test_what_cannot_be_trained_on_yet_is_said(made, tmp_path):
    alone = made(table(rows()[:1])).out
    assert f"{tmp_path / 'classes'}: 1 image of 1 class: OLD 1\n" in alone
    assert "it has one class alone, OLD, and two or more are needed" in alone
    few = made(table(rows()), "--per-class", "2,5", to="few").out
    lacks = "its class MIDDLE has 2 images, and 3 different ones or more of each are needed"
    assert f"{tmp_path / 'few'} is ready; before anything is trained on {tmp_path / 'few' / 'train'}: {lacks}" in few
    assert "facectl train" not in alone + few
    assert (
        f"next: facectl train zoo --data {tmp_path / 'most'}/train\n"
        in made(table(rows()), "--per-class", "3,1", to="most").out
    )
    assert (
        f"next: facectl train zoo --data {tmp_path / 'all'}\n"
        in made(table(rows()), "--per-class", "1,1,1", to="all").out
    )


def test_class_folders_do_not_go_into_the_images(made, images, tree):
    before = tree(images)
    done = made(table(rows()), to="images/classes")
    assert done.code == 2
    assert f"{images}/classes: lies inside {images}, which stays as it is; give another --to" in done.error()
    assert tree(images) == before


def test_paths_from_the_root_are_taken_below_the_images(made, images, tmp_path):
    lines = [f"{images}/{row}" for row in rows()]
    done = made(table([*lines, f"{tmp_path}/labels.csv,OLD"]))
    assert done.code == 3
    assert f"left out: 1: {tmp_path}/labels.csv: leads out of the data folder\n" in done.err
    assert contents(tmp_path / "classes") == expected()


def test_files_of_one_name_are_kept_apart(made, images, tmp_path):
    (images / "a" / "A.JPG").write_bytes(b"large")
    (images / "b" / "a.jpg").write_bytes(b"small")
    lines = ["a/00.jpg,OLD", "b/00.jpg,OLD", "a/01.jpg,YOUNG", "a/A.JPG,YOUNG", "b/a.jpg,YOUNG"]
    assert made(table(lines)).code == 0
    there = {path.relative_to(tmp_path / "classes"): path.read_text() for path in (tmp_path / "classes").rglob("*.*")}
    assert {str(path): text for path, text in there.items()} == {
        "OLD/00.jpg": "picture 0",
        "OLD/00-2.jpg": "picture 1",
        "YOUNG/01.jpg": "picture 2",
        "YOUNG/A.JPG": "large",
        "YOUNG/a-2.jpg": "small",
    }


def test_only_the_classes_asked_for(made, tmp_path):
    done = made(table(rows()), "--classes", "OLD, YOUNG")
    assert done.code == 0
    assert set(contents(tmp_path / "classes")) == {"OLD", "YOUNG"}
    refused = made(table(rows()), "--classes", "OLD,YUONG", to="more")
    assert refused.code == 2
    assert "'YUONG'" in refused.error()
    assert "did you mean 'YOUNG'?" in refused.error()
    assert not (tmp_path / "more").exists()


def test_a_class_whose_name_is_no_folder_is_written_otherwise_and_said(made, tmp_path):
    done = made(table(["a/00.jpg,20/30", "b/00.jpg,.."]), "--json")
    assert contents(tmp_path / "classes") == {"20%2F30": ["picture 0"], "%2E%2E": ["picture 1"]}
    assert done.json()["renamed"] == {"20/30": "20%2F30", "..": "%2E%2E"}
    assert "class 20/30: its folder is 20%2F30" in done.err
    refused = made(table([f"a/00.jpg,{'x' * 300}"]), to="long")
    assert refused.code == 2
    assert "cannot name a folder" in refused.error()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["classes", "images", "labels.csv"]


def test_exactly_so_many_of_each_class(made, images, tmp_path):
    for number in range(3, 12):  # copies of one picture count once
        (images / f"copy{number}.jpg").write_bytes(b"picture 0")
    lines = [*rows(), *(f"copy{number}.jpg,OLD" for number in range(3, 12))]
    assert made(table(lines), "--per-class", 10).code == 0
    assert contents(tmp_path / "classes") == expected()


def test_parts_are_balanced_disjoint_and_decided_by_content(made, images, tmp_path):
    assert made(table(rows()), "--per-class", "6,4").code == 0
    parts = {part: contents(tmp_path / "classes" / part) for part in ("train", "test")}
    assert sorted(path.name for path in (tmp_path / "classes").iterdir()) == ["test", "train"]
    for part, number in (("train", 6), ("test", 4)):
        assert {label: len(files) for label, files in parts[part].items()} == dict.fromkeys(CLASSES, number)
    assert {label: sorted(parts["train"][label] + parts["test"][label]) for label in CLASSES} == expected()

    renamed = []
    for line in reversed(rows()):
        path, label = line.split(",")
        (images / path).rename(images / f"z{path.replace('/', '')}")
        renamed.append(f"z{path.replace('/', '')},{label}")
    assert made(table(renamed), "--per-class", "6,4", to="again").code == 0
    assert {part: contents(tmp_path / "again" / part) for part in parts} == parts
    assert made(table(renamed), "--per-class", "6,4", "--seed", 1, to="other").code == 0
    assert contents(tmp_path / "other" / "train") != parts["train"]


def test_three_numbers_make_what_training_takes_as_split(made, tmp_path):
    from facectl_runtime.labelled import presplit

    done = made(table(rows()), "--per-class", "5,2,3", "--json")
    assert done.code == 0
    assert done.json()["images"]["val"] == dict.fromkeys(sorted(CLASSES), 2)
    assert {part: len(chosen) for part, chosen in presplit(tmp_path / "classes").items()} == {
        "train": 15,
        "val": 6,
        "test": 9,
    }


def test_a_picture_under_two_classes_is_in_no_part(made, images, tmp_path):
    (images / "twin.jpg").write_bytes(b"picture 0")
    done = made(table([*rows(), "twin.jpg,YOUNG"]), "--per-class", 9)
    assert done.code == 3
    assert "twin.jpg: the same picture stands under two classes" in done.err
    assert "picture 0" not in str(contents(tmp_path / "classes"))


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ("11", "class MIDDLE has 9 different images of its own, and 11 are asked for; ask for at most 9"),
        (
            "8,2",
            "class MIDDLE has 9 different images of its own, and 8 + 2 = 10 are asked for; ask for at most 9 together",
        ),
        ("0", "each 1 or more"),
        ("4,", "TRAIN,TEST"),
        ("1,2,3,4", "TRAIN,VAL,TEST"),
        ("many", "'many' is not known"),
    ],
)
def test_a_number_that_cannot_be_is_one_line(made, images, tmp_path, numbers, said):
    (images / "b" / "14.jpg").write_bytes((images / "a" / "01.jpg").read_bytes())  # number 29 as number 2
    done = made(table(rows()), "--per-class", numbers)
    assert done.code == 2
    assert said in done.error()
    assert not (tmp_path / "classes").exists()


def test_links_lead_to_the_images_and_nothing_is_copied(made, images, tmp_path):
    assert made(table(rows()), "--link", "--per-class", "3,2").code == 0
    links = list((tmp_path / "classes").rglob("*.jpg"))
    assert len(links) == 15
    assert all(path.is_symlink() and path.resolve().is_relative_to(images.resolve()) for path in links)


def test_what_is_there_is_left_alone(made, tmp_path, tree):
    (tmp_path / "classes").mkdir()
    (tmp_path / "classes" / "mine.txt").write_text("precious")
    done = made(table(rows()))
    assert done.code == 2
    assert "already there; give another --to" in done.error()
    assert tree(tmp_path / "classes") == {"mine.txt": b"precious"}


def test_a_target_that_cannot_be_written_is_one_line(made):
    done = made(table(rows()), to="labels.csv/classes")
    assert done.code == 2
    assert "cannot be written" in done.error()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_target_is_one_line(made, tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    try:
        done = made(table(rows()), to="locked/classes")
    finally:
        locked.chmod(0o700)
    assert done.code == 2
    assert "cannot be written" in done.error()


def test_no_row_that_can_be_used_is_one_line_and_makes_nothing(made, tmp_path, images):
    done = made(table(["gone.jpg,OLD"]))
    assert done.code == 2
    assert "no row names an image" in done.error()
    (images / "empty.jpg").write_bytes(b"")
    done = made(table(["empty.jpg,OLD"]))
    assert done.code == 2
    assert "is empty" in done.error()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "labels.csv"]


def test_when_copying_breaks_off_nothing_is_left(made, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device", "x.jpg")

    monkeypatch.setattr("facectl_trainer.data.tree.shutil.copy2", full)
    done = made(table(rows()))
    assert done.code == 1
    assert "No space left" in done.error()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "labels.csv"]


def test_a_hundred_thousand_rows_take_seconds(made, tmp_path):
    lines = [*rows(20) * 4500, *(f"gone{number}.jpg,OLD" for number in range(10_000))]
    start = time.perf_counter()
    done = made(table(lines))
    assert time.perf_counter() - start < 20
    assert done.code == 3
    assert contents(tmp_path / "classes") == expected(*range(20))
    assert "left out: 10,010: " in done.err
    assert len(done.err) < 2000
