"""Choosing classes and images: what a data set's growth, copies and order may not change."""

import random

import pytest

from facectl_runtime.errors import UsageError
from facectl_runtime.labelled import Image
from facectl_trainer.data.select import balanced, most_photographed


def images(**counts):
    return [Image(f"{label}/{number}.jpg", label) for label, count in counts.items() for number in range(count)]


def hashes(chosen):
    return {image.path: f"content of {image.path}" for image in chosen}


def test_the_most_photographed_are_kept_and_ties_go_by_name():
    everyone = images(dan=3, anna=2, bob=5, cleo=3)
    assert {image.label for image in most_photographed(everyone, 2)} == {"bob", "cleo"}
    assert most_photographed(everyone, 4) == everyone
    mixed = random.Random(0).sample(everyone, len(everyone))
    assert set(most_photographed(mixed, 3)) == set(most_photographed(everyone, 3))


@pytest.mark.parametrize(("top", "said"), [(5, "only 4 classes"), (1, "at least 2"), (-3, "at least 2")])
def test_a_number_that_cannot_be_is_refused(top, said):
    with pytest.raises(UsageError, match=said):
        most_photographed(images(dan=3, anna=2, bob=5, cleo=3), top)


def test_each_class_is_cut_to_the_same_number():
    everyone = images(many=50, few=3, some=10)
    chosen = balanced(everyone, hashes(everyone), 10, seed=1)
    labels = [image.label for image in chosen]
    assert {label: labels.count(label) for label in set(labels)} == {"many": 10, "few": 3, "some": 10}
    assert chosen == sorted(chosen, key=lambda image: image.path)
    assert set(chosen) <= set(everyone)


def test_the_choice_follows_seed_and_content_alone():
    everyone = images(many=50, other=40)
    known = hashes(everyone)
    chosen = balanced(everyone, known, 10, seed=1)
    assert balanced(random.Random(2).sample(everyone, len(everyone)), known, 10, seed=1) == chosen
    assert balanced(everyone, known, 10, seed=2) != chosen
    moved = [Image(f"elsewhere/{99 - number}", image.label) for number, image in enumerate(everyone)]
    moved_hashes = {new.path: known[old.path] for new, old in zip(moved, everyone, strict=True)}
    again = balanced(moved, moved_hashes, 10, seed=1)
    assert {moved_hashes[image.path] for image in again} == {known[image.path] for image in chosen}


def test_an_image_more_displaces_at_most_one():
    everyone = images(many=50, other=40)
    chosen = set(balanced(everyone, hashes(everyone), 10, seed=1))
    for number in range(20):
        more = [*everyone, Image(f"many/new{number}.jpg", "many")]
        assert len(chosen - set(balanced(more, hashes(more), 10, seed=1))) <= 1


def test_copies_count_once_but_not_across_labels():
    copies = images(one=6, two=2)
    same = {image.path: "same" if image.label == "one" else "same too" for image in copies}
    assert balanced(copies, same, 5, seed=0) == [Image("one/0.jpg", "one"), Image("two/0.jpg", "two")]
    same = dict.fromkeys(same, "same")
    assert balanced(copies, same, 5, seed=0) == [Image("one/0.jpg", "one"), Image("two/0.jpg", "two")]


def test_fewer_than_one_of_each_is_refused():
    with pytest.raises(UsageError, match="at least 1"):
        balanced(images(one=2), hashes(images(one=2)), 0, seed=0)
