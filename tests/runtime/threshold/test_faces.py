"""A threshold of faces at a stated false-accept rate, against brute force and what simulated people truly do."""

import itertools
import math
import time

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facectl_runtime.errors import UsageError
from facectl_runtime.faces import pairs
from facectl_runtime.metrics import wilson
from facectl_runtime.spec import Threshold
from facectl_runtime.threshold.faces import calibrate_embeddings, check_people, pairs_outside
from facectl_runtime.threshold.folds import deal
from facectl_runtime.threshold.rates import most_accepted


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


def test_what_people_can_support_passes():
    check_people(named(*[2] * 10), 0.1, 10)
    check_people(named(*[2] * 6), 0.99, 3)


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


def test_a_spec_s_threshold_is_made_of_it():
    found = calibrate_embeddings(*photograph(30, 3), 0.02)
    made = found.threshold()
    assert isinstance(made, Threshold)
    assert (made.value, made.score) == (found.value, "cosine")
    assert (made.false_accept_rate, made.false_accept_count) == (found.far, found.far_count)
    assert (made.false_reject_rate, made.false_reject_count) == (found.frr, found.frr_count)
    assert msgspec.json.decode(msgspec.json.encode(found), type=type(found)) == found
    assert np.float32(found.value) == found.value
