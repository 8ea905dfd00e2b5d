"""A split shares out every image once, keeps copies together, and hardly changes when the data grows."""

from collections import Counter

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from facectl_runtime.errors import UsageError
from facectl_runtime.labelled import PARTS, Image
from facectl_trainer.data.split import Fold, conflicts, fingerprint, parse_fold, split

SHARES = {"test": 0.2, "val": 0.15}


def make(classes):
    """Images and hashes of {label: content of each image}."""
    images, hashes = [], {}
    for label, contents in classes.items():
        for number, content in enumerate(contents):
            images.append(Image(f"{label}/{number}.png", label))
            hashes[images[-1].path] = f"{label}-{content}"
    return images, hashes


def part_of(parts):
    return {image.path: part for part, images in parts.items() for image in images}


contents = st.lists(st.integers(0, 40), min_size=3, max_size=60).filter(lambda numbers: len(set(numbers)) >= 3)
data = st.dictionaries(st.sampled_from("abcd"), contents, min_size=1).map(make)
shares = st.tuples(st.floats(0.01, 0.98), st.floats(0.01, 0.98)).filter(lambda pair: sum(pair) < 1)
seeds = st.integers(0, 5)


@given(data, shares, seeds)
def test_every_image_is_in_one_part_and_copies_stay_together(made, pair, seed):
    images, hashes = made
    parts = split(images, hashes, test=pair[0], val=pair[1], seed=seed)
    assert sorted(image.path for part in PARTS for image in parts[part]) == sorted(image.path for image in images)
    where = part_of(parts)
    homes = {(hashes[path], part) for path, part in where.items()}
    assert len(homes) == len(set(hashes.values()))


@given(data, shares, seeds)
def test_every_class_is_in_every_part(made, pair, seed):
    images, hashes = made
    parts = split(images, hashes, test=pair[0], val=pair[1], seed=seed)
    for part in PARTS:
        assert {image.label for image in parts[part]} == {image.label for image in images}


def test_the_shares_are_those_asked_for_in_each_class():
    images, hashes = make({"rare": range(20), "common": range(200)})
    parts = split(images, hashes, **SHARES, seed=0)
    counts = {part: Counter(image.label for image in parts[part]) for part in PARTS}
    assert counts == {
        "test": {"rare": 4, "common": 40},
        "val": {"rare": 3, "common": 30},
        "train": {"rare": 13, "common": 130},
    }


def test_the_seed_decides_and_the_order_of_the_files_does_not():
    images, hashes = make({"a": range(40), "b": range(40)})
    one = split(images, hashes, **SHARES, seed=1)
    assert split(images[::-1], hashes, **SHARES, seed=1) == one
    other = part_of(split(images, hashes, **SHARES, seed=2))
    assert sum(other[path] != part for path, part in part_of(one).items()) > 20


def test_a_file_s_name_decides_nothing():
    images, hashes = make({"a": range(40)})
    renamed = [Image(f"a/z{90 - number}.jpg", "a") for number in range(40)]
    anew = {new.path: hashes[old.path] for old, new in zip(images, renamed, strict=True)}
    before = part_of(split(images, hashes, **SHARES, seed=0))
    after = part_of(split(renamed, anew, **SHARES, seed=0))
    assert all(after[new.path] == before[old.path] for old, new in zip(images, renamed, strict=True))


@pytest.mark.parametrize("added", range(100, 110))
def test_a_new_image_moves_few_others(added):
    images, hashes = make({"a": range(100)})
    before = part_of(split(images, hashes, **SHARES, seed=0))
    new = Image("a/new.png", "a")
    after = part_of(split([*images, new], {**hashes, new.path: f"a-{added}"}, **SHARES, seed=0))
    assert sum(after[path] != part for path, part in before.items()) <= 3


@given(contents, st.integers(2, 12), seeds)
def test_the_folds_test_on_every_image_once(numbers, count, seed):
    assume(len(set(numbers)) > 3 or count > 2)
    images, hashes = make({"a": numbers, "b": range(30)})
    tested = []
    for number in range(1, count + 1):
        parts = split(images, hashes, **SHARES, seed=seed, fold=Fold(number, count))
        assert sorted(part_of(parts)) == sorted(image.path for image in images)
        assert parts["train"]
        assert parts["val"]
        tested += [image.path for image in parts["test"]]
    assert sorted(tested) == sorted(image.path for image in images)


def test_a_fold_that_leaves_too_few_to_train_on_is_refused():
    images, hashes = make({"a": range(3)})
    with pytest.raises(UsageError, match=r"class a: 3 .* this fold tests on 2 of them"):
        split(images, hashes, **SHARES, seed=0, fold=Fold(2, 2))


def test_a_fold_without_a_test_image_is_refused():
    images, hashes = make({"a": range(4), "b": range(4)})
    with pytest.raises(UsageError, match="use fewer folds"):
        split(images, hashes, **SHARES, seed=0, fold=Fold(1, 10))


@pytest.mark.parametrize("numbers", [[1], [1, 2], [1, 1, 2, 2]])
def test_a_class_with_too_few_different_images_is_named(numbers):
    images, hashes = make({"plenty": range(9), "poor": numbers})
    with pytest.raises(
        UsageError, match=f"class poor: 3 different images or more are needed, and {len(set(numbers))} can be used"
    ):
        split(images, hashes, **SHARES, seed=0)


@pytest.mark.parametrize("text", ["0/5", "6/5", "1/1", "1", "1/", "a/b", "-1/5", "1/5/5", ""])
def test_a_fold_that_is_none_is_refused(text):
    with pytest.raises(UsageError, match=r"K/N, such as 1/5"):
        parse_fold(text)


def test_a_fold_is_read():
    assert parse_fold("2/5") == Fold(2, 5)


def test_conflicts_are_contents_under_two_labels():
    images = [Image("a/1", "a"), Image("a/2", "a"), Image("a/3", "a"), Image("b/1", "b"), Image("b/2", "b")]
    hashes = {"a/1": "x", "a/2": "x", "a/3": "y", "b/1": "y", "b/2": "z"}
    assert [image.path for image in conflicts(images, hashes)] == ["a/3", "b/1"]


def test_the_fingerprint_is_of_contents_and_labels_alone():
    images, hashes = make({"a": range(5), "b": range(5)})
    one = fingerprint(images, hashes)
    moved = [Image(f"elsewhere/{image.path}", image.label) for image in images[::-1]]
    assert fingerprint(moved, {f"elsewhere/{path}": value for path, value in hashes.items()}) == one
    assert fingerprint(images, {**hashes, "a/0.png": "changed"}) != one
    assert fingerprint([Image("a/0.png", "b"), *images[1:]], hashes) != one
    assert fingerprint(images[1:], hashes) != one
