"""`facectl data split`: decided once, by content, and taken by every command that asks what is for what."""

import itertools
import os
import shutil
import subprocess
import sys

import pytest
from PIL import Image

from facectl_runtime.labelled import PARTS, content_hash, presplit, read_split
from soft_pictures import picture


def fill(folder, names):
    """Write a file for each name; what it holds is no picture, which splitting by content does not ask for."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(f"picture {name}".encode())
    return folder


@pytest.fixture
def data(tmp_path):
    """Twenty of one class and ten of another."""
    names = [f"{label}/{number:02}.jpg" for label, n in (("cat", 20), ("dog", 10)) for number in range(n)]
    return fill(tmp_path / "photos", names)


@pytest.fixture
def split(facectl, tmp_path):
    """Give a function that splits into `split.json` and says what the command did."""
    return lambda folder, *words, to="split.json": facectl(
        "data", "split", folder, "--to", tmp_path / to, "--quiet", *words
    )


@pytest.fixture
def refused(split, tmp_path):
    """Give a function that splits in vain, and gives the one line said."""

    def refused(folder, *words):
        there = sorted(tmp_path.rglob("*"))
        done = split(folder, *words)
        assert done.code == 2
        assert sorted(tmp_path.rglob("*")) == there
        return done.error()

    return refused


def parts_of(path):
    return {part: [image.path for image in images] for part, images in read_split(path).parts.items()}


def contents_of(path):
    made = read_split(path)
    return {part: sorted(made.hashes[image.path] for image in images) for part, images in made.parts.items()}


def counts(done):
    return {part: (each.get("cat", 0), each.get("dog", 0)) for part, each in done.json()["images"].items()}


# Shares and counts


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), {"train": (13, 6), "val": (3, 2), "test": (4, 2)}),
        (("--test", "0.5", "--val", ".1"), {"train": (8, 4), "val": (2, 1), "test": (10, 5)}),
        (("--test", "5", "--val", "3"), {"train": (12, 2), "val": (3, 3), "test": (5, 5)}),
        (("--test", "8", "--val", "0.3"), {"train": (6, 1), "val": (6, 1), "test": (8, 8)}),
        (("--test", "0.001", "--val", "0.001"), {"train": (18, 8), "val": (1, 1), "test": (1, 1)}),
        (("--test", "0.98", "--val", "0.01"), {"train": (1, 1), "val": (1, 1), "test": (18, 8)}),
    ],
)
def test_each_class_is_split_in_the_shares_or_numbers_asked_for(split, data, tmp_path, words, expected):
    done = split(data, *words, "--json")
    assert done.code == 0
    assert done.err == ""
    assert counts(done) == expected
    made = read_split(tmp_path / "split.json")
    assert made.root == str(data.resolve())
    placed = [image.path for part in PARTS for image in made.parts[part]]
    assert sorted(placed) == sorted(str(path.relative_to(data)) for path in data.rglob("*.jpg"))  # each once
    assert all(image.path.startswith(image.label) for part in PARTS for image in made.parts[part])
    assert made.hashes == {path: content_hash(data / path) for path in placed}


def test_the_table_says_how_many_there_are_and_what_comes_next(split, data, tmp_path):
    lines = split(data).out.splitlines()
    assert [line.split() for line in lines[:4]] == [
        ["class", "train", "val", "test"],
        ["cat", "13", "3", "4"],
        ["dog", "6", "2", "2"],
        ["all", "19", "5", "6"],
    ]
    assert lines[4] == f"{tmp_path}/split.json is ready; next: facectl train zoo --split {tmp_path}/split.json"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--test", "0.9", "--val", "0.2"), "--test 0.9 and --val 0.2 leave nothing to train on"),
        (("--test", "0.5", "--val", "0.5"), "leave nothing to train on"),
        (("--test", "50"), "class cat: 20 different images can be used, and 50 to test"),
        (("--test", "10"), "class dog: 10 different images can be used, and 10 to test and 1 for val leave none"),
        (("--test", "9"), "class dog: 10 different images can be used, and 9 to test and 1 for val leave none"),
        (("--test", "5", "--val", "5"), "class dog: 10 different images can be used, and 5 to test and 5 for val"),
        (("--test", "9", "--group-by", "[0-9]+"), "class dog: 10 different images can be used, and none would be left"),
        (("--val", "50", "--group-by", "[0-9]+"), "none would be left to train on"),
        (("--test", "1.5"), "--test '1.5' is not known; give a share such as 0.2, or a number"),
        (("--test", "0"), "--test '0' is not allowed, for each part is needed; give a share such as 0.2, or a number"),
        (("--val", "0.0"), "--val '0.0' is not allowed, for each part is needed"),
        (("--val", "-1"), "--val '-1' is not known"),
        (("--val", "15%"), "--val '15%' is not known; give a share such as 0.15, or"),
        (("--val", "200%"), "--val '200%' is not known; give a share such as 0.2, or"),
        (("--link",), "--link is of --folders"),
        (("--group-by", "("), "--group-by '(' is not a pattern"),
        (("--group-by", "kitten"), "names no group of 30 of 30 images, such as cat/00.jpg"),
        (("--group-by", "cat/(.)"), "names no group of 10 of 30 images, such as dog/00.jpg"),
        (("--group-by", "none.csv:burst"), "none.csv: cannot be read"),
        (("--labels", "none.csv"), "none.csv"),
    ],
)
def test_what_cannot_be_split_so_is_one_line_and_nothing_is_written(refused, data, words, said):
    assert said in refused(data, *words)


def test_a_folder_that_cannot_be_split_is_one_line(refused, data, tmp_path):
    assert "no such folder" in refused(tmp_path / "gone")
    for part in PARTS:
        shutil.copytree(data, tmp_path / "parts" / part)
    assert "split already into train, val and test" in refused(tmp_path / "parts")
    few = fill(tmp_path / "few", ["cat/0.jpg", "cat/1.jpg", "dog/0.jpg", "dog/1.jpg", "dog/2.jpg"])
    assert "class cat: 3 different images or more are needed, and 2 can be used" in refused(few)
    assert "only one class, cat" in refused(fill(tmp_path / "one", ["cat/0.jpg", "cat/1.jpg", "cat/2.jpg"]))


# By content


def test_neither_names_nor_their_order_matter_and_the_seed_does(split, data, tmp_path):
    assert split(data).code == 0
    first = contents_of(tmp_path / "split.json")
    files = {label: sorted((data / label).iterdir()) for label in ("cat", "dog")}
    for label, paths in files.items():  # each takes the name of another, and half lie deeper
        for number, path in enumerate(reversed(paths)):
            target = tmp_path / "renamed" / label / ("deep" if number % 2 else "") / f"x{number:02}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    assert split(tmp_path / "renamed", to="renamed.json").code == 0
    assert contents_of(tmp_path / "renamed.json") == first
    assert split(data, "--seed", 1, to="other.json").code == 0
    assert contents_of(tmp_path / "other.json")["test"] != first["test"]


def test_a_photograph_more_moves_few_others(split, data, tmp_path):
    split(data)
    before = parts_of(tmp_path / "split.json")
    fill(data, ["cat/new.jpg"])
    split(data, "--force")
    after = parts_of(tmp_path / "split.json")
    moved = [path for part in PARTS for path in before[part] if path not in after[part]]
    assert len(moved) <= 2  # over the two edges


def test_copies_stay_together_and_conflicts_are_left_out(split, data, tmp_path):
    for number in range(20):
        shutil.copy(data / "cat" / f"{number:02}.jpg", data / "cat" / f"copy of {number:02}.jpg")
    shutil.copy(data / "dog/00.jpg", data / "cat/a dog.jpg")
    (data / "dog/empty.jpg").touch()
    for words in ((), ("--group-by", "[^/]*$")):
        done = split(data, *words, "--force")
        assert done.code == 0
        assert "left out: 3: cat/a dog.jpg, dog/00.jpg: the same picture stands under two labels" in done.err
        assert "dog/empty.jpg: is empty" in done.err
        contents = contents_of(tmp_path / "split.json")
        assert all(not set(contents[a]) & set(contents[b]) for a, b in itertools.combinations(PARTS, 2))
        assert sum(map(len, contents.values())) == 40 + 9


# Groups


@pytest.fixture
def bursts(tmp_path):
    """Twelve bursts of one to four photographs, of which every third has both classes in it."""
    names = []
    for burst in range(12):
        labels = ("cat", "dog") if burst % 3 == 0 else (("cat", "dog")[burst % 2],)
        names += [f"{label}/b{burst:02}_{shot}.jpg" for label in labels for shot in range(1 + burst % 4)]
    return fill(tmp_path / "photos", names)


def straddling(path, group):
    """Give the groups that stand in more than one part."""
    groups = [set(map(group, chosen)) for chosen in parts_of(path).values()]
    assert all(groups)
    return [one & other for one, other in itertools.combinations(groups, 2) if one & other]


def burst_of(path):
    return path.partition("/")[2][:3]


@pytest.mark.parametrize("rule", ["b[0-9]+", "/(b[0-9]+)_[0-9]", "(?P<burst>b..)_", "groups.csv:burst"])
def test_a_group_is_wholly_in_one_part_though_it_has_both_classes(split, bursts, tmp_path, rule):
    rows = [str(path.relative_to(bursts)) for path in bursts.rglob("*.jpg")]
    (bursts / "groups.csv").write_text("\n".join(["file,burst", *(f"{row},{burst_of(row)}" for row in rows)]))
    assert split(bursts, "--test", "0.3", "--val", "0.3", to="alone.json").code == 0
    assert straddling(tmp_path / "alone.json", burst_of)
    done = split(bursts, "--group-by", rule, "--test", "0.3", "--val", "0.3", "--json")
    assert done.code == 0
    assert straddling(tmp_path / "split.json", burst_of) == []
    total = sum(map(len, parts_of(tmp_path / "split.json").values()))
    assert total == len(rows)
    for part, share in (("train", 0.4), ("val", 0.3), ("test", 0.3)):
        for number, label in zip(counts(done)[part], ("cat", "dog"), strict=True):
            wanted = share * sum(row.startswith(label) for row in rows)
            assert abs(number - wanted) <= 4  # the largest burst of a class


def test_groups_are_split_by_content_and_seed(split, bursts, tmp_path):
    assert split(bursts, "--group-by", "b..").code == 0
    first = contents_of(tmp_path / "split.json")
    for path in list(bursts.rglob("*.jpg")):
        label, burst, shot = path.parent.name, int(path.name[1:3]), path.stem[-1]
        target = tmp_path / "renamed" / label / f"b{40 - burst}_{9 - int(shot)}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    assert split(tmp_path / "renamed", "--group-by", "b..", to="renamed.json").code == 0
    assert contents_of(tmp_path / "renamed.json") == first
    others = []
    for seed in (1, 2, 3):
        assert split(bursts, "--group-by", "b..", "--seed", seed, "--force").code == 0
        others.append(contents_of(tmp_path / "split.json"))
    assert any(other != first for other in others)


def test_what_is_said_is_the_same_in_every_process(data, tmp_path):
    """Python orders the members of a set differently in each."""
    fill(data, [f"{label}/{number}.jpg" for label in ("ape", "bat", "cow", "emu") for number in range(5)])
    words = ["data", "split", str(data), "--to", str(tmp_path / "split.json"), "--group-by", "[0-9]+", "--val", "90"]
    said = set()
    for seed in "1234":
        command = [sys.executable, "-c", "from facectl_runtime.cli import main; main()", *words]
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        said.add(done.stderr.splitlines()[-1])
    none_left = (
        "class ape: 5 different images can be used, and none would be left to train on; ask for fewer, or for shares"
    )
    assert said == {f"facectl: {none_left}"}


def test_too_few_groups_are_one_line(refused, data):
    assert "class cat: its groups are too few or too large" in refused(data, "--group-by", "cat|dog")
    assert "group more finely, or add photographs" in refused(data, "--group-by", ".*/0|.*/1")


def test_a_table_of_groups_needs_a_row_for_each(refused, bursts):
    rows = sorted(str(path.relative_to(bursts)) for path in bursts.rglob("*.jpg"))
    (bursts / "groups.csv").write_text("\n".join(["file,burst", *(f"{row},{burst_of(row)}" for row in rows[1:])]))
    said = refused(bursts, "--group-by", "groups.csv:burst")
    assert f"names no group of 1 of {len(rows)} images, such as {rows[0]}" in said
    assert "did you mean 'burst'?" in refused(bursts, "--group-by", "groups.csv:brust")


@pytest.fixture
def photographs(tmp_path):
    """Eight pictures of each class, each with two near copies, and one file that is no picture."""
    for number, label in itertools.product(range(8), ("cat", "dog")):
        image = picture(number + 10 * (label == "dog"))
        (tmp_path / "photos" / label).mkdir(parents=True, exist_ok=True)
        image.save(tmp_path / "photos" / label / f"{number}.png")
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "photos" / label / f"{number} mirrored.png")
        image.resize((60, 45)).save(tmp_path / "photos" / label / f"{number} small.jpg", quality=60)
    (tmp_path / "photos/dog/broken.jpg").write_bytes(b"broken")
    return tmp_path / "photos"


def test_near_copies_stay_together_where_that_is_asked_for(split, facectl, photographs, tmp_path):
    def shown(path):
        return path[:5]

    assert split(photographs, to="alone.json").code == 0
    assert straddling(tmp_path / "alone.json", shown)
    done = split(photographs, "--near")
    assert done.code == 0
    assert "left out: 1: dog/broken.jpg: is not an image" in done.err
    assert straddling(tmp_path / "split.json", shown) == []
    words = ("data", "check", "--quiet", "--json", "--ignore", "tiny,unreadable", "--split")
    leaks = facectl(*words, tmp_path / "alone.json")
    assert leaks.code == 1
    assert "leak" in {finding["kind"] for finding in leaks.json()["findings"]}
    kept = facectl(*words, tmp_path / "split.json")
    assert kept.code == 0
    assert {finding["kind"] for finding in kept.json()["findings"]} == {"near-duplicate"}


# What is written


def test_what_is_there_stays_unless_forced(split, refused, data, tmp_path):
    (tmp_path / "split.json").write_text("precious")
    assert "already there; give another --to, or --force" in refused(data)
    assert (tmp_path / "split.json").read_text() == "precious"
    assert split(data, "--force").code == 0
    assert parts_of(tmp_path / "split.json")["test"]
    (tmp_path / "split.json").unlink()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "note.txt").touch()
    assert "give another --folders" in refused(data, "--folders", tmp_path / "mine")
    assert "a folder; give the name of a file" in split(data, to="mine").error()
    assert "cannot be written" in split(data, to="mine/note.txt/split.json").error()


def test_a_split_file_that_cannot_be_written_is_noticed_first_and_leaves_no_folders(split, data, tmp_path):
    (tmp_path / "note.txt").touch()
    for to in ("note.txt/split.json", "note.txt/deep/split.json"):
        said = split(data, "--folders", tmp_path / "parts", to=to).error()
        assert f"{to}: cannot be written ({tmp_path}/note.txt is no folder); give another --to" in said
    long = f"{'x' * 250}.json"  # a name that is known to be too long once it is written
    assert "cannot be written (File name too long)" in split(data, "--folders", tmp_path / "parts", to=long).error()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["note.txt", "photos"]
    assert split(data, "--folders", tmp_path / "parts", to="parts/split.json").code == 0
    assert sorted(path.name for path in (tmp_path / "parts").iterdir()) == ["split.json", "test", "train", "val"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_place_is_one_line(split, data, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    assert f"{tmp_path}/locked may not be written" in split(data, to="locked/split.json").error()


def test_folders_do_not_go_into_the_photographs(refused, data):
    said = refused(data, "--folders", data / "parts")
    assert f"{data}/parts: lies inside {data}, which stays as it is; give another --folders" in said


@pytest.mark.parametrize("link", [False, True])
def test_folders_hold_each_photograph_in_its_part(split, data, tmp_path, tree, link):
    fill(data, ["cat/deep/00.jpg"])
    before = tree(data)
    assert split(data, "--folders", tmp_path / "parts", *(["--link"] if link else [])).code == 0
    assert tree(data) == before
    made = read_split(tmp_path / "split.json")
    folders = presplit(tmp_path / "parts")
    for part in PARTS:
        wanted = sorted((image.label, made.hashes[image.path]) for image in made.parts[part])
        assert sorted((i.label, content_hash(tmp_path / "parts" / i.path)) for i in folders[part]) == wanted
    files = list((tmp_path / "parts").rglob("*.jpg"))
    assert {path.is_symlink() for path in files} == {link}
    assert not link or {path.resolve() for path in files} == {path.resolve() for path in data.rglob("*.jpg")}


def test_when_copying_breaks_off_nothing_is_left(split, data, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device", "x.jpg")

    monkeypatch.setattr("facectl_trainer.data.tree.shutil.copy2", full)
    done = split(data, "--folders", tmp_path / "parts")
    assert done.code == 1
    assert "No space left" in done.error()
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]
