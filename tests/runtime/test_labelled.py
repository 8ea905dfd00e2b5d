"""Folders of labelled images, and the file that says which image is for what."""

import hashlib
import os
from pathlib import Path

import pytest

from facectl_runtime.errors import UsageError
from facectl_runtime.labelled import (
    PARTS,
    Image,
    beside_folders,
    choose_images,
    class_folders,
    content_hash,
    presplit,
    read_split,
)


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_every_folder_is_a_class_and_every_image_below_it_belongs_to_it(tmp_path):
    touch(
        tmp_path, "dog/2.png", "dog/1.jpg", "cat/kittens/3.webp", "dog/notes.txt", ".git/4.png", "5.png", "cat/.6.png"
    )
    assert class_folders(tmp_path) == [
        Image("cat/kittens/3.webp", "cat"),
        Image("dog/1.jpg", "dog"),
        Image("dog/2.png", "dog"),
    ]


def test_images_beside_the_class_folders_are_of_no_class_and_said_so(tmp_path):
    touch(tmp_path, "dog/1.png", "cat/2.jpg", "3.png", "4.JPG", ".5.png", "notes.txt")
    (tmp_path / "6.png").mkdir()
    touch(tmp_path, "6.png/7.png")
    assert set(beside_folders(tmp_path)) == {"3.png", "4.JPG"}
    assert choose_images(tmp_path, None, None).what == f"all images of {tmp_path} but 2 beside its class folders"
    for name in ("3.png", "4.JPG"):
        (tmp_path / name).unlink()
    assert choose_images(tmp_path, None, None).what == f"all images of {tmp_path}"
    touch(tmp_path, os.fsdecode(b"b\xe4r.png"))
    assert set(beside_folders(tmp_path)) == {"b\ufffdr.png"}


def test_a_class_may_have_any_name(tmp_path):
    names = ["two words", "Bär", "🦊", "-dash", "a,b"]
    touch(tmp_path, *(f"{name}/1.png" for name in names))
    assert sorted(image.label for image in class_folders(tmp_path)) == sorted(names)


def test_a_class_whose_name_is_not_utf8_can_be_printed_and_its_images_opened(tmp_path):
    touch(tmp_path, os.fsdecode(b"b\xe4r/1.png"))
    (image,) = class_folders(tmp_path)
    assert image.label == "b\ufffdr"
    assert (tmp_path / image.path).exists()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["1.png"], "no folders"),
        (["cat/1.png", "dog/notes.txt"], r"no images in the class folder dog"),
        ([], "no folders"),
    ],
)
def test_a_folder_that_holds_no_classes_says_so(tmp_path, names, message):
    touch(tmp_path, *names)
    with pytest.raises(UsageError, match=message):
        class_folders(tmp_path)


def test_a_missing_folder_and_a_file_say_so(tmp_path):
    touch(tmp_path, "file")
    for name in ("missing", "file"):
        with pytest.raises(UsageError, match=f"{name}: no such folder"):
            class_folders(tmp_path / name)


def test_a_folder_may_be_split_already(tmp_path):
    touch(tmp_path, "train/cat/1.png", "val/cat/2.png", "test/dog/3.png")
    assert presplit(tmp_path) == {
        "train": [Image("train/cat/1.png", "cat")],
        "val": [Image("val/cat/2.png", "cat")],
        "test": [Image("test/dog/3.png", "dog")],
    }


@pytest.mark.parametrize("names", ["train test", "train valid test", "train val test extra"])
def test_what_is_nearly_split_is_not_taken_for_classes(tmp_path, names):
    touch(tmp_path, *(f"{name}/red/1.png" for name in names.split()))
    with pytest.raises(UsageError, match="looks split already"):
        presplit(tmp_path)


def test_hidden_folders_are_no_part_and_no_class(tmp_path):
    touch(tmp_path, *(f"{part}/red/1.png" for part in PARTS), ".cache/1.png")
    assert set(presplit(tmp_path)) == set(PARTS)
    assert presplit(tmp_path / "missing") is None


def test_a_split_file_is_read(tmp_path):
    path = tmp_path / "split.json"
    path.write_text('{"root": "/data", "parts": {"test": [{"path": "a/1.png", "label": "a"}]}, "hashes": {}}')
    split = read_split(path)
    assert split.root == "/data"
    assert split.parts == {"test": [Image("a/1.png", "a")]}


@pytest.mark.parametrize(
    "text", ["", "[]", '{"root": "/data"}', '{"root": "/", "parts": {"other": []}, "hashes": {}}', "\xff", "[" * 10**5]
)
def test_a_damaged_split_file_says_so(tmp_path, text):
    path = tmp_path / "split.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(UsageError, match=r"split\.json: not a split file"):
        read_split(path)


def test_a_missing_split_file_says_so(tmp_path):
    with pytest.raises(UsageError, match=r"split\.json: No such file"):
        read_split(tmp_path / "split.json")


def test_the_content_hash_is_that_of_the_bytes(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(bytes(range(256)) * 5000)
    assert content_hash(path) == hashlib.sha256(bytes(range(256)) * 5000).hexdigest()
