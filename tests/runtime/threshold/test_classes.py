"""A threshold of a classifier at a stated false-accept rate, against brute force and what is truly so."""

import math

import numpy as np
import pytest

from facectl_runtime.errors import UsageError
from facectl_runtime.metrics import wilson
from facectl_runtime.threshold.classes import calibrate_scores, check_counts
from facectl_runtime.threshold.folds import deal


@pytest.mark.parametrize(
    ("known", "groups", "far", "folds", "says"),
    [
        (0, range(100), 0.1, 10, "there are 0 images of the model's classes, so false rejects cannot be measured; add"),
        (1, range(100), 0.1, 10, "there is 1 image of the model's classes"),
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
    check_counts(2, list(range(30)), 0.1, 2)


def choose(kind, known, right, unknown, *more, **options):
    """Choose a threshold of one kind of score."""
    return calibrate_scores({kind: known}, right, {kind: unknown}, *more, **options)


def strange(groups, each, seed, effect=1.0):
    random = np.random.default_rng(seed)
    found = np.repeat(random.normal(0, effect, groups), each) + random.normal(0, 1, groups * each)
    return (found / 20).astype(np.float32), np.repeat(np.arange(groups), each)


def upper_tail(value):
    return math.erfc(value / math.sqrt(2)) / 2


def pick(scores, most):
    return min((t for t in np.unique(scores) if np.sum(scores >= t) <= most), default=np.inf)


def auroc(known, unknown):
    return np.mean((known[:, None] > unknown) + (known[:, None] == unknown) / 2)


def brute_force(known, right, unknown, groups, far, folds, seed):
    """Choose kind and threshold with plain masks: (kind, value, false accepts, false rejects)."""
    fold = deal(np.bincount(groups), folds, seed)[groups]
    known_fold = deal(np.ones(len(right), int), folds, seed)
    share = math.floor(far * len(fold)) / len(fold)

    def best(mine, others):
        return max(known, key=lambda kind: auroc(known[kind][mine], unknown[kind][others]))

    accepts = rejects = 0
    for number in range(folds):
        kind = best(known_fold != number, fold != number)
        outside = unknown[kind][fold != number]
        chosen = pick(outside, round(share * len(outside)))
        accepts += np.sum(unknown[kind][fold == number] >= chosen)
        rejects += np.sum(known[kind][right & (known_fold == number)] < chosen)
    kind = best(right | True, fold >= 0)
    return kind, pick(unknown[kind], math.floor(far * len(fold))), accepts, rejects


@pytest.mark.parametrize("kinds", [1, 3])
@pytest.mark.parametrize(("each", "far", "folds"), [(20, 0.05, 5), (7, 0.07, 4), (9, 0.3, 13)])
def test_what_is_chosen_and_measured_is_what_plain_masks_give(kinds, each, far, folds):
    random = np.random.default_rng(0)
    known = {str(kind): random.normal(0.1, 0.05, 301).astype(np.float32) for kind in range(kinds)}
    unknown = {str(kind): strange(13, each, kind)[0] for kind in range(kinds)}
    groups, right = strange(13, each, 0)[1], random.random(301) < 0.8
    found = calibrate_scores(known, right, unknown, far, groups, folds, seed=2)
    assert (found.score, found.value, found.false_accepts, found.false_rejects) == brute_force(
        known, right, unknown, groups, far, folds, seed=2
    )
    assert (found.far_count, found.frr_count) == (13 * each, right.sum())
    assert (found.groups, found.folds, found.far_asked) == (13, folds, far)
    assert (found.far, found.frr) == (found.false_accepts / found.far_count, found.false_rejects / found.frr_count)
    assert found.far_interval[0] <= found.far <= found.far_interval[1]
    assert found.frr_interval == wilson(found.false_rejects, found.frr_count)


def noise(seed):
    """Draw ten kinds of score that tell nothing, of 60 known images and 60 unknown ones."""
    random = np.random.default_rng(seed)
    known, unknown = ({str(kind): random.random(60, np.float32) for kind in range(10)} for _ in range(2))
    return known, np.ones(60, bool), unknown


def test_rates_are_those_of_choosing_the_score_too():
    """The best of ten on these images is no better on others, where it lets in what it was chosen for refusing."""
    runs = [calibrate_scores(*noise(seed), 0.1, seed=seed) for seed in range(60)]
    truth = np.mean([1 - run.value for run in runs])
    assert np.mean([run.far for run in runs]) == pytest.approx(truth, rel=0.1)
    assert np.mean([run.frr for run in runs]) == pytest.approx(1 - truth, abs=0.015)
    drawn = [(run.score, *noise(seed)) for seed, run in enumerate(runs)]
    given = [choose(kind, known[kind], right, unknown[kind], 0.1) for kind, known, right, unknown in drawn]
    assert [run.value for run in given] == [run.value for run in runs]
    assert np.mean([run.far for run in given]) < 0.85 * truth


def test_of_equals_the_first_is_taken():
    known, unknown = np.linspace(0.5, 1, 50, dtype=np.float32), np.linspace(0, 0.4, 50, dtype=np.float32)
    right = np.ones(50, bool)
    found = calibrate_scores({"b": known, "a": known**2}, right, {"b": unknown, "a": unknown**2}, 0.1)
    assert found == choose("b", known, right, unknown, 0.1)


def test_as_large_a_share_is_let_in_where_few_are_chosen_on():
    """Of 300, three are a hundredth; of the 270 outside each fold it is 2.7, and two of them would be a lower rate."""
    unknown = np.linspace(0, 0.9, 300, dtype=np.float32)
    found = choose("margin", unknown, np.ones(300, bool), unknown, 0.01)
    assert found.value == unknown[-3]
    assert found.false_accepts == 3


def test_a_wrong_answer_withheld_is_no_false_reject():
    known = np.r_[np.full(50, 0.9), np.zeros(50)].astype(np.float32)
    unknown = np.linspace(0.1, 0.8, 100, dtype=np.float32)
    assert choose("margin", known, known > 0.5, unknown, 0.05).false_rejects == 0
    assert choose("margin", known, np.ones(100, bool), unknown, 0.05).frr == 0.5


def test_rates_of_groups_that_differ_are_near_the_truth_and_their_interval_holds_it():
    known, right = np.full(100, 0.5, np.float32), np.ones(100, bool)
    runs = [choose("max_probability", known, right, *parts(seed), folds=10, seed=seed) for seed in range(60)]
    truth = [upper_tail(20 * run.value / math.sqrt(2)) for run in runs]
    assert np.mean([run.far for run in runs]) == pytest.approx(np.mean(truth), rel=0.15)
    assert np.mean(truth) == pytest.approx(0.05, rel=0.2)
    inside = [run.far_interval[0] <= far <= run.far_interval[1] for run, far in zip(runs, truth, strict=True)]
    naive = [wilson(run.false_accepts, run.far_count) for run in runs]
    assert np.mean(inside) >= 0.85
    assert np.mean([low <= far <= high for (low, high), far in zip(naive, truth, strict=True)]) <= 0.8


def parts(seed):
    unknown, groups = strange(40, 30, seed)
    return unknown, 0.05, groups


def test_unknown_images_with_no_groups_are_each_their_own():
    unknown, _ = strange(300, 1, 0)
    found = choose("margin", unknown + 0.2, np.ones(300, bool), unknown, 0.05)
    assert found.groups == 300
    assert found == choose("margin", unknown + 0.2, np.ones(300, bool), unknown, 0.05, np.arange(300))


@pytest.mark.parametrize(
    ("right", "far", "says"),
    [(True, 0.02, "0.02 needs at least 150 unknown images"), (False, 0.1, "none of 50 known images is answered right")],
)
def test_what_a_classifier_s_images_cannot_support_is_refused(right, far, says):
    scores = np.linspace(0, 0.9, 100, dtype=np.float32)
    with pytest.raises(UsageError, match=says):
        choose("margin", np.ones(50, np.float32), np.full(50, right), scores, far)


def test_unknown_images_of_the_greatest_score_leave_no_threshold():
    unknown = np.r_[np.ones(20), np.linspace(0, 0.9, 80)].astype(np.float32)
    with pytest.raises(UsageError, match="20 unknown images score 1"):
        choose("margin", np.ones(50, np.float32), np.ones(50, bool), unknown, 0.1)


@pytest.mark.parametrize(
    ("known", "right", "unknown", "groups"),
    [
        (np.ones(5, np.float32), np.ones(4, bool), np.ones(50, np.float32), None),
        (np.ones(5), np.ones(5, bool), np.ones(50, np.float32), None),
        (np.ones(5, np.float32), np.ones(5, bool), np.full(50, np.nan, np.float32), None),
        (np.ones(5, np.float32), np.ones(5, bool), np.ones(50, np.float32), [1, 2]),
    ],
)
def test_arrays_that_do_not_fit_are_refused(known, right, unknown, groups):
    with pytest.raises(ValueError, match=r"go together|float32|finite"):
        choose("margin", known, right, unknown, 0.1, groups)


def test_scores_of_two_kinds_do_not_go_together():
    known, unknown = np.ones(5, np.float32), np.zeros(50, np.float32)
    with pytest.raises(ValueError, match="go together"):
        calibrate_scores({"margin": known}, np.ones(5, bool), {"max_probability": unknown}, 0.1)
