"""Measures of verification, against scikit-learn, brute force and examples by hand."""

import json
import math
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facectl_runtime import verification
from facectl_runtime.verification import (
    auc,
    best_threshold,
    eer,
    far_at_tar,
    fold_accuracy,
    group_interval,
    measure,
    people_intervals,
    roc,
    tar_at_far,
)

tied = st.lists(st.integers(-3, 3).map(lambda tenths: tenths / 10), min_size=1, max_size=30).map(np.array)
untied = st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=30).map(lambda values: np.array(values, np.float32))
some = tied | untied
both = settings(deadline=None, max_examples=100)


def truth(same, different):
    return np.r_[np.ones(len(same)), np.zeros(len(different))], np.concatenate([same, different])


@both
@given(some, some)
def test_the_curve_is_that_of_scikit_learn(same, different):
    sklearn = pytest.importorskip("sklearn.metrics")
    far, tar, thresholds = sklearn.roc_curve(*truth(same, different), drop_intermediate=False)
    found = roc(same, different)
    np.testing.assert_allclose(found.far, far)
    np.testing.assert_allclose(found.tar, tar)
    np.testing.assert_allclose(found.threshold, thresholds)
    assert auc(same, different) == pytest.approx(sklearn.roc_auc_score(*truth(same, different)), abs=1e-12)


@both
@given(some, some)
def test_each_point_is_what_its_threshold_accepts(same, different):
    for threshold, far, tar in zip(*roc(same, different), strict=True):
        assert far == np.mean(different >= threshold)
        assert tar == np.mean(same >= threshold)


@both
@given(some, some)
def test_area_is_the_share_of_pairs_in_order_with_ties_half(same, different):
    won = np.mean(same[:, None] > different) + np.mean(same[:, None] == different) / 2
    assert auc(same, different) == pytest.approx(won, abs=1e-12)


def test_area_of_a_million_tied_scores_is_exact():
    assert auc(np.zeros(10**6), np.zeros(10**6)) == 0.5


@both
@given(some, some)
def test_the_equal_error_rate_lies_on_the_curve(same, different):
    found = eer(same, different)
    _, far, tar = roc(same, different)
    assert 0 <= found <= 1
    # On some piece of the curve FAR = found and TAR = 1 - found, as brute force over the pieces finds.
    on = [
        math.hypot(*(np.array([found, 1 - found]) - start - share * (end - start)))
        for start, end in zip(np.c_[far, tar][:-1], np.c_[far, tar][1:], strict=True)
        for share in [np.clip(np.dot([found, 1 - found] - start, end - start) / np.dot(end - start, end - start), 0, 1)]
    ]
    assert min(on) < 1e-9


def test_equal_error_rates_by_hand():
    assert eer(np.array([0.9, 0.8]), np.array([0.1, 0.2])) == 0
    assert eer(np.array([0.1, 0.2]), np.array([0.9, 0.8])) == 1
    assert eer(np.array([0.5]), np.array([0.5])) == 0.5
    assert eer(np.array([0.9, 0.3]), np.array([0.6, 0.1])) == 0.5
    assert eer(np.array([4, 3, 2, 0]), np.array([1, -1, -2, -3])) == 0.25


def test_equal_error_rate_of_two_normals_is_near_the_truth():
    random = np.random.default_rng(0)
    found = eer(random.normal(2, 1, 20_000), random.normal(0, 1, 200_000))
    assert found == pytest.approx(0.158655, abs=0.006)  # Φ(-1); two standard errors are 0.005


@both
@given(some, some, st.floats(0, 1))
def test_tar_at_far_is_the_best_that_brute_force_finds(same, different, far):
    tar, threshold = tar_at_far(same, different, far)
    candidates = np.r_[same, different, np.inf]
    assert tar == max(np.mean(same >= t) for t in candidates if np.mean(different >= t) <= far)
    assert np.mean(same >= threshold) == tar
    assert np.mean(different >= threshold) <= far


def test_tar_at_far_lets_in_just_as_many_as_the_rate():
    same, different = np.array([0.65, 0.95]), np.arange(100) / 100
    assert tar_at_far(same, different, 0.29) == (0.5, 0.95)
    assert tar_at_far(same, different, 0.35) == (1, 0.65)
    assert tar_at_far(same, different, 0.3499) == (0.5, 0.95)
    assert tar_at_far(np.array([0.1]), np.array([0.5]), 0) == (0, math.inf)


@both
@given(some, some, st.floats(0, 1))
def test_far_at_tar_is_the_least_that_brute_force_finds(same, different, tar):
    candidates = np.r_[same, different, np.inf]
    assert far_at_tar(same, different, tar) == min(
        np.mean(different >= t) for t in candidates if np.mean(same >= t) >= tar
    )


