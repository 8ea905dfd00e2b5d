"""Thresholds at a stated false-accept rate, against brute force and against what simulated people truly do."""

import itertools
import math
import time

import msgspec
import numpy as np
import pytest

from facectl_runtime.at_rate import most_accepted
from facectl_runtime.errors import UsageError
from facectl_runtime.faces import pairs
from facectl_runtime.held_out import deal
from facectl_runtime.metrics import wilson
from facectl_runtime.spec import Threshold
from facectl_runtime.threshold import calibrate_embeddings, calibrate_scores


def photograph(people, each, seed=0, spread=0.0, noise=0.5, dimensions=16):
    """Draw embeddings of people, each with a face of its own; `spread` makes some of them more alike than others."""
    random = np.random.default_rng(seed)
    faces = random.normal(size=(people, dimensions))
    faces[:, 0] += spread * np.abs(random.normal(size=people))
    who = np.repeat(np.arange(people), each)
    found = faces[who] + noise * random.normal(size=(len(who), dimensions))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32), who


def brute_force(embeddings, who, far, folds, seed=0):
    """Choose and measure with the whole matrix and plain masks."""
    fold = deal(np.bincount(who), folds, seed)
    matrix = np.clip(embeddings @ embeddings.T, -1, 1)
    i, j = np.triu_indices(len(who), 1)
    scores, same, one, other = matrix[i, j], who[i] == who[j], fold[who[i]], fold[who[j]]
    value = pick(scores[~same], far)
    share = most_accepted(far, np.sum(~same)) / np.sum(~same)
    accepts = rejects = different = genuine = 0
    for a, b in itertools.combinations_with_replacement(range(folds), 2):
        chosen = pick_few(scores[~same & ~np.isin(one, [a, b]) & ~np.isin(other, [a, b])], share)
        mine = ((one == a) & (other == b)) | ((one == b) & (other == a))
        accepts += np.sum(scores[mine & ~same] >= chosen)
        different += np.sum(mine & ~same)
        rejects += np.sum(scores[mine & same] < chosen)
        genuine += np.sum(mine & same)
    assert different == np.sum(~same)
    return value, accepts, different, rejects, genuine


def pick(scores, far):
    return min(t for t in np.unique(scores) if np.mean(scores >= t) <= far)


def pick_few(scores, share):
    """Give the least threshold that lets in as near to a share as can be, or one above all of them."""
    most = min(round(len(scores) * share), len(scores) - 1)
    return min((t for t in np.unique(scores) if np.sum(scores >= t) <= most), default=np.inf)


@pytest.mark.parametrize(
    ("people", "each", "folds", "far"), [(24, 3, 4, 0.02), (40, 2, 10, 0.01), (23, 5, 3, 0.1), (12, 4, 12, 0.3)]
)
def test_what_is_chosen_and_measured_is_what_the_whole_matrix_gives(people, each, folds, far, monkeypatch):
    monkeypatch.setattr(pairs, "_ROWS", 13)
    monkeypatch.setattr(pairs, "_COLUMNS", 17)
    monkeypatch.setattr(pairs, "_SLACK", 20)
    embeddings, who = photograph(people, each, spread=2)
    value, *counts = brute_force(embeddings, who, far, folds)
    found = calibrate_embeddings(embeddings, who, far, folds)
    assert found.value == pytest.approx(value, abs=1e-6)
    assert [found.false_accepts, found.far_count, found.false_rejects, found.frr_count] == counts
    assert found.far == counts[0] / counts[1]
    assert found.frr == counts[2] / counts[3]
    assert (found.folds, found.groups, found.far_asked, found.score) == (folds, people, far, "cosine")
    assert found.far_interval[0] <= found.far <= found.far_interval[1]
    assert found.frr_interval[0] <= found.frr <= found.frr_interval[1]


