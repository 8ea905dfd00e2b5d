"""Gradient steps: what Keras itself would do, on one device or several."""

import json
import subprocess
import sys

import numpy as np
import pytest

from facectl_trainer.framework import tensorflow
from facectl_trainer.objective import Classes
from facectl_trainer.recipe import EmbedPlan
from facectl_trainer.steps import Steps
from facectl_trainer.triplets import Triplets
from tiny_network import stage

tf_keras = pytest.importorskip("tf_keras")

RANDOM = np.random.default_rng(0)
INPUTS = RANDOM.normal(0, 1, (22, 5)).astype(np.float32)
TRUTH = RANDOM.integers(0, 3, 22)
BATCHES = [slice(start, start + 8) for start in range(0, 22, 8)]


def network(seed=0):
    layers = tf_keras.layers
    tf_keras.utils.set_random_seed(seed)
    return tf_keras.Sequential(
        [layers.Dense(7, "relu", input_shape=(5,)), layers.BatchNormalization(), layers.Dense(3, "softmax")]
    )


def stepped(plan, weights=None, epochs=2):
    model = network()
    steps = Steps(model, plan, Classes(smoothing=plan.label_smoothing), tensorflow().distribute.get_strategy())
    weights = np.ones(22, np.float32) if weights is None else weights
    sums = [steps.train([INPUTS[b]], TRUTH[b], weights[b]) for _ in range(epochs) for b in BATCHES]
    return model, steps, sums


@pytest.mark.parametrize(
    "plan",
    [
        stage(optimizer="adam", rate=0.01),
        stage(optimizer="sgd", rate=0.1, momentum=0.9),
        stage(optimizer="rmsprop", rate=0.01, momentum=0.5),
        stage(optimizer="adamw", rate=0.01, weight_decay=0.1),
        stage(optimizer="adam", rate=0.01, label_smoothing=0.2),
    ],
    ids=["adam", "sgd", "rmsprop", "adamw", "smoothing"],
)
def test_the_same_batches_give_what_keras_gives(plan):
    optimizers = tf_keras.optimizers
    keras = {
        "adam": lambda: optimizers.Adam(0.01),
        "sgd": lambda: optimizers.SGD(0.1, momentum=0.9),
        "rmsprop": lambda: optimizers.RMSprop(0.01, momentum=0.5),
        "adamw": lambda: optimizers.AdamW(0.01, weight_decay=0.1),
    }
    theirs = network()
    loss = tf_keras.losses.CategoricalCrossentropy(label_smoothing=plan.label_smoothing)
    theirs.compile(keras[plan.optimizer](), loss, metrics=["accuracy"])
    told = theirs.fit(INPUTS, np.eye(3)[TRUTH], batch_size=8, epochs=2, shuffle=False, verbose=0).history
    ours, _, sums = stepped(plan)
    for one, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)
    last = sums[-len(BATCHES) :]
    assert sum(each.loss for each in last) / 22 == pytest.approx(told["loss"][-1], rel=1e-4)
    assert sum(each.hits for each in last) / 22 == pytest.approx(told["accuracy"][-1])
    assert sum(each.n for each in last) == sum(each.weight for each in last) == 22


def test_weights_move_a_batch_by_their_sum_over_its_count_as_in_keras():
    """So that a batch without a rare class moves little. Without batch norm, which sees examples and not weights."""
    layers, plan = tf_keras.layers, stage(optimizer="sgd", rate=0.5)
    results = []
    for chosen, weights in (([0, 1, 2, 3], [2, 0.5, 0.5, 1]), ([0, 0, 0, 0, 1, 2, 3, 3], [1] * 8)):
        tf_keras.utils.set_random_seed(1)
        model = tf_keras.Sequential([layers.Dense(3, "softmax", input_shape=(5,))])
        steps = Steps(model, plan, Classes(smoothing=plan.label_smoothing), tensorflow().distribute.get_strategy())
        sums = steps.train([INPUTS[chosen]], TRUTH[chosen], np.array(weights, np.float32))
        results.append((model.get_weights()[0], sums.loss / len(chosen), sums.weight / len(chosen)))
    np.testing.assert_allclose(results[0][0], results[1][0], atol=1e-6)
    assert results[0][1:] == pytest.approx(results[1][1:])
    tf_keras.utils.set_random_seed(1)
    model = tf_keras.Sequential([layers.Dense(3, "softmax", input_shape=(5,))])
    model.compile(tf_keras.optimizers.SGD(0.5), "sparse_categorical_crossentropy")
    model.train_on_batch(INPUTS[:4], TRUTH[:4], sample_weight=np.array([2, 0.1, 0.1, 0.1], np.float32))
    tf_keras.utils.set_random_seed(1)
    ours = tf_keras.Sequential([layers.Dense(3, "softmax", input_shape=(5,))])
    steps = Steps(ours, plan, Classes(), tensorflow().distribute.get_strategy())
    steps.train([INPUTS[:4]], TRUTH[:4], np.array([2, 0.1, 0.1, 0.1], np.float32))
    np.testing.assert_allclose(ours.get_weights()[0], model.get_weights()[0], atol=1e-6)


def test_what_is_frozen_stays():
    model = network()
    model.layers[0].trainable = False
    frozen, free = model.layers[0].get_weights()[0], model.layers[2].get_weights()[0]
    steps = Steps(model, stage(), Classes(), tensorflow().distribute.get_strategy())
    steps.train([INPUTS], TRUTH, np.ones(22, np.float32))
    np.testing.assert_array_equal(model.layers[0].get_weights()[0], frozen)
    assert np.abs(model.layers[2].get_weights()[0] - free).max() > 1e-4


