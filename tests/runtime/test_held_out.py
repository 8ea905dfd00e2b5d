"""Folds, and what so many people or images can support, against brute force."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facectl_runtime.errors import UsageError
from facectl_runtime.held_out import check_counts, check_people, deal, pairs_outside


def test_folds_are_balanced_in_people_and_in_photographs():
    sizes = np.random.default_rng(0).geometric(0.3, 203)
    fold = deal(sizes, 10, 1)
    assert set(np.bincount(fold).tolist()) == {20, 21}
    assert np.ptp(np.bincount(fold, sizes)) <= sizes.max()
    assert fold.tolist() != deal(sizes, 10, 2).tolist()


@settings(deadline=None)
@given(st.lists(st.integers(1, 5), min_size=3, max_size=12), st.integers(3, 5), st.integers(0, 9))
def test_pairs_outside_two_folds_are_counted(sizes, folds, seed):
    photographs = np.array(sizes)
    fold = deal(photographs, min(folds, len(sizes)), seed)
    found = pairs_outside(photographs, fold)
    nobody = fold.max() + 1
    for a in range(nobody + 1):
        for b in range(nobody + 1):
            rest = [size for size, number in zip(sizes, fold, strict=True) if number not in (a, b)]
            assert found[a, b] == sum(rest[i] * rest[j] for i in range(len(rest)) for j in range(i))
    assert (
        np.sort(found.ravel()).tolist()
        == np.sort(pairs_outside(photographs, deal(photographs, nobody, 99)).ravel()).tolist()
    )


def named(*sizes):
    return [f"person {number:03}" for number, size in enumerate(sizes) for _ in range(size)]


@pytest.mark.parametrize(
    ("sizes", "far", "folds", "says"),
    [
        ([2] * 40, 0, 10, "a false-accept rate of 0 cannot be asked for"),
        ([2] * 40, 1, 10, "a false-accept rate of 1 cannot"),
        ([2] * 40, math.nan, 10, "a false-accept rate of nan cannot"),
        (
            [2] * 40, 1e-4, 10,
            "a false-accept rate of 0.0001 needs at least 30,000 pairs of different people, and there are 3,120; ask "
            "for 0.00097 or more, or add more people",
        ),
        (
            [2] * 40, 1e-3, 3,
            "a false-accept rate of 0.001 needs at least 1,000 pairs of different people outside every two folds, and "
            "there are 312; ask for 0.0033 or more, or add more people",
        ),
        ([2] * 5, 0.1, 3, "needs at least 10 pairs of different people outside every two folds, and there are 0; add"),
        ([2] * 7, 0.1, 10, "7 people cannot be parted into 10 folds; ask for 7 folds, or add people to make 10"),
        ([9], 0.1, 10, "1 person cannot be parted into 10 folds; add people to make 10"),
        ([], 0.1, 10, "0 people cannot be parted into 10 folds; add people to make 10"),
        ([2] * 40, 0.1, 2, "2 folds cannot be measured on by thresholds chosen on others; 3 or more are needed"),
        ([2] * 40, 0.1, 1, "1 fold cannot be measured on"),
        ([1] * 40, 0.1, 10, "none of the 40 people has two photographs"),
    ],
)  # fmt: skip
def test_what_people_cannot_support_is_refused_in_one_line(sizes, far, folds, says):
    with pytest.raises(UsageError, match=says) as met:
        check_people(named(*sizes), far, folds)
    assert "\n" not in str(met.value)


@pytest.mark.parametrize("folds", [3, 4, 10, 20])
def test_the_least_rate_of_people_that_is_named_is_granted(folds):
    for people in range(20, 60, 3):
        who = named(*range(1, people + 1))
        with pytest.raises(UsageError) as met:
            check_people(who, 1e-7, folds)
        least = float(str(met.value).split("ask for ")[1].split()[0])
        check_people(who, least, folds)
        with pytest.raises(UsageError):
            check_people(who, least * 0.9, folds)


@pytest.mark.parametrize(
    ("known", "groups", "far", "folds", "says"),
    [
        (0, range(100), 0.1, 10, "no image is of the model's classes"),
        (9, range(100), 0.02, 10, "0.02 needs at least 150 unknown images, and there are 100; ask for 0.03 or more"),
        (9, range(2), 0.02, 10, "2 unknown images cannot be parted into 10 folds; ask for 2 folds, or add unknown"),
        (9, np.arange(100) % 4, 0.1, 10, "4 groups of unknown images cannot be parted into 10 folds; ask for 4 folds"),
        (9, [0] * 100, 0.1, 10, "1 group of unknown images cannot .* folds; add groups of unknown images to make 10"),
        (9, range(100), 0.1, 1, "1 fold cannot be measured on by thresholds chosen on others; 2 or more are needed"),
        (
            9, [0] * 190 + list(range(1, 11)), 0.05, 2,
            "0.05 needs at least 20 unknown images outside every fold, and there are 5; ask for 0.2 or more, or add",
        ),
    ],
)  # fmt: skip
def test_what_images_cannot_support_is_refused_in_one_line(known, groups, far, folds, says):
    with pytest.raises(UsageError, match=says) as met:
        check_counts(known, list(groups), far, folds)
    assert "\n" not in str(met.value)


def test_what_can_be_supported_passes():
    check_people(named(*[2] * 10), 0.1, 10)
    check_people(named(*[2] * 6), 0.99, 3)
    check_counts(1, list(range(30)), 0.1, 2)