def test_ties_with_the_threshold_are_accepted():
    """Cosines are quarters, exactly: thousands of pairs score just what the threshold is."""
    random = np.random.default_rng(0)
    embeddings = np.zeros((90, 16), np.float32)
    for row in embeddings:
        row[random.choice(16, 4, replace=False)] = 0.5
    who = np.repeat(np.arange(30), 3)
    value, *counts = brute_force(embeddings, who, 0.05, folds=5)
    found = calibrate_embeddings(embeddings, who, 0.05, folds=5)
    assert found.value == value == 0.75
    assert [found.false_accepts, found.far_count, found.false_rejects, found.frr_count] == counts


def test_nobody_is_measured_on_at_a_threshold_they_had_a_part_in():
    """Ten people who look alike as no others do: chosen with them T would refuse them, and so must let them in."""
    embeddings, who = photograph(40, 3, dimensions=64)
    fold = deal(np.bincount(who), 4, 0)
    alike = np.isin(who, np.flatnonzero(fold == 2))
    embeddings[alike] = embeddings[alike][0] + embeddings[alike] / 100
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    found = calibrate_embeddings(embeddings, who, 0.01, folds=4)
    assert found.false_accepts >= 3 * 3 * 45  # three photographs each of ten people
    assert found.far > 5 * 0.01


def test_pairs_across_two_folds_are_measured_without_either():
    """Two folds look alike, and no others: no pair within one fold is accepted, and every one across them."""
    who = np.repeat(np.arange(40), 3)
    fold = deal(np.bincount(who), 4, 0)
    first, second = np.flatnonzero(fold == 0), np.flatnonzero(fold == 1)
    faces = np.eye(40, 64, dtype=np.float32)
    faces[second] = 0.9 * faces[first] + math.sqrt(1 - 0.81) * faces[second]
    found = calibrate_embeddings(faces[who], who, 0.01, folds=4)
    assert found.value == pytest.approx(0.9)
    assert found.false_accepts == 10 * 9


def test_no_person_s_photographs_decide_how_often_people_are_refused():
    """One of 21 people has 40 photographs, in none of which they look like themselves: 780 pairs of 980."""
    who = np.r_[np.repeat(np.arange(20), 5), np.full(40, 20)]
    embeddings = np.eye(60, dtype=np.float32)[np.r_[who[:100], np.arange(20, 60)]]
    found = calibrate_embeddings(embeddings, who, 0.01, folds=5)
    assert (found.false_rejects, found.frr_count) == (45, 20 * 10 + 45)  # of ten photographs
    few = calibrate_embeddings(embeddings[:110], who[:110], 0.01, folds=5)
    assert (few.false_rejects, few.frr_count) == (45, 20 * 10 + 45)


def test_the_same_seed_gives_the_same_and_names_are_as_good_as_numbers():
    embeddings, who = photograph(30, 3, spread=2)
    found = calibrate_embeddings(embeddings, who, 0.02, seed=5)
    assert found == calibrate_embeddings(embeddings, [f"person {number:02}" for number in who], 0.02, seed=5)
    assert found != calibrate_embeddings(embeddings, who, 0.02, seed=6)
    assert found.value == calibrate_embeddings(embeddings, who, 0.02, seed=6).value  # chosen on all


@pytest.fixture(scope="module")
def truth_at():
    """Give the function from a threshold to (FAR, FRR) of thousands of other people."""
    strangers, _ = photograph(3000, 1, seed=999, spread=2)
    different = np.sort((strangers @ strangers.T)[np.triu_indices(3000, 1)])
    twice, _ = photograph(20_000, 2, seed=998, spread=2)
    same = np.sort(np.sum(twice[::2] * twice[1::2], axis=1))
    return lambda value: (
        1 - np.searchsorted(different, value) / len(different),
        np.searchsorted(same, value) / len(same),
    )


