"""What each epoch is fed with: every image in its turn, weighed or drawn against the imbalance."""

import numpy as np
import pytest

from facectl_trainer.augment import AugmentPlan, apply, transforms
from facectl_trainer.feed import Photographs
from facectl_trainer.objective import order

TRUTH = np.repeat([0, 1, 2], [12, 6, 3])


def drawn(balance, seed=0, truth=TRUTH):
    return order(truth, 3, balance, np.random.default_rng(seed))


@pytest.mark.parametrize("balance", ["none", "class_weights"])
def test_every_example_comes_once_in_an_order_of_its_own(balance):
    chosen, _ = drawn(balance)
    assert sorted(chosen) == list(range(21))
    assert list(chosen) != list(range(21))


def test_without_balance_all_weigh_the_same():
    assert (drawn("none")[1] == 1).all()


def test_class_weights_are_inverse_to_the_counts_and_one_in_the_mean():
    chosen, weights = drawn("class_weights")
    by_class = [set(weights[TRUTH[chosen] == label]) for label in range(3)]
    assert [len(values) for values in by_class] == [1, 1, 1]
    often, half, quarter = (values.pop() for values in by_class)
    assert half == pytest.approx(2 * often)
    assert quarter == pytest.approx(4 * often)
    assert weights.mean() == pytest.approx(1)
    assert weights.dtype == np.float32


def test_sampling_draws_every_class_as_often_and_no_image_more_often_than_needed():
    chosen, weights = drawn("sampling")
    assert np.bincount(TRUTH[chosen]).tolist() == [7, 7, 7]
    assert (weights == 1).all()
    times = np.bincount(chosen, minlength=21)
    assert times[:12].max() == 1
    assert set(times[12:18]) == {1, 2}
    assert set(times[18:]) == {2, 3}
    assert len(set(TRUTH[chosen[:7]])) > 1  # mixed, not class by class


def test_sampling_gives_other_images_of_a_large_class_each_epoch():
    met = {index for seed in range(12) for index in drawn("sampling", seed)[0] if index < 12}
    assert met == set(range(12))


@pytest.mark.parametrize("balance", ["none", "class_weights", "sampling"])
def test_the_random_numbers_decide_the_order(balance):
    one, again, other = drawn(balance, 1), drawn(balance, 1), drawn(balance, 2)
    np.testing.assert_array_equal(one[0], again[0])
    np.testing.assert_array_equal(one[1], again[1])
    assert list(one[0]) != list(other[0])


def photographs(augment):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)
    return Photographs(None, None, {"train": pixels, "val": pixels}, {}, augment)


def test_a_batch_is_the_images_asked_for():
    (batch,) = photographs(None).examples(np.array([2, 0]), np.random.default_rng(0))
    np.testing.assert_array_equal(batch, photographs(None).pixels["train"][[2, 0]])
    (val,) = photographs(None).inputs("val", slice(1, 3))
    np.testing.assert_array_equal(val, photographs(None).pixels["val"][1:3])


def test_an_augmented_model_sees_the_images_that_the_transforms_make():
    tf_keras = pytest.importorskip("tf_keras")
    from facectl_trainer.feed import trained_on_pixels

    plan = AugmentPlan(rotation=30, shift=0.2, flip=True, fill="constant")
    feed = photographs(plan)
    pixels, changes = feed.examples(np.arange(4), np.random.default_rng(5))
    np.testing.assert_array_equal(changes, transforms(plan, np.random.default_rng(5), 4, 8))
    image = tf_keras.layers.Input((8, 8, 3), dtype="uint8")
    model = tf_keras.Model(image, tf_keras.layers.Flatten()(tf_keras.layers.Rescaling(1.0)(image)))
    expected = np.stack([apply(one[None], change, "constant")[0] for one, change in zip(pixels, changes, strict=True)])
    met = trained_on_pixels(model, 0, plan).predict_on_batch([pixels, changes])
    np.testing.assert_array_equal(met, expected.reshape(4, -1))
    assert (expected != pixels).any()