@both
@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=30))
def test_the_best_threshold_is_as_good_as_any(answered):
    scores, same = (np.array(column) for column in zip(*answered, strict=True))
    found = best_threshold(scores, same)
    best = max(np.mean((scores >= t) == same) for t in np.arange(-1, 8) + 0.5)
    assert np.mean((scores >= found) == same) == best


def test_thresholds_lie_midway_and_the_middle_one_of_equals_is_taken():
    assert best_threshold(np.array([0.0, 1.0]), np.array([False, True])) == 0.5
    # 1 | 2 | 3 with one error each way: every cut below 2, 4 and 6 is as good
    assert best_threshold(np.array([1.0, 2, 3, 4, 5, 6]), np.array([False, True, False, True, False, True])) == 3.5
    assert best_threshold(np.array([0.25, 0.5]), np.array([True, True])) == 0.25
    assert best_threshold(np.array([0.25, 0.5]), np.array([False, False])) > 0.5


def test_between_neighbouring_numbers_the_upper_is_the_threshold():
    low = 0.1
    high = np.nextafter(low, 1)
    found = best_threshold(np.array([low, high]), np.array([False, True]))
    assert low < found <= high


def by_hand(scores, same, folds):
    """LFW's protocol in plain words: of each fold, the share right at the threshold best on the others."""
    accuracies = []
    for fold in sorted(set(folds)):
        rest = [(s, t) for s, t, f in zip(scores, same, folds, strict=True) if f != fold]
        values = sorted({s for s, _ in rest})
        cuts = [values[0], *((a + b) / 2 for a, b in pairwise(values)), math.nextafter(values[-1], math.inf)]
        right = [sum((s >= cut) == t for s, t in rest) for cut in cuts]
        best = [cut for cut, number in zip(cuts, right, strict=True) if number == max(right)]
        cut = best[(len(best) - 1) // 2]
        held = [(s >= cut) == t for s, t, f in zip(scores, same, folds, strict=True) if f == fold]
        accuracies.append(sum(held) / len(held))
    mean = sum(accuracies) / len(accuracies)
    variance = sum((a - mean) ** 2 for a in accuracies) / (len(accuracies) - 1)
    return mean, math.sqrt(variance / len(accuracies)), accuracies


@both
@given(st.data())
def test_fold_accuracy_is_that_of_plain_words(data):
    n = data.draw(st.integers(4, 40))
    scores = np.array(data.draw(st.lists(st.integers(0, 8), min_size=n, max_size=n))) / 8
    same = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    folds = np.array([0, 1, *data.draw(st.lists(st.integers(0, 3), min_size=n - 2, max_size=n - 2))])
    found = fold_accuracy(scores, same, folds)
    mean, error, accuracies = by_hand(scores.tolist(), same.tolist(), folds.tolist())
    assert found.mean == pytest.approx(mean)
    assert found.standard_error == pytest.approx(error)
    assert found.accuracies.tolist() == pytest.approx(accuracies)


def test_a_fold_has_no_part_in_its_own_threshold():
    scores = np.array([0.1, 0.2, 0.8, 0.9, 5.0, 6.0])
    same = np.array([False, False, True, True, False, True])
    folds = np.array([0, 0, 0, 0, 1, 1])
    found = fold_accuracy(scores, same, folds)
    assert found.thresholds.tolist() == [5.5, 0.5]
    assert found.accuracies.tolist() == [0.5, 0.5]


def test_scores_without_meaning_are_right_half_the_time():
    random = np.random.default_rng(1)
    found = fold_accuracy(random.random(6000), np.tile([True, False], 3000), np.repeat(np.arange(10), 600))
    assert found.mean == pytest.approx(0.5, abs=0.03)


def test_what_is_measured_can_be_written_as_json():
    random = np.random.default_rng(0)
    same = np.tile([True, False], 1000)
    scores = (random.normal(size=2000) + 2 * same).astype(np.float32)
    found = measure(scores, same, np.repeat(np.arange(10), 200))
    written = json.loads(msgspec.json.encode(found))
    assert written["accuracy"] == pytest.approx(0.841, abs=0.03)
    assert 0 < written["standard_error"] < 0.02
    assert (written["same"], written["different"]) == (1000, 1000)
    assert written["tar_at_far_1e3"] <= written["tar_at_far_1e2"] <= 1
    assert written["eer"] == pytest.approx(0.159, abs=0.03)


def test_what_so_few_cannot_show_is_left_out():
    same = np.tile([True, False], 150)
    found = measure(np.linspace(0, 1, 300), same, np.zeros(300, int))
    assert (found.accuracy, found.standard_error, found.tar_at_far_1e3) == (None, None, None)
    assert found.tar_at_far_1e2 is not None
    assert measure(np.linspace(0, 1, 300), same).accuracy is None


def test_half_precision_is_sorted_rightly():
    """Numpy 2.4 sorts float16 wrongly on some processors."""
    random = np.random.default_rng(0)
    same, different = random.normal(1, 1, 999).astype(np.float16), random.normal(0, 1, 999).astype(np.float16)
    assert auc(same, different) == auc(same.astype(np.float64), different.astype(np.float64))
    assert (np.diff(roc(same, different).threshold) < 0).all()


@pytest.mark.parametrize("bad", [np.array([]), np.array([0.5, np.nan]), np.array([np.inf]), np.zeros((2, 2))])
def test_what_is_no_score_is_refused(bad):
    for measured in (auc, eer, roc):
        with pytest.raises(ValueError, match=r"score|finite"):
            measured(bad, np.array([0.5]))
        with pytest.raises(ValueError, match=r"score|finite"):
            measured(np.array([0.5]), bad)


def test_rates_and_folds_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match=r"1\.5"):
        tar_at_far(np.ones(2), np.ones(2), 1.5)
    with pytest.raises(ValueError, match="-1"):
        far_at_tar(np.ones(2), np.ones(2), -1)
    with pytest.raises(ValueError, match="two or more"):
        fold_accuracy(np.ones(2), np.array([True, False]), np.zeros(2, int))
    with pytest.raises(ValueError, match="3 folds are not"):
        fold_accuracy(np.ones(2), np.array([True, False]), np.zeros(3, int))