def test_held_out_rates_are_near_the_truth_and_the_interval_holds_it_as_often_as_it_says(truth_at):
    """Where people differ in how alike they look, binomial intervals of the pairs hold it far less often."""
    runs = [calibrate_embeddings(*photograph(60, 4, seed, spread=2), 0.01, seed=seed) for seed in range(40)]
    truth = [truth_at(run.value) for run in runs]
    held_out = np.mean([run.far for run in runs])
    far = np.mean([far for far, _ in truth])
    assert held_out == pytest.approx(far, rel=0.2)  # two standard errors of the mean of 40 are 0.12
    assert far == pytest.approx(0.01, rel=0.25)  # of T on all
    assert np.mean([run.frr for run in runs]) == pytest.approx(np.mean([frr for _, frr in truth]), abs=0.02)
    inside = [low <= far <= high for (low, high), (far, _) in zip((r.far_interval for r in runs), truth, strict=True)]
    naive = [wilson(run.false_accepts, run.far_count) for run in runs]
    inside_naive = [low <= far <= high for (low, high), (far, _) in zip(naive, truth, strict=True)]
    assert np.mean(inside) >= 0.82  # 0.92 of very many
    assert np.mean(inside_naive) <= 0.75
    width = np.mean([run.far_interval[1] - run.far_interval[0] for run in runs])
    assert width > 2 * np.mean([high - low for low, high in naive])


def test_a_false_reject_interval_is_over_people():
    """Half of the people never look like themselves: 20 people, whatever number of photographs they have."""
    random = np.random.default_rng(0)
    steady, who = photograph(20, 20, noise=0.01, dimensions=64)
    loose = random.normal(size=steady.shape).astype(np.float32)
    loose /= np.linalg.norm(loose, axis=1, keepdims=True)
    found = calibrate_embeddings(np.where((who % 2)[:, None] == 1, loose, steady), who, 0.01, folds=5)
    assert found.frr == pytest.approx(0.5, abs=0.02)
    assert found.frr_count == 20 * 45  # of ten photographs each
    assert found.frr_interval[1] - found.frr_interval[0] > 0.35  # 0.03 for as many independent pairs


def test_no_false_accept_is_not_taken_for_certainty():
    who = np.repeat(np.arange(20), 2)
    found = calibrate_embeddings(np.eye(20, dtype=np.float32)[who], who, 0.01)
    assert found.false_accepts == 0
    assert found.far_interval[0] == 0
    assert found.far_interval[1] >= 3 / found.far_count


def test_it_is_quick_for_thousands_of_people():
    embeddings, who = photograph(2500, 2, dimensions=32)
    start = time.perf_counter()
    found = calibrate_embeddings(embeddings, who, 1e-4)
    assert time.perf_counter() - start < 30  # 2 s on an idle machine
    assert found.far == pytest.approx(1e-4, rel=0.5)


def test_what_people_cannot_support_is_refused():
    with pytest.raises(UsageError, match="needs at least 30,000 pairs of different people, and there are 3,120"):
        calibrate_embeddings(*photograph(40, 2), 1e-4)
    with pytest.raises(UsageError, match="3 or more are needed"):
        calibrate_embeddings(*photograph(40, 2), 0.1, folds=2)


@pytest.mark.parametrize("folds", [3, 10, 20])
def test_the_least_that_is_granted_works(folds):
    embeddings, who = photograph(20, 2)
    with pytest.raises(UsageError) as met:
        calibrate_embeddings(embeddings, who, 1e-6, folds)
    least = float(str(met.value).split("ask for ")[1].split()[0])
    assert calibrate_embeddings(embeddings, who, least, folds).far_count == 760


def test_one_photograph_under_many_names_is_said():
    embeddings, who = photograph(40, 2)
    embeddings[:20] = np.eye(16)[0]  # a norm that no rounding touches
    with pytest.raises(UsageError, match=r"180 pairs of different people score 1, .* same picture under two names"):
        calibrate_embeddings(embeddings, who, 0.01)


