"""Triplets as they are drawn for training, their loss by hand, and a collapse that is noticed."""

import numpy as np
import pytest
from scipy.stats import chisquare

from facectl_trainer import triplets
from facectl_trainer.framework import tensorflow
from facectl_trainer.recipe import EmbedPlan
from facectl_trainer.triplets import CollapsedError, Triplets, draw_random, draw_semi_hard, draw_weighted, spread

TRUTH = np.array([2, 0, 1, 0, 2, 1, 0, 3, 2, 0, 1])  # of the fourth person there is one photograph
POLICIES = ("random", "semi-hard", "weighted")


def unit(rows):
    rows = np.asarray(rows, np.float64)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def scattered(count, seed=0, width=6):
    return unit(np.random.default_rng(seed).normal(size=(count, width)))


def on_circle(*degrees):
    """Embeddings by their angle: the nearer two angles, the nearer the embeddings."""
    angles = np.deg2rad(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def drawn(policy, truth, embeddings, count, seed=0, margin=0.2):
    """Draw as an epoch of training does."""
    objective = Triplets(EmbedPlan(sampling=policy, margin=margin, triplets=count), 0)
    order, weights = objective.order(truth, lambda: embeddings, np.random.default_rng(seed))
    assert (weights == 1).all()
    assert len(weights) == len(order) == 3 * count
    return order.reshape(-1, 3)


def squared(embeddings, one, other):
    return np.square(embeddings[one].astype(np.float64) - embeddings[other]).sum(axis=-1)


# What every policy keeps to


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(
    "truth",
    [
        TRUTH,
        np.array([0, 0, 1]),  # one person has everything but one
        np.array([0, 1, 0, 1]),
        np.repeat([0, 1, 2], [500, 3, 2]),
        np.repeat([7, 9], [2, 600]),
    ],
    ids=["several", "all but one", "two people", "five hundred", "six hundred last"],
)
def test_an_anchor_and_a_positive_are_two_of_one_person_and_the_negative_is_another(policy, truth):
    found = drawn(policy, truth, scattered(len(truth)), 1100)
    anchor, positive, negative = found.T
    assert (truth[anchor] == truth[positive]).all()
    assert (anchor != positive).all()
    assert (truth[anchor] != truth[negative]).all()
    several = [person for person in np.unique(truth) if (truth == person).sum() > 1]
    assert np.unique(truth[anchor]).tolist() == several


@pytest.mark.parametrize("policy", POLICIES)
def test_every_person_with_two_photographs_is_an_anchor_as_often_as_another(policy):
    truth = np.repeat([0, 1, 2, 3], [2, 3, 20, 1])
    anchors = truth[drawn(policy, truth, scattered(26), 3000)[:, 0]]
    assert chisquare(np.bincount(anchors, minlength=4)[:3]).pvalue > 1e-3
    assert 3 not in anchors


@pytest.mark.parametrize("policy", POLICIES)
def test_the_seed_decides_the_draw(policy):
    embeddings = scattered(len(TRUTH))
    one, again, other = (drawn(policy, TRUTH, embeddings, 200, seed) for seed in (4, 4, 5))
    assert one.tolist() == again.tolist()
    assert one.tolist() != other.tolist()


def test_an_epoch_has_as_many_triplets_as_photographs_unless_told():
    objective = Triplets(EmbedPlan(), 0)
    order, _ = objective.order(TRUTH, lambda: pytest.fail("random triplets need no answers"), np.random.default_rng(0))
    assert len(order) == 3 * len(TRUTH)


# Random


def test_random_triplets_are_uniform():
    found = draw_random(TRUTH, 40_000, np.random.default_rng(0))
    counts = {}
    for triplet in map(tuple, found.tolist()):
        counts[triplet] = counts.get(triplet, 0) + 1
    expected = {}
    for anchor, person in enumerate(TRUTH):
        own = [other for other in np.flatnonzero(person == TRUTH) if other != anchor]
        strangers = np.flatnonzero(person != TRUTH)
        for positive in own:
            for negative in strangers:
                share = 1 / (3 * (len(own) + 1) * len(own) * len(strangers))
                expected[anchor, positive, negative] = 40_000 * share
    assert counts.keys() <= expected.keys()
    keys = sorted(expected)
    assert chisquare([counts.get(key, 0) for key in keys], [expected[key] for key in keys]).pvalue > 1e-3


# Semi-hard


def allowed(embeddings, truth, anchor, positive, margin):
    """Give the negatives that the definition allows, one by one."""
    near = squared(embeddings, anchor, positive)
    far = {other: squared(embeddings, anchor, other) for other in np.flatnonzero(truth != truth[anchor])}
    if band := {other for other, value in far.items() if near < value < near + margin}:
        return "band", band
    if farther := {other: value for other, value in far.items() if value > near}:
        return "nearest of the farther", {min(farther, key=farther.get)}
    return "farthest", {max(far, key=far.get)}


@pytest.mark.parametrize("margin", [0.02, 0.2, 1.0])
def test_semi_hard_negatives_are_those_of_the_definition(margin):
    truth = np.random.default_rng(3).integers(0, 9, 60)
    embeddings = scattered(60, seed=1, width=4)
    kinds = []
    for anchor, positive, negative in draw_semi_hard(truth, 1200, lambda: embeddings, margin, np.random.default_rng(0)):
        kind, negatives = allowed(embeddings, truth, anchor, positive, margin)
        kinds.append(kind)
        assert negative in negatives, kind
    wanted = {"band", "nearest of the farther", "farthest"} if margin == 0.02 else {"band"}
    assert wanted <= set(kinds)


def test_within_the_band_every_negative_is_as_likely():
    truth = np.array([0, 0, 1, 1, 1, 1, 1])
    embeddings = on_circle(0, 10, 15, 18, 21, 24, 90)
    found = draw_semi_hard(truth, 6000, lambda: embeddings, 0.2, np.random.default_rng(2))
    negatives = found[(found[:, 0] == 0)][:, 2]
    assert chisquare(np.bincount(negatives, minlength=7)[2:6]).pvalue > 1e-3
    assert set(negatives) == {2, 3, 4, 5}


def test_semi_hard_negatives_come_from_a_pool_and_where_it_has_no_stranger_from_anywhere(monkeypatch):
    truth = np.repeat([0, 1], [40, 3])
    monkeypatch.setattr(triplets, "_POOL", 2)
    embeddings = scattered(43)
    for seed in range(12):
        found = draw_semi_hard(truth, 300, lambda: embeddings, 0.2, np.random.default_rng(seed))
        assert (truth[found[:, 0]] != truth[found[:, 2]]).all()
        negatives = set(found[truth[found[:, 0]] == 1][:, 2].tolist())
        assert len(negatives) <= 2 or len(negatives) > 20


# Weighted


def test_weighted_positives_are_the_likelier_the_farther():
    truth = np.array([0, 0, 0, 0, 0, 1, 1])
    embeddings = on_circle(0, 40, 10, 30, 20, 200, 250)
    found = draw_weighted(truth, 12_000, lambda: embeddings, 0.2, np.random.default_rng(0))
    positives = np.bincount(found[found[:, 0] == 0][:, 1], minlength=5)[[1, 3, 4, 2]]  # from the farthest on
    assert chisquare(positives, positives.sum() * np.array([4, 3, 2, 1]) / 10).pvalue > 1e-3


def test_weighted_negatives_are_the_likelier_the_nearer_and_never_one_of_the_farther_half():
    truth = np.array([0, 0, 1, 2, 3, 4, 5])
    embeddings = on_circle(0, 5, 60, 30, 120, 45, 90)
    found = draw_weighted(truth, 6000, lambda: embeddings, 0.2, np.random.default_rng(1))
    negatives = np.bincount(found[found[:, 0] == 0][:, 2], minlength=7)
    assert negatives[[0, 1, 4, 6]].tolist() == [0, 0, 0, 0]
    assert chisquare(negatives[[3, 5, 2]], negatives.sum() * np.array([3, 2, 1]) / 6).pvalue > 1e-3


def test_weighted_negatives_of_an_anchor_do_not_depend_on_how_many_photographs_another_has():
    """Of the second person 31 of 62 strangers are drawn, though the first has all but four of the photographs."""
    truth = np.repeat([0, 1, 2], [60, 2, 2])
    embeddings = on_circle(*range(100, 160), 0, 5, 10, 20)
    found = draw_weighted(truth, 30_000, lambda: embeddings, 0.2, np.random.default_rng(2))
    anchor = found[found[:, 0] == 60]
    nearest = sorted(np.flatnonzero(truth != 1), key=lambda other: squared(embeddings, 60, other))
    counts = np.bincount(anchor[:, 2], minlength=64)
    assert counts[nearest[31:]].sum() == 0
    assert chisquare(counts[nearest[:31]], counts.sum() * np.arange(31, 0, -1) / 496).pvalue > 1e-3
    of_first = found[truth[found[:, 0]] == 0][:, 2]
    assert len(set(of_first) & {60, 61, 62, 63}) == len(set(of_first)) >= 2


@pytest.mark.parametrize("policy", POLICIES)
def test_photographs_that_look_all_alike_are_drawn_nevertheless(policy):
    """As an embedding has it that has collapsed."""
    embeddings = np.tile(unit([[1, 2, 3]]), (len(TRUTH), 1))
    anchor, positive, negative = drawn(policy, TRUTH, embeddings, 500).T
    assert (anchor != positive).all()
    assert (TRUTH[anchor] == TRUTH[positive]).all()
    assert (TRUTH[anchor] != TRUTH[negative]).all()


# Loss and judgement


def test_the_loss_by_hand():
    embeddings = scattered(12, seed=5)
    losses, right = Triplets(EmbedPlan(margin=0.3), 0).loss(None, tensorflow().constant(embeddings))
    wanted, nearer = [], []
    for start in range(0, 12, 3):
        anchor, positive, negative = embeddings[start : start + 3].astype(np.float64)
        near, far = np.sum((anchor - positive) ** 2), np.sum((anchor - negative) ** 2)
        wanted.append(max(0.0, near - far + 0.3))
        nearer.append(near < far)
    assert 0 in wanted
    assert max(wanted) > 0.3
    np.testing.assert_allclose(losses.numpy(), wanted, atol=1e-6)
    assert right.numpy().tolist() == nearer


def test_the_judgement_by_hand():
    truth = np.array([0, 0, 1, 1])
    embeddings = on_circle(0, 10, 25, 80)
    found = Triplets(EmbedPlan(margin=0.1), 9).judge(embeddings, truth)
    triplets = [(a, a ^ 1, n) for a in range(4) for n in range(4) if truth[a] != truth[n]]  # all there are, as likely
    near, far = (np.array([squared(embeddings, t[0], t[place]) for t in triplets]) for place in (1, 2))
    assert found["val_loss"] == pytest.approx(np.maximum(near - far + 0.1, 0).mean(), abs=0.03)
    assert found["val_accuracy"] == pytest.approx((near < far).mean(), abs=0.03)
    assert found == Triplets(EmbedPlan(margin=0.1, sampling="weighted"), 9).judge(embeddings, truth)
    wider = Triplets(EmbedPlan(margin=2.0), 9).judge(embeddings, truth)["val_loss"]
    assert wider == pytest.approx((near - far).mean() + 2, abs=0.05)


def test_the_spread_is_0_of_one_place_and_1_of_all_around():
    assert spread(np.tile(unit([[3, 1, 2]]), (50, 1))) == pytest.approx(0, abs=1e-6)
    assert min(spread(np.tile(row, (7, 1))) for row in scattered(50)) == 0  # rounded, it would lie below for many
    assert spread(on_circle(*range(0, 360, 10))) == pytest.approx(1)
    assert spread(on_circle(0, 90)) == pytest.approx(0.5)


# Collapse


def row(loss=0.2, spread=1e-7, rate=0.03):
    return {"stage": "head", "epoch": 1, "rate": rate, "loss": loss, "val_loss": 0.2, "val_spread": spread}


GONE, SLOW, WELL = row(), row(loss=0.1997, spread=7e-4), row(loss=0.1, spread=0.3)


def looked_at(history):
    Triplets(EmbedPlan(sampling="semi-hard"), 0).look(history)


@pytest.mark.parametrize("before", [[], [WELL], [WELL, WELL, WELL, WELL]])
def test_a_collapse_is_noticed_after_three_epochs(before):
    for epochs in (1, 2):
        looked_at([*before, *[GONE] * epochs])
    with pytest.raises(CollapsedError, match="the embeddings have collapsed: for 3 epochs") as caught:
        looked_at([*before, GONE, GONE, GONE])
    message = str(caught.value)
    assert "\n" not in message
    assert "margin (0.2)" in message
    assert "rate in the recipe (0.03)" in message
    assert "another --sampling than semi-hard" in message


@pytest.mark.parametrize(
    "history",
    [
        [SLOW] * 20,  # a head of sigmoids begins so: it gets away after a dozen epochs
        [row(spread=0.4)] * 9,
        [row(loss=0.15)] * 9,  # val alone has come together
        [GONE, GONE, WELL, GONE, GONE],
        [GONE, SLOW, GONE, SLOW],
    ],
)
def test_a_slow_start_and_a_single_slip_are_no_collapse(history):
    for epochs in range(1, len(history) + 1):
        looked_at(history[:epochs])
