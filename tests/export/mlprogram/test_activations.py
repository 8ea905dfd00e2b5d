"""Activations of ML Programs, against TensorFlow's."""

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
pytest.importorskip("coremltools")
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from mil import mb, outputs, values  # noqa: E402

PLAIN = {
    "relu": tf.nn.relu,
    "relu6": tf.nn.relu6,
    "sigmoid": tf.nn.sigmoid,
    "silu": tf.nn.silu,
    "softplus": tf.nn.softplus,
    "softsign": tf.nn.softsign,
}
WITH_ALPHA = {
    "elu": lambda x, alpha: tf.where(x > 0, x, alpha * tf.math.expm1(x)),
    "leaky_relu": lambda x, alpha: tf.where(x >= 0, x, alpha * x),
    "thresholded_relu": lambda x, alpha: tf.where(x >= alpha, x, 0),
}
WITH_ALPHA_AND_BETA = {
    "clamped_relu": lambda x, alpha, beta: tf.minimum(tf.where(x >= 0, x, alpha * x), beta),
    "linear_activation": lambda x, alpha, beta: alpha * x + beta,
    "scaled_tanh": lambda x, alpha, beta: alpha * tf.tanh(beta * x),
    "sigmoid_hard": lambda x, alpha, beta: tf.clip_by_value(alpha * x + beta, 0, 1),
}
GELU = {
    None: lambda x: tf.nn.gelu(x, approximate=False),
    "EXACT": lambda x: tf.nn.gelu(x, approximate=False),
    "TANH_APPROXIMATION": lambda x: tf.nn.gelu(x, approximate=True),
    "SIGMOID_APPROXIMATION": lambda x: x * tf.sigmoid(1.702 * x),
}
drawn = settings(max_examples=10, deadline=None, derandomize=True)
seeds = st.integers(0, 999)
shapes = st.lists(st.integers(1, 4), min_size=1, max_size=5)
scales = st.sampled_from((0.5, 3.0, 40.0))
factors = st.floats(-2, 2, width=32)


def check(build, x, expected, **options):
    (y,) = outputs(build, {"x": x}, **options)
    np.testing.assert_allclose(y, expected, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", PLAIN)
@drawn
@given(seeds, shapes, scales)
def test_plain(name, seed, shape, scale):
    x = values(shape, seed, scale)
    check(getattr(mb, name), x, PLAIN[name](x))


@pytest.mark.parametrize("name", WITH_ALPHA)
@drawn
@given(seeds, shapes, scales, factors)
def test_with_alpha(name, seed, shape, scale, alpha):
    x = values(shape, seed, scale)
    x.flat[0] = alpha
    check(lambda x: getattr(mb, name)(x=x, alpha=np.float32(alpha)), x, WITH_ALPHA[name](x, alpha))


@pytest.mark.parametrize("name", WITH_ALPHA_AND_BETA)
@drawn
@given(seeds, shapes, factors, factors)
def test_with_alpha_and_beta(name, seed, shape, alpha, beta):
    x, parameters = values(shape, seed), {"alpha": np.float32(alpha), "beta": np.float32(beta)}
    check(lambda x: getattr(mb, name)(x=x, **parameters), x, WITH_ALPHA_AND_BETA[name](x, alpha, beta))


@pytest.mark.parametrize("mode", GELU)
@pytest.mark.parametrize("scale", [1, 20])
def test_gelu(mode, scale):
    x = values((3, 4, 5), scale=scale)
    check(lambda x: mb.gelu(x=x, mode=mode or "EXACT"), x, GELU[mode](x), without=[] if mode else ["mode"])


@drawn
@given(st.data(), seeds, shapes, scales)
def test_softmax(data, seed, shape, scale):
    x, axis = values(shape, seed, scale), data.draw(st.integers(-len(shape), len(shape) - 1))
    check(lambda x: mb.softmax(x=x, axis=axis), x, tf.nn.softmax(x, axis))


def test_softmax_over_the_last_axis_by_default():
    x = values((3, 4))
    check(lambda x: mb.softmax(x=x), x, tf.nn.softmax(x, -1), without=["axis"])


@drawn
@given(seeds, st.lists(st.integers(1, 4), min_size=3, max_size=5))
def test_prelu(seed, shape):
    """Of three and five sides Core ML has the same alpha in every channel."""
    x, alpha = values(shape, seed), values(shape[1], seed + 1, 1)
    if len(shape) != 4:
        alpha[:] = alpha[0]
    expected = tf.where(x > 0, x, x * alpha.reshape(-1, *[1] * (len(shape) - 2)))
    check(lambda x: mb.prelu(x=x, alpha=alpha), x, expected)


@drawn
@given(seeds, st.lists(st.integers(1, 4), min_size=3, max_size=5), scales)
def test_softplus_parametric(seed, shape, scale):
    x, alpha, beta = values(shape, seed, scale), values(shape[1], seed + 1), values(shape[1], seed + 2)
    a, b = (vector.reshape(-1, *[1] * (len(shape) - 2)) for vector in (alpha, beta))
    check(lambda x: mb.softplus_parametric(x=x, alpha=alpha, beta=beta), x, a * tf.nn.softplus(b * x))
