"""Thresholds for each two folds of people, against the whole matrix."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facectl_runtime.faces import pairs
from facectl_runtime.threshold.faces import pairs_outside
from facectl_runtime.threshold.folds import deal
from facectl_runtime.threshold.pair_thresholds import choose_thresholds
from facectl_runtime.threshold.rates import lowest_threshold


@pytest.fixture
def small_tiles(monkeypatch):
    """Let a set of a few dozen take many tiles, and weeding after each."""
    monkeypatch.setattr(pairs, "_ROWS", 7)
    monkeypatch.setattr(pairs, "_COLUMNS", 11)
    monkeypatch.setattr(pairs, "_SLACK", 10)


def embed(people, tied, random):
    """Draw embeddings; tied ones have cosines of quarters, exactly, and some are alike."""
    found = random.normal(size=(people, 16))
    if tied:
        found = np.zeros((people, 16))
        for row in found:
            row[random.choice(16, 4, replace=False)] = 0.5 * random.choice([-1, 1])
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.usefixtures("small_tiles")
@settings(deadline=None, max_examples=30)
@given(st.integers(12, 25), st.integers(3, 6), st.floats(0.001, 0.99), st.booleans(), st.integers(0, 999))
def test_they_are_those_of_the_whole_matrix(people, folds, share, tied, seed):
    random = np.random.default_rng(seed)
    who = np.sort(np.r_[np.arange(people), random.integers(people, size=people)])
    embeddings, fold = embed(len(who), tied, random), deal(np.bincount(who), folds, seed)
    outside = pairs_outside(np.bincount(who), fold)
    most = np.minimum(np.rint(outside * share).astype(np.int64), outside - 1)
    highest, chosen = choose_thresholds(embeddings, who, fold, most)
    i, j = np.triu_indices(len(who), 1)
    i, j = i[who[i] != who[j]], j[who[i] != who[j]]
    scores = np.clip(embeddings @ embeddings.T, -1, 1)[i, j]
    one, other = fold[who[i]], fold[who[j]]
    for a in range(folds + 1):
        for b in range(folds + 1):
            mine = scores[~np.isin(one, [a, b]) & ~np.isin(other, [a, b])]
            assert len(mine) == outside[a, b]
            assert chosen[a, b] == pytest.approx(lowest_threshold(mine, int(most[a, b])), abs=1e-6)
    kept = np.sort(highest.score)
    np.testing.assert_allclose(kept, np.sort(scores)[len(scores) - len(kept) :], atol=1e-6)
    assert not len(kept) or kept[0] <= chosen.min() + 1e-6


def test_few_are_kept_of_many():
    random = np.random.default_rng(0)
    who = np.arange(3000)
    fold = deal(np.ones(3000, np.int64), 10, 0)
    outside = pairs_outside(np.ones(3000, np.int64), fold)
    highest, _ = choose_thresholds(embed(3000, False, random), who, fold, outside // 1000)
    assert 4498 <= len(highest.score) <= 6000
