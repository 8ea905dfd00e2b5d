"""Scores of probabilities, against their definitions."""

import math
from typing import get_args, get_type_hints

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facectl_runtime.errors import UsageError
from facectl_runtime.spec import Threshold
from facectl_runtime.threshold.known_scores import SCORES, most_telling, score, separation

rows = st.lists(st.floats(0, 1, width=32), min_size=2, max_size=6).filter(lambda row: sum(row) > 0.01)


@settings(deadline=None)
@given(rows)
def test_scores_are_those_of_their_definitions(row):
    p = np.array([row]) / sum(row)
    first, second = sorted(p[0])[::-1][:2]
    assert score("max_probability", p) == pytest.approx(first, abs=1e-6)
    assert score("margin", p) == pytest.approx(first - second, abs=1e-6)
    entropy = -sum(x * math.log(x) for x in p[0] if x > 0)
    assert score("negative_entropy", p) == pytest.approx(1 - entropy / math.log(len(row)), abs=1e-6)
    for kind in SCORES:
        assert score(kind, p).dtype == np.float32
        assert 0 <= score(kind, p)[0] <= 1


def test_the_example_of_the_contract():
    example = np.array([[0.7, 0.2, 0.1]])
    assert [round(float(score(kind, example)[0]), 4) for kind in SCORES] == [0.7, 0.5, 0.2702]


def test_certainty_scores_one_and_ignorance_least():
    for kind in SCORES:
        assert score(kind, np.eye(4, dtype=np.float16)).tolist() == [1, 1, 1, 1]
    assert score("max_probability", np.full((1, 4), 0.25)) == 0.25
    assert score("margin", np.full((1, 4), 0.25)) == 0
    assert score("negative_entropy", np.full((1, 4), 0.25)) == 0


def test_max_probability_comes_first_and_a_spec_knows_them_all():
    assert next(iter(SCORES)) == "max_probability"
    assert set(SCORES) | {"cosine"} == set(get_args(get_type_hints(Threshold)["score"]))


def test_a_score_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(UsageError, match="'energy'; use max_probability, margin, negative_entropy"):
        score("energy", np.eye(2))


@pytest.mark.parametrize("bad", [np.ones(3), np.ones((3, 1)), np.ones((3, 2)), np.array([[1.5, -0.5]]),
                                 np.array([[np.nan, 1]])])  # fmt: skip
def test_what_is_no_probability_is_refused(bad):
    with pytest.raises(ValueError, match=r"shape|sum"):
        score("margin", bad)


def test_probabilities_in_8_bits_sum_to_less_or_more():
    coarse = np.array([[0.5, 0.25, 0, 0], [0.34, 0.34, 0.33, 0]])
    np.testing.assert_array_almost_equal(score("margin", coarse), [0.25, 0])
    assert ((score("negative_entropy", coarse) >= 0) & (score("negative_entropy", coarse) <= 1)).all()


def test_separation_is_that_of_scikit_learn():
    sklearn = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(0)
    known, unknown = random.normal(1, 1, 500).round(1), random.normal(0, 1, 700).round(1)
    truth, scores = np.r_[np.ones(500), np.zeros(700)], np.r_[known, unknown]
    found = separation(known, unknown)
    assert found.auroc == pytest.approx(sklearn.roc_auc_score(truth, scores))
    far, tar, _ = sklearn.roc_curve(truth, scores, drop_intermediate=False)
    assert found.fpr_at_95_tpr == far[tar >= 0.95].min()


def test_the_score_of_the_greatest_auroc_tells_most_and_of_equals_the_first():
    unknown = {kind: np.arange(10) for kind in "abc"}
    assert most_telling({"a": np.arange(10), "b": np.arange(10) + 2, "c": np.arange(10) + 1}, unknown) == "b"
    assert most_telling({"c": np.arange(10), "a": np.arange(10)}, unknown) == "c"
    many = np.arange(2000)
    nearly = np.where(many == 1000, 999, many)  # half a pair of four million more
    assert most_telling({"a": many, "b": many}, {"a": many, "b": nearly}) == "a"