def test_a_bootstrap_over_people_is_that_of_copies_of_them():
    """Draws written out: each person as often as drawn, every pair of different people among the copies counted."""
    random = np.random.default_rng(3)
    photographs = np.array([20, 30, 10, 20, 40, 10])
    left = random.integers(6, size=400)
    right = (left + random.integers(1, 6, 400)) % 6
    same, rejects = photographs * (photographs - 1) // 2, np.array([100, 20, 0, 10, 300, 0])
    far, frr = [], []
    random = np.random.default_rng(7)
    for _ in range(1000):
        copies = random.integers(6, size=6)
        pairs = [(i, j) for at, i in enumerate(copies) for j in copies[:at] if i != j]
        accepted = sum(np.sum((left == i) & (right == j)) + np.sum((left == j) & (right == i)) for i, j in pairs)
        total = sum(photographs[i] * photographs[j] for i, j in pairs)
        far.append(accepted / total if total else np.nan)
        frr.append(sum(rejects[i] for i in copies) / sum(same[i] for i in copies))
    found_far, found_frr = people_intervals(photographs, left, right, same, rejects, seed=7)
    assert found_far == pytest.approx(np.nanquantile(far, [0.025, 0.975]))
    assert found_frr == pytest.approx(np.nanquantile(frr, [0.025, 0.975]))


@pytest.mark.parametrize(("spread", "tolerance"), [(0.0, 0.4), (1.0, 0.1)])
def test_of_very_many_false_accepts_the_interval_is_nearly_that_of_fewer(monkeypatch, spread, tolerance):
    """Where people differ, that is; where they do not, it is the narrower one, and still a wide one."""
    random = np.random.default_rng(0)
    drawn = np.exp(spread * random.normal(size=200))
    left, right = random.choice(200, (2, 5000), p=drawn / drawn.sum())
    given = np.full(200, 20), left[left != right], right[left != right], np.ones(200, int), np.zeros(200, int)
    paired, _ = people_intervals(*given, seed=0)
    monkeypatch.setattr(verification, "_PAIRED", 1000)
    by_person, _ = people_intervals(*given, seed=0)
    assert by_person != paired
    assert np.diff(by_person) == pytest.approx(np.diff(paired), rel=tolerance)
    assert np.mean(by_person) == pytest.approx(np.mean(paired), rel=0.03)


def test_groups_widen_an_interval_only_where_they_differ():
    counts = np.full(50, 40)
    alike = np.random.default_rng(0).binomial(40, 0.2, 50)
    torn = np.where(np.arange(50) < 10, 40, 0)
    low, high = group_interval(alike, counts, seed=0)
    assert low < 0.2 < high
    assert high - low < 0.06
    low, high = group_interval(torn, counts, seed=0)
    assert low < 0.2 < high
    assert high - low == pytest.approx(2 * 1.96 * math.sqrt(0.2 * 0.8 / 50), rel=0.1)  # of 50 groups, not of 2,000


def test_none_of_some_is_no_certainty():
    low, high = group_interval(np.zeros(10, int), np.full(10, 30), seed=0)
    assert low == 0
    assert high == pytest.approx(1.96**2 / (300 + 1.96**2), rel=1e-3)
