"""A split by people: nobody is in two parts, and whoever has one photograph is not trained on."""

import shutil

import msgspec
import pytest

from facectl_runtime.errors import UsageError
from facectl_runtime.labelled import PARTS, Image, Split
from facectl_trainer.data.split import Fold
from facectl_trainer.data.split_classes import check_paired, paired, split_classes
from facectl_trainer.prepare import divide, gather
from facectl_trainer.recipe import DataPlan, SplitPlan

PLAN = SplitPlan(0.25, 0.2)


def photographs(several, single=0, each=3):
    """List the images of people, each of a content of its own."""
    counts = {f"several {number}": each for number in range(several)} | {f"single {n}": 1 for n in range(single)}
    images = [Image(f"{label}/{number}.png", label) for label, count in counts.items() for number in range(count)]
    return images, {image.path: f"content of {image.path}" for image in images}


def split(images, hashes, test=0.2, val=0.1, seed=0, fold=None):
    return split_classes(images, hashes, test=test, val=val, seed=seed, fold=fold)


def people(parts):
    return {part: {image.label for image in chosen} for part, chosen in parts.items()}


def several(names):
    return {name for name in names if name.startswith("several")}


@pytest.mark.parametrize("fold", [None, Fold(1, 4), Fold(4, 4)])
def test_nobody_is_in_two_parts_and_nothing_is_lost(fold):
    images, hashes = photographs(20, 30)
    parts = split(images, hashes, fold=fold)
    where = people(parts)
    assert not where["train"] & where["val"] | where["train"] & where["test"] | where["val"] & where["test"]
    placed = [image for part in PARTS for image in parts[part]]
    assert sorted(placed, key=lambda image: image.path) == sorted(images, key=lambda image: image.path)


def test_the_shares_are_of_people_and_those_with_one_photograph_are_split_by_themselves():
    where = people(split(*photographs(40, 20)))
    assert {part: len(several(names)) for part, names in where.items()} == {"train": 28, "val": 4, "test": 8}
    assert {part: len(names - several(names)) for part, names in where.items()} == {"train": 14, "val": 2, "test": 4}


@pytest.mark.parametrize(("test", "val"), [(0.01, 0.01), (0.98, 0.01), (0.01, 0.98)])
@pytest.mark.parametrize("count", [6, 7, 12])
def test_each_part_has_two_people_with_two_photographs_whatever_the_shares(test, val, count):
    parts = split(*photographs(count, 1), test=test, val=val)
    assert min(len(several(names)) for names in people(parts).values()) >= 2


def test_the_folds_test_on_everybody_once():
    images, hashes = photographs(23, 11)
    tested = [people(split(images, hashes, fold=Fold(number, 5)))["test"] for number in range(1, 6)]
    assert sorted(name for names in tested for name in names) == sorted({image.label for image in images})
    assert {len(several(names)) for names in tested} == {4, 5}


def test_one_person_more_moves_few_others():
    images, hashes = photographs(40)
    more, more_hashes = photographs(41)
    before, after = people(split(images, hashes)), people(split(more, more_hashes))
    moved = sum(len(before[part] - after[part]) for part in PARTS)
    assert moved <= 3
    assert "several 40" in {name for names in after.values() for name in names}


def test_neither_names_of_files_nor_their_order_matter_and_the_seed_does():
    images, hashes = photographs(20)
    parts = split(images, hashes)
    assert split(images[::-1], hashes) == parts
    renamed = [Image(f"x/{number}", image.label) for number, image in enumerate(images)]
    assert people(split(renamed, {image.path: image.path for image in renamed})) == people(parts)
    assert people(split(images, hashes, seed=1)) != people(parts)


def test_two_photographs_of_one_content_are_one():
    images, hashes = photographs(7, each=2)
    hashes["several 6/1.png"] = hashes["several 6/0.png"]
    assert {image.label for image in paired(images, hashes)} == {f"several {number}" for number in range(6)}
    hashes["several 5/1.png"] = hashes["several 5/0.png"]
    with pytest.raises(UsageError, match="5 of 7 people have two different photographs or more, and 6 are needed"):
        split(images, hashes)


def test_people_with_one_photograph_each_are_one_clear_line():
    with pytest.raises(UsageError) as caught:
        split(*photographs(0, 12))
    assert str(caught.value) == (
        "0 of 12 people have two different photographs or more, and 6 are needed, 2 each to train, to choose and to "
        "test on; add photographs"
    )


@pytest.mark.parametrize(
    ("count", "fold", "words"),
    [
        (8, Fold(1, 8), "fold 1/8 tests on 1 of them; 2 or more are needed in each part: use fewer folds"),
        (6, Fold(2, 2), "fold 2/2 tests on 3 of them; 2 or more are needed in each part: use more folds"),
    ],
)
def test_a_fold_that_leaves_too_few_says_how_many_there_are(count, fold, words):
    with pytest.raises(UsageError) as caught:
        split(*photographs(count), fold=fold)
    assert f"{count} people have two different photographs or more, and {words}" in str(caught.value)


