"""Pooling of ML Programs, against TensorFlow's; sizes rounded up as PyTorch describes it."""

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
pytest.importorskip("coremltools")
from coremltools.converters.mil import Builder as mb  # noqa: E402
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from facectl_export.mlprogram.errors import UnsupportedError  # noqa: E402
from mil import outputs, values  # noqa: E402

KINDS = ["max", "avg", "avg of values alone"]
ATOL = 1e-5


def pooled(x, kernel, strides, kind):
    """Pool at every place, and leave out those between strides, which TensorFlow wants within a window."""
    y = tf_pool(x, kernel, [1] * len(kernel), kind, "VALID")
    return y[(..., *(slice(None, None, stride) for stride in strides))]


def tf_pool(x, kernel, strides, kind, padding):
    y = tf.nn.pool(np.moveaxis(x, 1, -1), kernel, kind.upper()[:3], strides, padding)
    return np.moveaxis(y.numpy(), -1, 1)


def share_of_values(x, kernel, strides):
    """Give how much of each window lies on x, where as much is padded as TensorFlow does."""
    ones, weight = np.ones((1, *x.shape[2:], 1)), np.full((*kernel, 1, 1), 1 / np.prod(kernel))
    share = tf.nn.convolution(ones, weight, strides, "SAME")
    return np.moveaxis(share.numpy(), -1, 1)


def same(x, kernel, strides, kind):
    """Pool as TensorFlow does, whose averages leave padding out."""
    y = tf_pool(x, kernel, strides, kind, "SAME")
    return y * share_of_values(x, kernel, strides) if kind == "avg" else y


def custom(x, kernel, strides, kind, pads, beyond):
    """Pool what is padded by (before, after) a side, and a last window that reaches beyond that."""
    more = [(0, 0), (0, 0), *((0, after) for after in beyond)]
    pads = [(0, 0), (0, 0), *pads]
    if kind == "max":
        return pooled(np.pad(np.pad(x, pads, constant_values=-1e9), more, constant_values=-1e9), kernel, strides, kind)
    counted = np.pad(np.pad(np.ones_like(x), pads, constant_values=kind == "avg"), more)
    return pooled(np.pad(np.pad(x, pads), more), kernel, strides, kind) / pooled(counted, kernel, strides, kind)


def flipped(x):
    return np.flip(x, axis=range(2, x.ndim))


def run(x, kernel, strides, kind, **attributes):
    def build(x):
        common = {"x": x, "kernel_sizes": kernel, "strides": strides, **attributes}
        if kind == "max":
            return mb.max_pool(**common)
        return mb.avg_pool(**common, exclude_padding_from_average=kind != "avg")

    return outputs(build, {"x": x})[0]


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("pad_type", ["valid", "same", "same_lower", "custom"])
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=6, deadline=None, derandomize=True)
@given(data=st.data())
def test_pool(kind, pad_type, rank, data):
    kernel, strides, more = ([data.draw(st.integers(*ends)) for _ in range(rank)] for ends in [(1, 4), (1, 3), (0, 5)])
    if pad_type.startswith("same"):
        strides = np.minimum(strides, kernel)
    x, attributes = values((2, 3, *np.add(kernel, more))), {"pad_type": pad_type}
    if pad_type == "custom":
        pads = [[data.draw(st.integers(0, size - 1)) for _ in range(2)] for size in kernel]
        attributes["pad"] = np.reshape(pads, -1)
        expected = custom(x, kernel, strides, kind, pads, [0] * rank)
    elif pad_type == "valid":
        expected = pooled(x, kernel, strides, kind)
    elif pad_type == "same":
        expected = same(x, kernel, strides, kind)
    else:
        expected = flipped(same(flipped(x), kernel, strides, kind))
    np.testing.assert_allclose(run(x, kernel, strides, kind, **attributes), expected, atol=ATOL)


def starts(side, kernel, stride, pad):
    """Give where PyTorch's windows start: up to the one that reaches the end, and none in the padding after x."""
    found = [0]
    while found[-1] + kernel < side + 2 * pad and found[-1] + stride < side + pad:
        found.append(found[-1] + stride)
    return found


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15, deadline=None, derandomize=True)
@given(data=st.data())
def test_pool_of_sizes_rounded_up(kind, rank, data):
    kernel = [data.draw(st.integers(1, 5)) for _ in range(rank)]
    strides = [data.draw(st.integers(1, size)) for size in kernel]
    pads = [data.draw(st.integers(0, size // 2)) for size in kernel]
    sides = [data.draw(st.integers(size, size + 5)) for size in kernel]
    x = values((2, 3, *sides))
    ends = [starts(*one)[-1] + one[1] - one[0] - 2 * one[3] for one in zip(sides, kernel, strides, pads, strict=True)]
    expected = custom(x, kernel, strides, kind, [(pad, pad) for pad in pads], np.maximum(ends, 0))
    padding = {"pad_type": "custom", "pad": np.repeat(pads, 2)} if any(pads) else {"pad_type": "valid"}
    y = run(x, kernel, strides, kind, ceil_mode=True, **padding)
    np.testing.assert_allclose(y, expected[(..., *(slice(0, side) for side in y.shape[2:]))], atol=ATOL)
    assert list(y.shape[2:]) == [len(starts(*one)) for one in zip(sides, kernel, strides, pads, strict=True)]


def test_pool_defaults():
    x, left_out = values((2, 3, 5, 6)), ("strides", "pad", "ceil_mode", "exclude_padding_from_average", "pad_type")
    for build, kind in ((mb.max_pool, "max"), (mb.avg_pool, "avg")):
        (y,) = outputs(lambda x: build(x=x, kernel_sizes=[2, 3], pad_type="valid"), {"x": x}, without=left_out)  # noqa: B023
        np.testing.assert_allclose(y, pooled(x, [2, 3], [1, 1], kind), atol=ATOL)


@pytest.mark.parametrize(
    ("kernel", "attributes", "what"),
    [
        ([2, 3], {"pad_type": "custom", "pad": [2, 0, 0, 0]}, "pads by more"),
        ([2, 3], {"pad_type": "custom", "pad": [0, 0, 0, 3]}, "pads by more"),
        ([1, 1], {"pad_type": "valid", "ceil_mode": True}, "last window"),
        ([3, 3], {"pad_type": "same_lower", "ceil_mode": True}, "same_lower"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_pool_refuses_what_is_not_written_down(kind, kernel, attributes, what):
    with pytest.raises(UnsupportedError, match=what):
        run(values((1, 2, 6, 6)), kernel, [3, 4], kind, **attributes)
