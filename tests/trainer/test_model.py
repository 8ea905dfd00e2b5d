"""The assembled model, its cut in two, and what a stage trains of it."""

import numpy as np
import pytest

from facectl_runtime.errors import UsageError
from facectl_trainer.backbones import BACKBONES
from facectl_trainer.feed import Photographs, Vectors
from facectl_trainer.fit import Hooks, Position, Task, fit_stage
from facectl_trainer.model import assemble, begins_at, digest, halve, unfreeze
from facectl_trainer.objective import Classes
from facectl_trainer.recipe import FeaturesPlan, HeadPlan
from facectl_trainer.steps import Steps
from tiny_network import SIDE, build, recipe, stage

tf_keras = pytest.importorskip("tf_keras")

HEAD = HeadPlan((6,), dropout=0.0, batch_norm=True)


def made(body, given=None, seed=0, **more):
    tf_keras.utils.set_random_seed(seed)
    return assemble(body, given or recipe(head=HEAD, **more), 3, body.preprocess, seed=seed)


@pytest.fixture(scope="module")
def model(tiny_weights):
    return made(tiny_weights[1])


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(1).integers(0, 256, (5, SIDE, SIDE, 3), np.uint8)


def listed(outputs):
    return outputs if isinstance(outputs, list) else [outputs]


def assert_halves_are_the_whole(model, first, pixels):
    halves = halve(model, first)
    between = listed(halves.trunk.predict_on_batch(pixels))
    rows = halves.vectors(pixels)
    assert rows.shape == (len(pixels), halves.size)
    parted = halves.parted(rows)
    for ours, theirs in zip(parted, between, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    np.testing.assert_array_equal(halves.flat(parted), rows)
    answer = halves.tail.predict_on_batch(parted if len(parted) > 1 else parted[0])
    np.testing.assert_allclose(answer, model.predict_on_batch(pixels), atol=1e-6)
    return len(between)


def test_cut_anywhere_the_halves_are_the_whole_however_often_it_was_cut_before(model, pixels):
    crossing = {
        model.layers[first].name: assert_halves_are_the_whole(model, first, pixels)
        for first in range(1, len(model.layers))
    }
    assert crossing["sum"] == 2
    assert crossing["top"] == crossing["probabilities"] == 1


def test_cut_inside_a_network_of_operators_with_several_inputs():
    body = BACKBONES["mobilenet_v3"]  # which multiplies by operators that are no layers of an author's
    model = assemble(body, recipe(side=SIDE), 3, body.preprocess)
    pixels = np.random.default_rng(1).integers(0, 256, (2, SIDE, SIDE, 3), np.uint8)
    operators = [index for index, layer in enumerate(model.layers) if layer.name.startswith("tf.")]
    for first in (operators[3], operators[-1]):
        assert_halves_are_the_whole(model, first, pixels)


def test_halves_share_the_layers_of_the_whole(model, pixels):
    halves = halve(model, begins_at(model, "top"))
    before = model.predict_on_batch(pixels)
    kernel = halves.tail.get_layer("top").kernel
    kept = kernel.numpy()
    kernel.assign(kept * 2)
    assert np.abs(model.predict_on_batch(pixels) - before).max() > 1e-4
    kernel.assign(kept)


@pytest.mark.parametrize("train", ["left", "top", "head"])
def test_training_a_tail_on_kept_vectors_is_training_the_whole_with_its_trunk_frozen(tiny_weights, pixels, train):
    truth = {part: np.array([0, 1, 2, 0, 1]) for part in ("train", "val", "test")}
    plan = stage(train, 1e-2, epochs=3, batch=2)
    results = []
    for on_vectors in (True, False):
        model = made(tiny_weights[1])
        start = model.get_weights()
        first = begins_at(model, train)
        unfreeze(model, first, batch_norm=False)
        if on_vectors:
            halves = halve(model, first)
            rows = halves.vectors(pixels)
            feed = Vectors(halves, dict.fromkeys(truth, (rows, np.arange(len(rows)))), truth)
        else:
            feed = Photographs(model, model, dict.fromkeys(truth, pixels), truth, None)
        steps = Steps(feed.trained, plan, Classes(), tf_distribute())
        fit_stage(
            feed, plan, Task(train, Classes(), 4), steps, Position(), None, Hooks(lambda _: None, lambda *_: None)
        )
        results.append(model.get_weights())
    assert any(not np.array_equal(one, other) for one, other in zip(results[0], start, strict=True))
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)


