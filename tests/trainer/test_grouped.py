"""Groups stay together, and each class is still split as nearly as they allow."""

import itertools
import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facectl_runtime.errors import UsageError
from facectl_runtime.labelled import PARTS, Image
from facectl_trainer.data.grouped import groups_by, split_grouped


def images_of(groups):
    """Give (images, contents, groups) of groups that are lists of labels."""
    images = [
        Image(f"{label}/{number}-{place}.jpg", label)
        for number, labels in enumerate(groups)
        for place, label in enumerate(labels)
    ]
    numbers = [str(number) for number, labels in enumerate(groups) for _ in labels]
    paths = [image.path for image in images]
    return images, dict(zip(paths, paths, strict=True)), dict(zip(paths, numbers, strict=True))


def counts(parts):
    return {part: Counter(image.label for image in parts[part]) for part in PARTS}


@given(st.lists(st.integers(1, 4), min_size=12, max_size=60), st.integers(0, 5))
def test_no_group_straddles_and_the_shares_are_near(sizes, seed):
    images, hashes, groups = images_of([["only"] * size for size in sizes])
    parts = split_grouped(images, hashes, [groups], test=0.25, val=0.25, seed=seed)
    assert sorted(image.path for part in PARTS for image in parts[part]) == sorted(hashes)
    homes = [{groups[image.path] for image in parts[part]} for part in PARTS]
    assert sum(map(len, homes)) == len(set.union(*homes))
    assert abs(len(parts["test"]) - 0.25 * len(images)) <= max(sizes)


def test_a_rare_class_that_comes_only_with_common_ones_is_in_every_part():
    images, hashes, groups = images_of([[str(label) for label in range(n % 5 + 1)] for n in range(30)])
    for seed in range(10):
        found = counts(split_grouped(images, hashes, [groups], test=0.2, val=0.15, seed=seed))
        for label, total in (("0", 30), ("4", 6)):
            assert all(found[part][label] for part in PARTS)
            assert abs(found["test"][label] - 0.2 * total) <= 2


def test_several_rules_join_what_either_joins():
    images, hashes, groups = images_of([["a"]] * 24)
    pairs = {image.path: str(number // 2) for number, image in enumerate(images)}
    chain = {image.path: str(number // 4) for number, image in enumerate(images) if number % 4 in (1, 2)}
    parts = split_grouped(images, hashes, [pairs, chain, groups], test=0.3, val=0.3, seed=0)
    where = {image.path: part for part in PARTS for image in parts[part]}
    for rule in (pairs, chain):
        for name in set(rule.values()):
            assert len({where[path] for path, of in rule.items() if of == name}) == 1


def test_neither_names_nor_order_decide():
    images, hashes, groups = images_of([["a", "a"]] * 9 + [["b"]] * 9)
    parts = split_grouped(images, hashes, [groups], test=0.3, val=0.2, seed=3)
    again = split_grouped(images[::-1], hashes, [groups], test=0.3, val=0.2, seed=3)
    assert parts == again
    other = split_grouped(images, hashes, [groups], test=0.3, val=0.2, seed=4)
    assert parts != other
    assert counts(parts) == counts(other)


def test_groups_that_cannot_be_shared_out_are_named_with_their_class():
    images, hashes, groups = images_of([["a"] * 5, ["a"] * 5, *[["b"]] * 9])
    with pytest.raises(UsageError, match="class a: its groups are too few or too large"):
        split_grouped(images, hashes, [groups], test=0.2, val=0.2, seed=0)


def test_a_class_of_three_groups_has_one_in_each_part():
    for sizes in itertools.product((1, 2, 9), repeat=3):
        images, hashes, groups = images_of([["few"] * size for size in sizes] + [["few"]] * (sum(sizes) % 2))
        for test, val, seed in itertools.product((0.2, 0.01, 0.6, 1), (0.15, 0.3, 1), range(3)):
            parts = split_grouped(images, hashes, [groups], test=test, val=val, seed=seed)
            assert all(parts.values())


def test_a_class_of_three_groups_is_in_each_part_though_others_are_placed_first():
    images, hashes, groups = images_of(["aab", "ab", "c", "bc", "abc"])
    for seed in range(20):
        found = counts(split_grouped(images, hashes, [groups], test=0.2, val=0.2, seed=seed))
        assert all(found[part][label] for part in PARTS for label in "abc")


def test_what_cannot_be_shared_out_says_what_there_is():
    images, hashes, groups = images_of([["a"] * 5, ["a"] * 5, *[["b"]] * 9])
    with pytest.raises(UsageError, match="10 different images in 2 groups, of which 3 are needed; group more finely"):
        split_grouped(images, hashes, [groups], test=0.2, val=0.2, seed=0)
    # Petersen's graph: three groups a class, each of two classes, and no way to give each class one in every part.
    petersen = (
        [(n, (n + 1) % 5) for n in range(5)]
        + [(n, n + 5) for n in range(5)]
        + [(n + 5, (n + 2) % 5 + 5) for n in range(5)]
    )
    images, hashes, groups = images_of([[f"{one}", f"{other}"] for one, other in petersen])
    with pytest.raises(UsageError, match="3 different images in 3 groups; smaller --test and --val may do; group more"):
        split_grouped(images, hashes, [groups], test=0.2, val=0.2, seed=0)


def test_thousands_of_classes_take_seconds():
    images, hashes, groups = images_of([[str(label % 5000)] for label in range(17_000)])
    start = time.perf_counter()
    found = counts(split_grouped(images, hashes, [groups], test=0.2, val=0.2, seed=0))
    assert time.perf_counter() - start < 10
    assert all(set(found[part].values()) == {1, 2} or part != "train" for part in PARTS)


def test_an_optional_group_that_finds_nothing_names_no_group(tmp_path):
    images = [Image(f"a/{name}.jpg", "a") for name in ("b1_0", "b1_1", "0", "1")]
    with pytest.raises(UsageError, match=r"names no group of 2 of 4 images, such as a/0\.jpg"):
        groups_by(tmp_path, images, "/(b[0-9]_)?[0-9]")
    assert groups_by(tmp_path, images[:2], "/(b[0-9]_)?[0-9]") == {image.path: "b1_" for image in images[:2]}