def test_the_rate_that_is_set_is_the_one_used():
    model, steps, _ = stepped(stage(optimizer="sgd"), epochs=1)
    before = model.get_weights()[0]
    steps.set_rate(0.0)
    steps.train([INPUTS], TRUTH, np.ones(22, np.float32))
    np.testing.assert_array_equal(model.get_weights()[0], before)
    steps.set_rate(0.5)
    steps.train([INPUTS], TRUTH, np.ones(22, np.float32))
    assert np.abs(model.get_weights()[0] - before).max() > 1e-3


def test_weights_and_a_last_batch_of_another_size_are_no_new_graph():
    _, steps, _ = stepped(stage(), np.linspace(0.1, 2, 22, dtype=np.float32), epochs=3)
    assert steps._run.experimental_get_tracing_count() <= 2


SEVERAL = """
import json, sys
import numpy as np
from facectl_trainer.framework import tensorflow
tf = tensorflow()
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0],
                                           [tf.config.LogicalDeviceConfiguration()] * 2)
import tf_keras
from facectl_trainer.fit import reseed_dropout
from facectl_trainer.objective import Classes
from facectl_trainer.recipe import EmbedPlan
from facectl_trainer.steps import Steps
from facectl_trainer.triplets import Triplets
from tiny_network import stage
random = np.random.default_rng(0)
inputs, truth = random.normal(0, 1, (22, 5)).astype(np.float32), random.integers(0, 3, 22)
weights = random.uniform(0.5, 2, 22).astype(np.float32)
found = {}
for name, strategy in (("one", tf.distribute.get_strategy()),
                       ("two", tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))):
    tf_keras.utils.set_random_seed(0)
    layers = tf_keras.layers
    with strategy.scope():
        model = tf_keras.Sequential([layers.Dense(7, "relu", input_shape=(5,)), layers.Dense(3, "softmax")])
        drops = tf_keras.Sequential([layers.Dropout(0.5, seed=1, force_generator=True, input_shape=(5,)),
                                     layers.Dense(3, "softmax")])
        embeds = tf_keras.Sequential([layers.Dense(3, input_shape=(5,)), layers.UnitNormalization()])
    steps = Steps(model, stage(rate=0.05), Classes(), strategy)
    sums = []
    for start in (0, 9, 18) * 2:  # batches of 9, 9 and 4: one replica has an example of no weight
        batch = slice(start, start + 9)
        sums.append(steps.train([inputs[batch]], truth[batch], weights[batch]))
    reseed_dropout(drops, 5)
    Steps(drops, stage(), Classes(), strategy).train([inputs], truth, weights)
    steps = Steps(embeds, stage(optimizer="sgd", rate=0.5), Triplets(EmbedPlan(margin=1.0), 0), strategy)
    for start in (0, 9) * 2:  # 3 triplets and 4: one replica has a triplet of no weight
        batch = slice(start, start + (9 if start == 0 else 12))
        sums.append(steps.train([inputs[batch]], truth[batch], np.ones(22, np.float32)[batch]))
    values = [*model.get_weights(), *embeds.get_weights()]
    found[name] = [[w.tolist() for w in values], [list(s) for s in sums], strategy.num_replicas_in_sync]
print(json.dumps(found))
"""


def test_two_devices_give_what_one_gives():
    """In a process of its own: how many devices there are is settled when TensorFlow starts."""
    words = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(folder_of_tests())!r})\n{SEVERAL}"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert (found["one"][2], found["two"][2]) == (1, 2)
    for one, two in zip(found["one"][0], found["two"][0], strict=True):
        np.testing.assert_allclose(one, two, rtol=0, atol=1e-4)
    np.testing.assert_allclose(found["one"][1], found["two"][1], rtol=1e-4)


def embedding(seed=0):
    tf_keras.utils.set_random_seed(seed)
    layers = tf_keras.layers
    return tf_keras.Sequential([layers.Dense(4, input_shape=(5,)), layers.UnitNormalization()])


def test_a_batch_of_triplets_moves_the_network_by_the_mean_loss_of_a_triplet():
    tf, model = tensorflow(), embedding()
    weights = model.get_weights()
    steps = Steps(
        model, stage(optimizer="sgd", rate=0.5), Triplets(EmbedPlan(margin=0.7), 0), tf.distribute.get_strategy()
    )
    sums = steps.train([INPUTS[:21]], TRUTH[:21], np.ones(21, np.float32))
    kernel, bias = (tf.Variable(value) for value in weights)
    with tf.GradientTape() as tape:
        rows = tf.math.l2_normalize(INPUTS[:21] @ kernel + bias, axis=1)
        anchor, positive, negative = rows[0::3], rows[1::3], rows[2::3]
        near, far = (tf.reduce_sum((anchor - other) ** 2, axis=1) for other in (positive, negative))
        losses = tf.nn.relu(near - far + 0.7)
        loss = tf.reduce_mean(losses)
    moved = [value - 0.5 * slope for value, slope in zip(weights, tape.gradient(loss, [kernel, bias]), strict=True)]
    for one, other in zip(model.get_weights(), moved, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)
    assert np.abs(moved[0] - weights[0]).max() > 0.01
    assert sums == pytest.approx((float(loss) * 7, 7, int(tf.reduce_sum(tf.cast(near < far, tf.int32))), 7), rel=1e-5)


def folder_of_tests():
    import tiny_network

    return tiny_network.__file__.rpartition("/")[0]