def tf_distribute():
    import tensorflow as tf

    return tf.distribute.get_strategy()


# What a stage trains


def test_all_head_and_a_layer_begin_where_they_should(model):
    names = [layer.name for layer in model.layers]
    assert begins_at(model, "all") == 0
    assert names[begins_at(model, "head")] == "classifier_bn"
    assert names[begins_at(model, "top")] == "top"
    assert begins_at(made(BACKBONES["convnet"], recipe(side=SIDE)), "head") > 0


def test_a_layer_that_is_not_there_is_named_with_what_is(model):
    with pytest.raises(UsageError, match=r"train = 'tob': tiny has no such layer; did you mean 'top'\?; use head, all"):
        begins_at(model, "tob")


def test_only_what_comes_after_is_trained_and_a_pretrained_batch_norm_never(model):
    def trained():
        return {layer.name for layer in model.layers if layer.trainable_weights}

    unfreeze(model, begins_at(model, "left"), batch_norm=False)
    head = {"classifier_bn", "classifier_dense1", "probabilities"}
    assert head | {"left", "top"} <= trained() <= head | {"left", "right", "top"}
    unfreeze(model, begins_at(model, "head"), batch_norm=False)
    assert trained() == head
    unfreeze(model, 0, batch_norm=True)
    assert trained() == head | {"stem", "left", "right", "right_bn", "top"}


# Features and head


@pytest.mark.parametrize(("grid", "size"), [(1, 8), (2, 4 * 8), (3, 9 * 8), (4, 16 * 8), (0, 16 * 8)])
def test_the_map_becomes_a_grid_of_means(tiny_weights, grid, size):
    model = made(tiny_weights[1], features=FeaturesPlan("pool", grid))
    features = model.get_layer("features").output
    assert features.shape[1:] == (size,)


def test_each_cell_is_the_mean_of_its_own_pixels(tiny_weights, pixels):
    model = made(tiny_weights[1], features=FeaturesPlan("pool", 2))
    inner = tf_keras.Model(model.input, [model.get_layer("pool").output, model.get_layer("features").output])
    whole, cells = inner.predict_on_batch(pixels)
    expected = whole.reshape(5, 2, 2, 2, 2, 8).mean(axis=(2, 4)).reshape(5, -1)
    np.testing.assert_allclose(cells, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"features": FeaturesPlan("poool")}, "features.layer 'poool': tiny has no such layer; did you mean 'pool'?"),
        ({"features": FeaturesPlan("pool", 5)}, "features.grid 5: the map of tiny is 4 × 4 there; use less"),
    ],
)
def test_what_the_backbone_has_not_is_refused(tiny_weights, more, words):
    with pytest.raises(UsageError) as caught:
        made(tiny_weights[1], **more)
    assert words in str(caught.value)


def test_a_side_too_small_is_refused():
    with pytest.raises(UsageError, match="side 16: inception_v3 takes 75 pixels or more; its own is 299"):
        made(BACKBONES["inception_v3"], recipe(side=16))


def test_answers_are_probabilities(model, pixels):
    answer = model.predict_on_batch(pixels)
    assert answer.dtype == np.float32
    np.testing.assert_allclose(answer.sum(axis=1), 1, atol=1e-6)


# Digests


def test_a_digest_tells_values_and_layers_and_nothing_else(tiny_weights):
    body = tiny_weights[1]
    model, same = made(body), made(body)
    assert digest(model) == digest(same)
    same.trainable = False
    assert digest(model) == digest(same)
    assert digest(made(body, seed=1)) != digest(model)
    assert digest(made(body, recipe(head=HeadPlan((6,), dropout=0.5, batch_norm=True)))) != digest(model)
    value = same.get_layer("right_bn").moving_variance
    value.assign(value + 1e-6)
    assert digest(same) != digest(model)


def test_the_trunk_s_digest_is_the_same_whatever_the_head(tiny_weights):
    body = tiny_weights[1]
    trunks = [halve(model, begins_at(model, "head")).trunk for model in (made(body), made(body, recipe()))]
    for trunk in trunks:
        trunk.set_weights(build(SIDE, "unit").get_weights() if trunk is trunks[0] else trunks[0].get_weights())
    assert digest(trunks[0]) == digest(trunks[1])
