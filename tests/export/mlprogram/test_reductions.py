"""Reductions of ML Programs, against TensorFlow's."""

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
pytest.importorskip("coremltools")
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from facectl_export.mlprogram.errors import UnsupportedError  # noqa: E402
from mil import mb, outputs, values  # noqa: E402

OF_INTEGERS = {
    "reduce_l1_norm": lambda x, *axes: tf.reduce_sum(tf.abs(x), *axes),
    "reduce_max": tf.reduce_max,
    "reduce_min": tf.reduce_min,
    "reduce_prod": tf.reduce_prod,
    "reduce_sum": tf.reduce_sum,
    "reduce_sum_square": lambda x, *axes: tf.reduce_sum(tf.square(x), *axes),
}
OF_FLOATS = {
    "reduce_l2_norm": tf.math.reduce_euclidean_norm,
    "reduce_log_sum": lambda x, *axes: tf.math.log(tf.reduce_sum(x, *axes)),
    "reduce_log_sum_exp": tf.reduce_logsumexp,
    "reduce_mean": tf.reduce_mean,
}
ARGUMENTS = {"reduce_argmax": tf.argmax, "reduce_argmin": tf.argmin}
drawn = settings(max_examples=12, deadline=None, derandomize=True)
seeds = st.integers(0, 999)


@st.composite
def reductions(draw):
    """Draw a shape, axes of either sign or None, and whether those sides stay."""
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=5))
    axes = st.lists(st.integers(0, len(shape) - 1), min_size=1, unique=True)
    signed = axes.map(lambda axes: [axis - len(shape) * draw(st.booleans()) for axis in axes])
    return shape, draw(st.none() | signed), draw(st.booleans())


def check(name, x, axes, keep, expected):
    given = {} if axes is None else {"axes": np.int32(axes)}
    (y,) = outputs(lambda x: getattr(mb, name)(x=x, keep_dims=keep, **given), {"x": x})
    assert (y.shape, y.dtype) == (tuple(expected.shape), x.dtype)
    np.testing.assert_allclose(y, expected, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", OF_INTEGERS | OF_FLOATS)
@drawn
@given(reductions(), seeds)
def test_floats(name, reduction, seed):
    shape, axes, keep = reduction
    x = values(shape, seed)
    x = abs(x) if name == "reduce_log_sum" else x
    check(name, x, axes, keep, (OF_INTEGERS | OF_FLOATS)[name](x, axes, keep))


@pytest.mark.parametrize("name", OF_INTEGERS)
@drawn
@given(reductions(), seeds)
def test_integers(name, reduction, seed):
    shape, axes, keep = reduction
    x = values(shape, seed).round().astype(np.int32)
    check(name, x, axes, keep, OF_INTEGERS[name](x, axes, keep))


@pytest.mark.parametrize("offset", [-300, 300])
def test_exponentials_do_not_overflow(offset):
    x = values((3, 4)) + np.float32(offset)
    check("reduce_log_sum_exp", x, [1], False, tf.reduce_logsumexp(x, [1]))


@pytest.mark.parametrize("name", ARGUMENTS)
@drawn
@given(st.data(), st.lists(st.integers(1, 4), min_size=1, max_size=5), seeds, st.booleans(), st.booleans())
def test_arguments(name, data, shape, seed, keep, whole):
    size = int(np.prod(shape))
    x = np.random.default_rng(seed).permutation(size).reshape(shape) - size // 2
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    (y,) = outputs(
        lambda x: getattr(mb, name)(x=x, axis=axis, keep_dims=keep), {"x": x.astype(np.int32 if whole else np.float32)}
    )
    expected = ARGUMENTS[name](x, axis, output_type=tf.int32)
    expected = tf.expand_dims(expected, axis) if keep else expected
    assert (y.shape, y.dtype) == (tuple(expected.shape), np.int32)
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments_by_default(name):
    """The last axis, which goes."""
    x = values((3, 4))
    (y,) = outputs(getattr(mb, name), {"x": x}, without=["axis", "keep_dims", "output_dtype"])
    np.testing.assert_array_equal(y, ARGUMENTS[name](x, -1))


@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments_of_16_bits(name):
    x = values((3, 4))
    (y,) = outputs(lambda x: mb.cast(x=getattr(mb, name)(x=x, output_dtype="uint16"), dtype="int32"), {"x": x})
    np.testing.assert_array_equal(y, ARGUMENTS[name](x, -1))


def test_all_axes_go_by_default():
    x = values((3, 4))
    (y,) = outputs(lambda x: mb.reduce_sum(x=x), {"x": x}, without=["keep_dims"])
    np.testing.assert_allclose(y, tf.reduce_sum(x), rtol=1e-5)
    assert y.shape == ()


@pytest.mark.parametrize("name", OF_FLOATS)
def test_a_fraction_among_integers_is_refused(name):
    with pytest.raises(UnsupportedError, match="fraction among integers"):
        outputs(getattr(mb, name), {"x": np.int32([1, 2, 4])})


def test_no_axes_are_refused():
    with pytest.raises(UnsupportedError, match="over no axes"):
        outputs(lambda x: mb.reduce_sum(x=x, axes=np.int32([])), {"x": values((3, 4))})
