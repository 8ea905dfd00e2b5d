"""Convolutions of ML Programs, against TensorFlow's."""

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
pytest.importorskip("coremltools")
from coremltools.converters.mil import Builder as mb  # noqa: E402
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from facectl_export.mlprogram.errors import UnsupportedError  # noqa: E402
from mil import outputs, values  # noqa: E402

ATOL = 1e-4


@st.composite
def convolutions(draw, rank):
    """Draw groups, channels in and out of each, and by side: kernel, stride, dilation, what x is larger by."""

    def sides(low, high):
        return [draw(st.integers(low, high)) for _ in range(rank)]

    channels = [draw(st.integers(1, high)) for high in (3, 2, 3)]
    return *channels, sides(1, 4), sides(1, 3), sides(1, 2), sides(0, 4), draw(st.booleans())


def reach(kernel, dilations):
    return [(size - 1) * dilation + 1 for size, dilation in zip(kernel, dilations, strict=True)]


def spread(weight, dilations):
    """Put zeros between the values of a kernel, so that it needs no dilation."""
    whole = np.zeros((*weight.shape[:2], *reach(weight.shape[2:], dilations)), np.float32)
    whole[(..., *(slice(None, None, dilation) for dilation in dilations))] = weight
    return whole


def channels_last(x):
    """Give 64 bits besides: of 32, TensorFlow's oneDNN leaves some strided convolutions of one row undone."""
    return np.moveaxis(x, 1, -1).astype(np.float64)


def tf_weight(weight):
    return np.moveaxis(weight, (0, 1), (-1, -2)).astype(np.float64)


def convolved(x, weight, strides, groups, padding):
    parts = zip(np.split(x, groups, axis=1), np.split(weight, groups), strict=True)
    return np.concatenate(
        [
            np.moveaxis(tf.nn.convolution(channels_last(part), tf_weight(kernel), strides, padding).numpy(), -1, 1)
            for part, kernel in parts
        ],
        axis=1,
    )


def transposed(x, weight, sides, strides, groups, padding):
    """Give what TensorFlow makes of each group, as large as `sides`."""
    parts = zip(np.split(x, groups, axis=1), np.split(weight, groups), strict=True)
    shape = [len(x), *sides, weight.shape[1]]
    return np.concatenate(
        [
            np.moveaxis(
                tf.nn.conv_transpose(channels_last(part), tf_weight(kernel), shape, strides, padding).numpy(), -1, 1
            )
            for part, kernel in parts
        ],
        axis=1,
    )


def with_bias(y, bias):
    return y if bias is None else y + bias.reshape(-1, *[1] * (y.ndim - 2))


def flipped(x):
    return np.flip(x, axis=range(2, x.ndim))


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("pad_type", ["valid", "same", "same_lower", "custom"])
@settings(max_examples=6, deadline=None, derandomize=True)
@given(data=st.data())
def test_conv(pad_type, rank, data):
    groups, c_in, c_out, kernel, strides, dilations, more, biased = data.draw(convolutions(rank))
    reaches = reach(kernel, dilations)
    x = values((2, groups * c_in, *np.add(reaches, more)))
    weight = values((groups * c_out, c_in, *kernel), seed=1)
    bias = values(groups * c_out, seed=2) if biased else None
    whole, pad = spread(weight, dilations), {}
    if pad_type == "custom":
        pad = {"pad": [data.draw(st.integers(0, 3)) for _ in range(2 * rank)]}
        padded = np.pad(x, [(0, 0), (0, 0), *zip(pad["pad"][::2], pad["pad"][1::2], strict=True)])
        expected = convolved(padded, whole, strides, groups, "VALID")
    elif pad_type == "same_lower":
        strides = np.minimum(strides, reaches)  # else what is cut off lies at the other end, turned round
        expected = flipped(convolved(flipped(x), flipped(whole), strides, groups, "SAME"))
    else:
        expected = convolved(x, whole, strides, groups, pad_type.upper())
    attributes = {"strides": strides, "dilations": dilations, "groups": groups, "pad_type": pad_type, **pad}
    (y,) = outputs(lambda x: mb.conv(x=x, weight=weight, bias=bias, **attributes), {"x": x})
    np.testing.assert_allclose(y, with_bias(expected, bias), atol=ATOL)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_conv_defaults(rank):
    x, weight = values((2, 3, 5, 6, 7)[: 2 + rank]), values((4, 3, 2, 3, 1)[: 2 + rank], seed=1)
    left_out = ("strides", "dilations", "groups", "pad_type", "pad", "bias")
    (y,) = outputs(lambda x: mb.conv(x=x, weight=weight), {"x": x}, without=left_out)
    np.testing.assert_allclose(y, convolved(x, weight, [1] * rank, 1, "VALID"), atol=ATOL)


def test_conv_of_a_weight_that_is_computed():
    given = {"x": values((1, 2, 5, 4)), "weight": values((3, 2, 2, 3), seed=1), "bias": values(3, seed=2)}
    (y,) = outputs(lambda x, weight, bias: mb.conv(x=x, weight=weight, bias=bias, pad_type="same"), given)
    expected = convolved(given["x"], given["weight"], [1, 1], 1, "SAME")
    np.testing.assert_allclose(y, with_bias(expected, given["bias"]), atol=ATOL)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("shaped", [False, True])
@pytest.mark.parametrize("pad_type", ["valid", "same", "custom"])
@settings(max_examples=6, deadline=None, derandomize=True)
@given(data=st.data())
def test_conv_transpose(pad_type, shaped, rank, data):
    """A given output_shape is one of those that a convolution makes the input's size of."""
    groups, c_in, c_out, kernel, strides, dilations, more, biased = data.draw(convolutions(rank))
    x = values((2, groups * c_in, *np.add(more, 1)))
    weight = values((groups * c_in, c_out, *kernel), seed=1)
    bias = values(groups * c_out, seed=2) if biased else None
    whole, attributes = spread(weight, dilations), {}
    full = np.multiply(more, strides) + whole.shape[2:]
    inside = []
    spare = [data.draw(st.integers(0, stride - 1)) if shaped and pad_type != "custom" else 0 for stride in strides]
    sides = np.multiply(strides, np.add(more, 1)) - spare if pad_type == "same" else full + spare
    if pad_type == "custom":
        before = [data.draw(st.integers(0, min(3, one - 1))) for one in full]
        after = [data.draw(st.integers(0, min(3, one - 1 - first))) for one, first in zip(full, before, strict=True)]
        attributes["pad"] = np.stack([before, after], axis=1).reshape(-1)
        inside = [slice(first, one - last) for first, one, last in zip(before, full, after, strict=True)]
    expected = transposed(x, whole, sides, strides, groups, "SAME" if pad_type == "same" else "VALID")
    expected = with_bias(expected, bias)[(..., *inside)]
    if shaped:
        attributes["output_shape"] = expected.shape
    attributes |= {"strides": strides, "dilations": dilations, "groups": groups, "pad_type": pad_type}
    (y,) = outputs(lambda x: mb.conv_transpose(x=x, weight=weight, bias=bias, **attributes), {"x": x})
    np.testing.assert_allclose(y, expected, atol=ATOL)


def test_conv_transpose_refuses_a_shape_that_its_pad_does_not_give():
    weight = values((2, 3, 3, 3), seed=1)
    attributes = {"pad_type": "custom", "pad": [1, 1, 1, 1], "strides": [2, 2], "output_shape": [1, 3, 8, 8]}
    with pytest.raises(UnsupportedError, match="output_shape"):
        outputs(lambda x: mb.conv_transpose(x=x, weight=weight, **attributes), {"x": values((1, 2, 4, 4))})
