"""Normalizations of ML Programs, against TensorFlow's."""

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
pytest.importorskip("coremltools")
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from facectl_export.mlprogram.errors import UnsupportedError  # noqa: E402
from mil import mb, outputs, values  # noqa: E402

drawn = settings(max_examples=15, deadline=None, derandomize=True)
seeds = st.integers(0, 999)
epsilons = st.sampled_from((None, 1e-3, 0.5))
scaled = st.sampled_from((False, True))


def shapes(least, most):
    return st.lists(st.integers(1, 5), min_size=least, max_size=most)


def close(y, expected):
    np.testing.assert_allclose(y, expected, rtol=5e-5, atol=5e-6)


def floats(**parameters):
    """Give the parameters that are not None."""
    return {name: np.float32(value) for name, value in parameters.items() if value is not None}


def normalized(x, mean, variance, gamma, beta, epsilon, axes):
    """Let TensorFlow normalize; gamma and beta lie along `axes`."""
    sides = [side if axis in axes else 1 for axis, side in enumerate(x.shape)]
    gamma, beta = (None if one is None else one.reshape(sides) for one in (gamma, beta))
    return tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-5 if epsilon is None else epsilon)


@drawn
@given(shapes(3, 5), seeds, epsilons, scaled, scaled)
def test_batch_norm(shape, seed, epsilon, with_gamma, with_beta):
    x, mean, variance = values(shape, seed), values(shape[1], seed + 1), values(shape[1], seed + 2, 0.1) ** 2
    gamma = values(shape[1], seed + 3) if with_gamma else None
    beta = values(shape[1], seed + 4) if with_beta else None
    given = floats(gamma=gamma, beta=beta, epsilon=epsilon)
    (y,) = outputs(
        lambda x: mb.batch_norm(x=x, mean=mean, variance=variance, **given),
        {"x": x},
        without=["epsilon"] if epsilon is None else [],
    )
    statistics = (one.reshape(-1, *[1] * (len(shape) - 2)) for one in (mean, variance))
    close(y, normalized(x, *statistics, gamma, beta, epsilon, [1]))


@drawn
@given(shapes(3, 4), seeds, epsilons, scaled, scaled)
def test_instance_norm(shape, seed, epsilon, with_gamma, with_beta):
    x = values(shape, seed, 0.1)
    gamma = values(shape[1], seed + 1) if with_gamma else None
    beta = values(shape[1], seed + 2) if with_beta else None
    given = floats(gamma=gamma, beta=beta, epsilon=epsilon)
    (y,) = outputs(lambda x: mb.instance_norm(x=x, **given), {"x": x}, without=["epsilon"] if epsilon is None else [])
    statistics = tf.nn.moments(x, list(range(2, len(shape))), keepdims=True)
    close(y, normalized(x, *statistics, gamma, beta, epsilon, [1]))


@drawn
@given(st.data(), shapes(1, 5), seeds, epsilons, st.sampled_from(("", "gamma", "gamma beta", "beta")))
def test_layer_norm(data, shape, seed, epsilon, parameters):
    """Over any sides, in any order; the builder knows no beta without a gamma."""
    x = values(shape, seed, 0.1)
    axes = data.draw(st.lists(st.integers(0, len(shape) - 1), min_size=1, unique=True))
    sides = [shape[axis] for axis in sorted(axes)]
    gamma = values(sides, seed + 1) if parameters else None
    beta = values(sides, seed + 2) if "beta" in parameters else None
    signed = [axis - len(shape) * data.draw(st.booleans()) for axis in axes]
    given = floats(gamma=gamma, beta=beta, epsilon=epsilon)
    without = [name for name, gone in (("epsilon", epsilon is None), ("gamma", parameters == "beta")) if gone]
    (y,) = outputs(lambda x: mb.layer_norm(x=x, axes=signed, **given), {"x": x}, without=without)
    gamma = None if parameters == "beta" else gamma
    close(y, normalized(x, *tf.nn.moments(x, axes, keepdims=True), gamma, beta, epsilon, axes))


def test_layer_norm_over_all_axes_by_default():
    x = values((3, 4, 5))
    (y,) = outputs(lambda x: mb.layer_norm(x=x, axes=[0]), {"x": x}, without=["axes", "epsilon"])
    close(y, normalized(x, *tf.nn.moments(x, [0, 1, 2], keepdims=True), None, None, None, [0, 1, 2]))


@drawn
@given(shapes(3, 5), seeds, epsilons)
def test_l2_norm(shape, seed, epsilon):
    """TensorFlow has a least norm instead of an epsilon, but its ops say the rest."""
    x = values(shape, seed, 0.01)
    (y,) = outputs(
        lambda x: mb.l2_norm(x=x, **floats(epsilon=epsilon)), {"x": x}, without=["epsilon"] if epsilon is None else []
    )
    squares = tf.reduce_sum(tf.square(x), [-3, -2, -1], keepdims=True)
    close(y, x / tf.sqrt(squares + (1e-6 if epsilon is None else epsilon)))


@drawn
@given(shapes(3, 4), seeds, st.sampled_from((1, 3, 5)), st.booleans())
def test_local_response_norm(shape, seed, size, by_default):
    """TensorFlow has channels last, and does not divide alpha by the size."""
    x = values([shape[0], shape[1] + 3, *shape[2:]], seed, 20)
    alpha, beta, k = (1e-4, 0.75, 1.0) if by_default else (0.3, 1.25, 2.0)
    given = {} if by_default else floats(alpha=alpha, beta=beta, k=k)
    (y,) = outputs(
        lambda x: mb.local_response_norm(x=x, size=size, **given),
        {"x": x},
        without=["alpha", "beta", "k"] if by_default else [],
    )
    last = np.moveaxis(x if len(shape) == 4 else x[..., None], 1, -1)
    expected = np.moveaxis(tf.nn.local_response_normalization(last, size // 2, k, alpha / size, beta), -1, 1)
    close(y, expected.reshape(x.shape))


def test_an_even_size_is_refused():
    with pytest.raises(UnsupportedError, match="size 4"):
        outputs(lambda x: mb.local_response_norm(x=x, size=4), {"x": values((1, 6, 2, 2))})


def test_no_axes_are_refused():
    with pytest.raises(UnsupportedError, match="over no axes"):
        outputs(lambda x: mb.layer_norm(x=x, axes=np.int32([])), {"x": values((3, 4))})