def strange(groups, each, seed, effect=1.0):
    random = np.random.default_rng(seed)
    found = np.repeat(random.normal(0, effect, groups), each) + random.normal(0, 1, groups * each)
    return (found / 20).astype(np.float32), np.repeat(np.arange(groups), each)


def upper_tail(value):
    return math.erfc(value / math.sqrt(2)) / 2


def test_a_classifier_s_threshold_and_rates_are_those_of_brute_force():
    random = np.random.default_rng(0)
    unknown, groups = strange(13, 20, 0)
    known, right = random.normal(0.1, 0.05, 301).astype(np.float32), random.random(301) < 0.8
    found = calibrate_scores("max_probability", known, right, unknown, 0.05, groups, folds=5, seed=2)
    assert found.value == np.float32(pick(unknown, 0.05))
    fold = deal(np.full(13, 20), 5, 2)[groups]
    chosen = [pick(unknown[fold != number], 0.05) for number in range(5)]
    assert found.false_accepts == sum(np.sum(unknown[fold == n] >= chosen[n]) for n in range(5))
    assert (found.far_count, found.frr_count, found.groups, found.folds) == (260, right.sum(), 13, 5)
    assert np.sum(known[right] < min(chosen)) <= found.false_rejects <= np.sum(known[right] < max(chosen))
    assert found.frr_interval == wilson(found.false_rejects, found.frr_count)


def test_a_wrong_answer_withheld_is_no_false_reject():
    known = np.r_[np.full(50, 0.9), np.zeros(50)].astype(np.float32)
    unknown = np.linspace(0.1, 0.8, 100, dtype=np.float32)
    assert calibrate_scores("margin", known, known > 0.5, unknown, 0.05).false_rejects == 0
    assert calibrate_scores("margin", known, np.ones(100, bool), unknown, 0.05).frr == 0.5


def test_rates_of_groups_that_differ_are_near_the_truth_and_their_interval_holds_it():
    known, right = np.full(100, 0.5, np.float32), np.ones(100, bool)
    runs = [calibrate_scores("max_probability", known, right, *parts(seed), folds=10, seed=seed) for seed in range(60)]
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
    found = calibrate_scores("margin", unknown + 0.2, np.ones(300, bool), unknown, 0.05)
    assert found.groups == 300
    assert found == calibrate_scores("margin", unknown + 0.2, np.ones(300, bool), unknown, 0.05, np.arange(300))


@pytest.mark.parametrize(
    ("right", "far", "says"),
    [(True, 0.02, "0.02 needs at least 150 unknown images"), (False, 0.1, "none of 50 known images is answered right")],
)
def test_what_a_classifier_s_images_cannot_support_is_refused(right, far, says):
    scores = np.linspace(0, 0.9, 100, dtype=np.float32)
    with pytest.raises(UsageError, match=says):
        calibrate_scores("margin", np.ones(50, np.float32), np.full(50, right), scores, far)


def test_unknown_images_of_the_greatest_score_leave_no_threshold():
    unknown = np.r_[np.ones(20), np.linspace(0, 0.9, 80)].astype(np.float32)
    with pytest.raises(UsageError, match="20 unknown images score 1"):
        calibrate_scores("margin", np.ones(50, np.float32), np.ones(50, bool), unknown, 0.1)


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
    with pytest.raises(ValueError, match=r"go together|go with|float32|finite"):
        calibrate_scores("margin", known, right, unknown, 0.1, groups)


def test_a_spec_s_threshold_is_made_of_it():
    found = calibrate_embeddings(*photograph(30, 3), 0.02)
    made = found.threshold()
    assert isinstance(made, Threshold)
    assert (made.value, made.score) == (found.value, "cosine")
    assert (made.false_accept_rate, made.false_accept_count) == (found.far, found.far_count)
    assert (made.false_reject_rate, made.false_reject_count) == (found.frr, found.frr_count)
    assert msgspec.json.decode(msgspec.json.encode(found), type=type(found)) == found
    assert np.float32(found.value) == found.value