def test_a_given_part_with_too_few_people_is_named(tmp_path):
    images, hashes = photographs(6, 2)
    parts = {"train": images[:6], "val": images[6:12], "test": [*images[12:15], *images[-2:]]}
    with pytest.raises(UsageError, match="in test, 1 of 3 people have two different photographs or more, and 2 are"):
        check_paired(tmp_path, parts, hashes)
    check_paired(tmp_path, parts | {"test": images[12:]}, hashes)


# From a folder on


@pytest.fixture
def folder(tmp_path, draw):
    """Eight people of three photographs, and three of one."""
    for number in range(8):
        for count in range(3):
            draw(tmp_path / "data" / f"P {number}" / f"{count}.png", "red", 10 * number + count, (16, 16))
    for number in range(3):
        draw(tmp_path / "data" / f"Single {number}" / "0.png", "blue", 100 + number, (16, 16))
    return tmp_path / "data"


def gathered(folder, split_file=None):
    return gather(folder, DataPlan(), 0, True, split_file, by_class=True)


def test_who_has_one_photograph_is_not_trained_on_but_tested_on(folder):
    divided = divide(gathered(folder), PLAN, 0, None)
    where = people(divided.split.parts)
    assert all(name.startswith("P ") for name in where["train"])
    assert len([name for part in ("val", "test") for name in where[part] if name.startswith("Single")]) == 2
    assert len(divided.split.hashes) == 27


def test_the_fingerprint_is_of_all_photographs_whatever_the_seed(folder, draw):
    one, other = (divide(gathered(folder), PLAN, seed, None) for seed in (0, 1))
    assert one.fingerprint == other.fingerprint
    assert one.split.parts != other.split.parts
    draw(folder / "Single 0" / "1.png", "blue", 999, (16, 16))
    assert divide(gathered(folder), PLAN, 0, None).fingerprint != one.fingerprint


def test_a_copy_is_left_out_and_said_so_that_no_pair_is_of_one_picture(folder):
    shutil.copy(folder / "P 0" / "0.png", folder / "P 0" / "copy.png")
    shutil.copy(folder / "Single 0" / "0.png", folder / "Single 0" / "copy.png")
    found = gathered(folder)
    assert found.left_out == {
        "P 0/copy.png": "the same picture stands as P 0/0.png",
        "Single 0/copy.png": "the same picture stands as Single 0/0.png",
    }
    used = [image.path for chosen in divide(found, PLAN, 0, None).split.parts.values() for image in chosen]
    assert not set(used) & set(found.left_out)


def test_somebody_whose_only_photograph_cannot_be_used_costs_nobody_else_the_training(folder):
    (folder / "Single 0" / "0.png").write_bytes(b"")
    shutil.copy(folder / "P 0" / "0.png", folder / "Single 1" / "0.png")
    found = gathered(folder).without({"Single 2/0.png": "damaged", "P 0/1.png": "damaged"})
    assert set(found.left_out) == {"P 0/0.png", "P 0/1.png", *(f"Single {number}/0.png" for number in range(3))}
    where = people(divide(found, PLAN, 0, None).split.parts)
    assert {name for names in where.values() for name in names} <= {f"P {number}" for number in range(8)}


def parted(folder, place):
    """Copy the people into train, val and test."""
    for number in range(8):
        part = PARTS[min(number // 3, 2)]
        shutil.copytree(folder / f"P {number}", place / part / f"P {number}")
    return place


def test_a_folder_that_is_split_by_people_keeps_its_parts(folder, tmp_path):
    divided = divide(gathered(parted(folder, tmp_path / "parts")), PLAN, 0, None)
    assert {part: len(names) for part, names in people(divided.split.parts).items()} == {
        "train": 3,
        "val": 3,
        "test": 2,
    }


STRADDLES = "P 0 is in train and in test; an embedding is measured on people that it has not seen"


def test_a_folder_in_which_somebody_is_in_two_parts_is_refused(folder, tmp_path, draw):
    place = parted(folder, tmp_path / "parts")
    draw(place / "test" / "P 0" / "more.png", "red", 999, (16, 16))
    with pytest.raises(UsageError, match=f"parts: {STRADDLES}"):
        divide(gathered(place), PLAN, 0, None)


def test_a_split_file_in_which_somebody_is_in_two_parts_is_refused(folder, tmp_path):
    divided = divide(gathered(folder), PLAN, 0, None)
    file = tmp_path / "split.json"
    file.write_bytes(msgspec.json.encode(divided.split))
    again = divide(gathered(folder, file), PLAN, 5, None)
    assert again.split.parts == divided.split.parts
    images = sorted(gathered(folder).images, key=lambda image: image.path)
    parts = {"train": [*images[:2], *images[3:9]], "val": images[9:15], "test": [images[2], *images[15:24]]}
    file.write_bytes(msgspec.json.encode(Split(str(folder), parts, divided.split.hashes)))
    with pytest.raises(UsageError, match=STRADDLES):
        divide(gathered(folder, file), PLAN, 0, None)
