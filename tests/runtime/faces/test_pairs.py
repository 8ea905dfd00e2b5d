"""All pairs of a set of embeddings, against brute force."""

import tracemalloc
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facectl_runtime.faces import pairs
from facectl_runtime.faces.pairs import (
    count_same_below,
    highest_different,
    index_people,
    same_people,
)


def embed(people, dimensions=8, seed=0):
    random = np.random.default_rng(seed)
    found = random.normal(size=(len(people), dimensions)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def brute_force(embeddings, who):
    """Give {(i, j): similarity} of one person and of two, from the whole matrix."""
    matrix = embeddings.astype(np.float64) @ embeddings.T.astype(np.float64)
    places = [(i, j) for i in range(len(who)) for j in range(i + 1, len(who))]
    same = [(matrix[i, j], int(who[i]), int(who[j])) for i, j in places if who[i] == who[j]]
    different = [(matrix[i, j], int(who[i]), int(who[j])) for i, j in places if who[i] != who[j]]
    return same, different


def listed(scores):
    order = np.argsort(scores.score)
    return scores.score[order], [frozenset(pair) for pair in np.c_[scores.left, scores.right][order].tolist()]


def the_highest(most):
    """Give `add` and `floor` that need the so many highest of all that was added."""
    top = np.empty(0, np.float32)

    def add(scores):
        nonlocal top
        top = np.sort(np.concatenate([top, scores.score]))[-most:]

    return add, lambda: top[0] if len(top) == most else -np.inf


@pytest.fixture
def small_tiles(monkeypatch):
    """Let a set of a few dozen take many tiles, and weeding after each."""
    monkeypatch.setattr(pairs, "_ROWS", 7)
    monkeypatch.setattr(pairs, "_COLUMNS", 11)
    monkeypatch.setattr(pairs, "_SLACK", 10)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("people", [[0] * 40, range(40), np.arange(60) % 7, np.repeat(np.arange(9), 5), [0], [0, 1]])
def test_every_pair_is_scored_once(people):
    who = np.array(people)
    embeddings = embed(who)
    same, different = brute_force(embeddings, who)
    for found, expected in (
        (same_people(embeddings, who), same),
        (highest_different(embeddings, who, lambda _: None, lambda: -np.inf), different),
    ):
        scores, owners = listed(found)
        np.testing.assert_allclose(scores, sorted(score for score, _, _ in expected), atol=1e-6)
        assert Counter(owners) == Counter(frozenset(pair) for _, *pair in expected)


@pytest.mark.usefixtures("small_tiles")
@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 6), min_size=2, max_size=60), st.integers(1, 50), st.integers(0, 99))
def test_the_highest_are_those_of_the_whole_matrix(people, most, seed):
    who = np.array(people)
    embeddings = embed(who, seed=seed)
    _, different = brute_force(embeddings, who)

    scores, owners = listed(highest_different(embeddings, who, *the_highest(most)))
    expected = sorted(different)[-most:]
    np.testing.assert_allclose(scores[-most:], [score for score, _, _ in expected], atol=1e-6)
    assert owners[-most:] == [frozenset(pair) for _, *pair in expected]


@pytest.mark.usefixtures("small_tiles")
def test_all_that_are_tied_with_the_least_needed_are_kept():
    embeddings = np.zeros((30, 2), np.float32)
    embeddings[:, 0] = 1
    kept = highest_different(embeddings, np.arange(30), *the_highest(1))
    assert len(kept.score) == 435


@pytest.mark.usefixtures("small_tiles")
def test_each_pair_is_told_once_unless_it_is_too_low():
    embeddings, who, told = embed(range(60)), np.arange(60), []
    highest_different(embeddings, who, lambda scores: told.extend(scores.score), lambda: -np.inf)
    assert len(told) == 60 * 59 // 2
    told.clear()
    kept = highest_different(embeddings, who, lambda scores: told.extend(scores.score), lambda: 0.5)
    assert len(told) < 60 * 59 // 2
    assert sorted(score for score in told if score >= 0.5) == np.sort(kept.score).tolist()


@pytest.mark.usefixtures("small_tiles")
def test_counts_are_those_of_the_whole_matrix():
    who = np.arange(50) % 6
    embeddings = embed(who)
    same, _ = brute_force(embeddings, who)
    each = np.linspace(-0.5, 0.9, 6)
    below = [sum(score < each[number] for score, person, _ in same if person == number) for number in range(6)]
    assert count_same_below(embeddings, who, each).tolist() == below


def test_memory_stays_with_what_is_kept():
    """4,000 photographs have 8 million pairs, 96 MB of them with their people; 100 are asked for."""
    who = np.arange(4000) // 2
    embeddings = embed(who, 16)

    add, floor = the_highest(100)
    tracemalloc.start()
    kept = highest_different(embeddings, who, add, floor)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(kept.score) == 100
    assert peak < 120e6 < 4000**2 * 12


def test_cosines_stay_within_one():
    embeddings = embed(np.zeros(300), 512)
    twice = np.concatenate([embeddings, embeddings])
    who = np.repeat([0, 1], 300)
    found = highest_different(twice, who, lambda _: None, lambda: 0.99)
    assert len(found.score) == 300
    assert found.score.max() <= 1
    assert found.score.dtype == np.float32


def test_people_are_numbered_by_their_sorted_names():
    embeddings = embed(range(4))
    assert index_people(embeddings, ["b", "a", "b", "c"]).tolist() == [1, 0, 1, 2]
    assert index_people(embeddings, [7, 3, 7, 3]).tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda e: (e, ["a"] * 3), "do not go with"),
        (lambda e: (e[:0], []), "do not go with"),
        (lambda e: (2 * e, ["a"] * 4), "4 of 4 embeddings"),
        (lambda e: (np.where(np.arange(4)[:, None] == 1, np.nan, e), ["a"] * 4), "1 of 4 embeddings"),
    ],
)
def test_embeddings_that_are_none_are_refused(spoil, says):
    with pytest.raises(ValueError, match=says):
        index_people(*spoil(embed(range(4))))
