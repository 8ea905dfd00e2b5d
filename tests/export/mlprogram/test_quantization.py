"""Quantized values in ML Programs, against TensorFlow's arithmetic."""

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
pytest.importorskip("coremltools")
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from mil import mb, outputs, values  # noqa: E402

drawn = settings(max_examples=15, deadline=None, derandomize=True)
seeds = st.integers(0, 999)
KINDS = {"int8": np.int8, "uint8": np.uint8}


@st.composite
def quantizations(draw, kind):
    """Draw a shape, and parameters of the op: a scale and perhaps a zero point, for all or along an axis."""
    shape, random = draw(st.lists(st.integers(1, 5), min_size=1, max_size=5)), np.random.default_rng(draw(seeds))
    axis = draw(st.none() | st.integers(-len(shape), len(shape) - 1))
    size = () if axis is None else shape[axis]
    parameters = {"scale": np.exp2(random.integers(-4, 0, size)).astype(np.float32)}
    if draw(st.booleans()):
        bounds = np.iinfo(kind)
        parameters["zero_point"] = random.integers(bounds.min, bounds.max, size, endpoint=True).astype(kind)
    return shape, parameters | ({} if axis is None else {"axis": axis})


def lined_up(shape, axis=None, scale=1, zero_point=0):
    """Give scale and zero point as floats that line up with the values."""
    axes = [axis] if axis is not None else []
    sides = [side if place in axes or place - len(shape) in axes else 1 for place, side in enumerate(shape)]
    return tuple(np.reshape(np.float32(one), sides if np.ndim(one) else ()) for one in (scale, zero_point))


@pytest.mark.parametrize("name", KINDS)
@drawn
@given(st.data(), seeds)
def test_quantize(name, data, seed):
    """Scales are powers of two and values multiples of 1/32, so that many lie between two steps."""
    shape, parameters = data.draw(quantizations(KINDS[name]))
    x = np.round(values(shape, seed, 10) * 32) / np.float32(32)
    (y,) = outputs(lambda x: mb.cast(x=mb.quantize(input=x, output_dtype=name, **parameters), dtype="int32"), {"x": x})
    scale, zero = lined_up(shape, **parameters)
    bounds = np.iinfo(KINDS[name])
    np.testing.assert_array_equal(y, tf.clip_by_value(tf.round(x / scale) + zero, bounds.min, bounds.max))


@pytest.mark.parametrize("name", KINDS)
@drawn
@given(st.data())
def test_dequantize(name, data):
    shape, parameters = data.draw(quantizations(KINDS[name]))
    bounds = np.iinfo(KINDS[name])
    x = np.random.default_rng(0).integers(bounds.min, bounds.max, shape, np.int32, endpoint=True)
    (y,) = outputs(lambda x: mb.dequantize(input=mb.cast(x=x, dtype=name), **parameters), {"x": x})
    scale, zero = lined_up(shape, **parameters)
    np.testing.assert_allclose(y, tf.multiply(scale, np.float32(x) - zero))
