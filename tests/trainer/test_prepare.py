"""Images are gathered, chosen and divided as the recipe says, and what cannot be used is named."""

import shutil

import pytest

from facectl_runtime.errors import UsageError
from facectl_runtime.labelled import PARTS
from facectl_trainer.prepare import divide, gather
from facectl_trainer.recipe import DataPlan, SplitPlan

PLAN = SplitPlan(0.25, 0.2)


def gathered(folder, seed=0, **plan):
    return gather(folder, DataPlan(**plan), seed, quiet=True)


def counts(found):
    labels = [image.label for image in found.images]
    return {label: labels.count(label) for label in sorted(set(labels))}


@pytest.fixture
def folder(tmp_path, draw_classes):
    return draw_classes(tmp_path / "data", {"red": 12, "green": 5, "blue": 8})


@pytest.fixture
def parted(tmp_path, draw_classes):
    for seed, part in enumerate(PARTS):
        draw_classes(tmp_path / "parts" / part, {"red": 4, "blue": 4}, seed=100 * seed)
    return tmp_path / "parts"


def test_the_classes_with_most_images_are_taken(folder):
    found = gathered(folder, top=2)
    assert counts(found) == {"blue": 8, "red": 12}
    assert found.labels == ("blue", "red")
    assert set(found.hashes) == {image.path for image in found.images}


def test_each_class_is_cut_to_the_number_asked_for_by_content_and_seed(folder):
    found = gathered(folder, per_class=6)
    assert counts(found) == {"blue": 6, "green": 5, "red": 6}
    assert gathered(folder, per_class=6).images == found.images
    assert gathered(folder, seed=1, per_class=6).images != found.images


def test_pictures_beside_the_class_folders_are_left_out_and_named(folder):
    shutil.copy(next(folder.glob("red/*")), folder / "whose.png")
    found = gathered(folder)
    assert counts(found) == {"blue": 8, "green": 5, "red": 12}
    assert found.left_out == {"whose.png": "beside the class folders, so of no class"}


def test_labels_come_from_a_table(folder):
    rows = [f"{path.relative_to(folder)},{'warm' if number % 2 else 'cold'}" for number, path in enumerate(
        sorted(folder.rglob("*.png")))]  # fmt: skip
    (folder / "labels.csv").write_text("\n".join(["ID,Class", *rows, "gone.png,warm"]))
    found = gathered(folder, labels="labels.csv")
    assert counts(found) == {"cold": 13, "warm": 12}
    assert "gone.png" in found.left_out


def test_a_folder_that_is_split_keeps_its_parts(parted):
    divided = divide(gathered(parted), PLAN, 0, None)
    assert {part: len(images) for part, images in divided.split.parts.items()} == dict.fromkeys(PARTS, 8)
    assert all(image.path.startswith(part) for part, images in divided.split.parts.items() for image in images)


@pytest.mark.parametrize("plan", [{"top": 2}, {"per_class": 3}])
def test_a_folder_that_is_split_is_not_chosen_from(parted, plan):
    with pytest.raises(UsageError, match=r"split already .* leave top and per_class out"):
        gathered(parted, **plan)


def test_a_class_with_one_image_is_named(folder, draw):
    draw(folder / "mauve" / "one.png", "blue", 999)
    with pytest.raises(UsageError, match="class mauve: 3 different images or more are needed, and 1"):
        divide(gathered(folder), PLAN, 0, None)


def test_what_is_unreadable_is_left_out_and_no_class_may_be_empty_then(folder):
    found = gathered(folder)
    less = found.without({"red/00.png": "damaged"})
    assert counts(less)["red"] == 11
    assert less.left_out == {"red/00.png": "damaged"}
    with pytest.raises(UsageError, match="no readable images in the class green"):
        found.without({image.path: "damaged" for image in found.images if image.label == "green"})


def test_a_class_that_train_has_no_more_is_named_with_the_reason(parted):
    for path in (parted / "train" / "blue").iterdir():
        shutil.copy(path, parted / "val" / "blue" / f"copy of {path.name}")
    with pytest.raises(UsageError) as caught:
        divide(gathered(parted), PLAN, 0, None)
    assert f"{parted}/train: no images are left in the class blue: 4 left out, such as train/blue/" in str(caught.value)
    assert ": the same picture stands in val; add others, or leave the class out" in str(caught.value)
    shutil.rmtree(parted / "train" / "blue")
    with pytest.raises(UsageError, match="train: no images in the class blue; add some"):
        divide(gathered(parted), PLAN, 0, None)


def test_the_fingerprint_is_of_what_is_used(folder):
    one, again = (divide(gathered(folder), PLAN, seed, None) for seed in (0, 1))
    assert one.fingerprint == again.fingerprint
    assert one.split.parts != again.split.parts
    assert divide(gathered(folder, top=2), PLAN, 0, None).fingerprint != one.fingerprint
