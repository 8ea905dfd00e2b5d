"""Data that is split already, and data that cannot be trained on."""

import shutil

import pytest

from facectl_runtime.labelled import PARTS
from facectl_trainer.run import read_run

pytest.importorskip("tf_keras")


# Folders that are split already


@pytest.fixture
def presplit(draw_classes, tmp_path):
    counts = {"train": 6, "val": 3, "test": 4}
    for seed, (part, count) in enumerate(counts.items()):
        draw_classes(tmp_path / "data" / part, {"red": count, "blue": count}, seed=1000 * seed)
    return tmp_path / "data"


def test_a_folder_that_is_split_is_taken_as_it_is(presplit, train, tmp_path):
    (presplit / "val" / "red" / "00.png").write_bytes(b"")
    done = train(presplit)
    assert done.code == 0
    assert done.json()["images"] == {"train": 12, "val": 5, "test": 8}
    assert list(done.json()["left_out"]) == ["val/red/00.png"]
    run = read_run(tmp_path / "runs" / "new")
    assert run.spec.labels == ("blue", "red")
    for part in PARTS:
        assert {image.path.split("/")[0] for image in run.split.parts[part]} == {part}
        assert all(image.label == image.path.split("/")[1] for image in run.split.parts[part])


def test_a_part_without_a_usable_image_is_named(presplit, refused):
    for path in (presplit / "val").rglob("*.png"):
        path.write_bytes(b"")
    message = refused(presplit)
    assert str(presplit / "val") in message


def test_a_class_that_is_only_tested_on_is_named(presplit, refused, draw_classes):
    draw_classes(presplit / "test", {"green": 3}, seed=5000)
    message = refused(presplit)
    assert str(presplit / "train") in message
    assert "green" in message


def test_folds_of_a_folder_that_is_split_are_refused(presplit, refused):
    assert "leave --fold out" in refused(presplit, "--fold", "1/3")


# What cannot be trained on


def test_a_folder_that_is_not_there(refused, tmp_path):
    assert "no such folder" in refused(tmp_path / "none")


def test_a_file_in_the_folder_s_place(refused, tmp_path, draw):
    assert "no such folder" in refused(draw(tmp_path / "one.png", "red", 1))


def test_images_without_class_folders(refused, tmp_path, draw):
    draw(tmp_path / "data" / "one.png", "red", 1)
    assert "it holds no folders" in refused(tmp_path / "data")


def test_one_class_is_none(refused, small):
    shutil.rmtree(small / "red")
    assert "only one class, blue" in refused(small)


def test_an_empty_class_is_named(refused, small):
    (small / "mauve").mkdir()
    assert "no images in the class folder mauve" in refused(small)


def test_a_class_of_only_corrupt_images_is_named(refused, small):
    for path in (small / "red").iterdir():
        path.write_bytes(path.name.encode())
    assert "no readable images in the class red" in refused(small)


def test_two_classes_of_the_same_pictures(refused, small):
    shutil.rmtree(small / "red")
    shutil.copytree(small / "blue", small / "red")
    said = refused(small)
    assert "no images are left in the class blue, red: " in said
    assert " left out, such as blue/00.png: the same picture stands under two labels; add others, or leave" in said


def test_copies_do_not_count_as_images(refused, small):
    for number in (1, 2, 3):
        shutil.copy(small / "red" / "00.png", small / "red" / f"0{number}.png")
    assert "class red: 3 different images or more are needed, and 1 can be used" in refused(small)


def test_a_label_that_no_model_can_carry_is_named_before_training(refused, small):
    (small / "red").rename(small / "red ")
    message = refused(small)
    assert "'red '" in message
    assert "rename the class" in message


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--backbone", "efficientnet_lite"], "did you mean 'efficientnet_lite"),
        (["--fold", "4/3"], "use K/N"),
        (["--epochs", "0"], "--epochs"),
        (["--seed", "-1"], "--seed"),
        (["--seed", str(2**32)], "--seed"),
        (["--device", "gpu"], "use auto, cpu, cuda or cuda:N"),
        (["--bakcbone", "x"], "--backbone"),
    ],
)
def test_an_option_that_makes_no_sense(refused, small, more, words):
    assert words in refused(small, *more)


def test_a_gpu_that_is_not_there_is_never_replaced(train, small, tmp_path):
    done = train(small, "--device", "cuda:99")
    assert done.code == 6
    assert "--device cuda:99: TensorFlow sees" in done.error()
    assert not (tmp_path / "runs").exists()


def test_a_copy_in_another_part_of_a_split_folder_is_left_out_of_the_earlier(presplit, train):
    copied = next((presplit / "test" / "red").iterdir())
    (presplit / "train" / "red" / "copy.png").write_bytes(copied.read_bytes())
    done = train(presplit)
    assert done.code == 0
    assert done.json()["left_out"] == {"train/red/copy.png": "the same picture stands in test"}
