"""Parts that ML Programs take of a tensor, against TensorFlow's."""

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
pytest.importorskip("coremltools")
from coremltools.converters.mil import Builder as mb  # noqa: E402
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from facectl_export.mlprogram.errors import UnsupportedError  # noqa: E402
from mil import outputs, values  # noqa: E402

EXAMPLES = settings(max_examples=15, deadline=None, derandomize=True)
SHAPES = st.lists(st.integers(2, 5), min_size=1, max_size=4)


@st.composite
def slices(draw, shape, steps):
    """Draw a slice that holds something of each side, as `slice_by_index` and as TensorFlow take it."""
    columns = []
    for side in shape:
        stride = draw(st.sampled_from(steps))
        low, high = sorted(draw(st.lists(st.integers(0, side - 1), min_size=2, max_size=2)))
        begin, end = (low, high + 1) if stride > 0 else (high, low - 1)
        masks = [draw(st.booleans()), draw(st.booleans()) or end < 0, draw(st.integers(0, 3)) == 0]
        if masks[2]:  # a squeezed side has no stride in TensorFlow, and looks at no mask
            stride, masks = 1, [False, masks[1], True]
        begin -= draw(st.sampled_from([0, side]))
        if end < side:  # the end of a side has no negative name
            end -= draw(st.sampled_from([0, side]))
        columns.append((begin, end, stride, *masks))
    begin, end, stride, *masks = (list(column) for column in zip(*columns, strict=True))
    bits = [sum(1 << axis for axis, masked in enumerate(mask) if masked) for mask in masks]
    names = ("begin_mask", "end_mask", "shrink_axis_mask")
    ours = dict(zip(("begin_mask", "end_mask", "squeeze_mask"), masks, strict=True))
    return {"begin": begin, "end": end, "stride": stride, **ours}, dict(zip(names, bits, strict=True))


def taken(x, part, bits):
    """Give the part of a numpy array that TensorFlow takes."""
    return tf.strided_slice(x, part["begin"], part["end"], part["stride"], **bits)


@pytest.mark.parametrize("steps", [[1], [1, 2, 3], [-1, -2], [-2, -1, 1, 3]])
@EXAMPLES
@given(data=st.data(), shape=SHAPES)
def test_slice_by_index(steps, data, shape):
    x, (part, bits) = values(shape), data.draw(slices(shape, steps))
    (y,) = outputs(lambda x: mb.slice_by_index(x=mb.relu(x=x), **part), {"x": x})
    np.testing.assert_array_equal(y, tf.nn.relu(taken(x, part, bits)))


def test_slice_by_index_defaults():
    x = values((4, 5))
    (y,) = outputs(lambda x: mb.slice_by_index(x=x, begin=[1, -3], end=[3, -1]), {"x": x})
    np.testing.assert_array_equal(y, x[1:3, -3:-1])


def test_slice_by_index_of_a_side_that_is_masked_turned_and_squeezed():
    """In coremltools' words it begins at the first value, as a squeezed side has no stride."""
    x = values((4, 5))
    masks = {"begin_mask": [True, False], "squeeze_mask": [True, False]}
    (y,) = outputs(lambda x: mb.slice_by_index(x=x, begin=[2, 3], end=[0, 0], stride=[-1, -1], **masks), {"x": x})
    np.testing.assert_array_equal(y, x[0, 3:0:-1])


@EXAMPLES
@given(data=st.data(), shape=SHAPES)
def test_slice_by_index_from_where_is_computed(data, shape):
    x, (part, _) = values(shape), data.draw(slices(shape, [1, 2]))
    given = {"x": x, **{name: np.array(part[name], np.int32) for name in ("begin", "end")}}
    (y,) = outputs(lambda x, begin, end: mb.slice_by_index(x=x, begin=begin, end=end, stride=part["stride"]), given)
    chosen = [slice(*one) for one in zip(part["begin"], part["end"], part["stride"], strict=True)]
    np.testing.assert_array_equal(y, x[tuple(chosen)])


@pytest.mark.parametrize("steps", [[1], [1, 2, 3], [-2, -1, 1, 3]])
@EXAMPLES
@given(data=st.data(), shape=SHAPES)
def test_slice_update(steps, data, shape):
    x, (part, bits) = values(shape), data.draw(slices(shape, steps))
    part["squeeze_mask"][0], bits["shrink_axis_mask"] = False, bits["shrink_axis_mask"] & ~1  # no update is a scalar
    update = values(taken(x, part, bits).shape, seed=1)
    given = {"x": x, "update": update}
    (y,) = outputs(lambda x, update: mb.slice_update(x=x, update=update, **part), given, ios="iOS18")
    ends = {"begin": part["begin"], "end": part["end"], "strides": part["stride"]}
    expected = tf.raw_ops.TensorStridedSliceUpdate(
        input=x, value=update, **ends, **bits, ellipsis_mask=0, new_axis_mask=0
    )
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("computed", [False, True])
@EXAMPLES
@given(data=st.data(), shape=SHAPES)
def test_slice_by_size(computed, data, shape):
    x, begin = values(shape), np.array([data.draw(st.integers(0, side - 1)) for side in shape], np.int32)
    size = [data.draw(st.integers(1, side - first)) for side, first in zip(shape, begin, strict=True)]
    if not computed:
        size = [data.draw(st.sampled_from([one, -1])) for one in size]
    shown = begin - [side if one > 0 and data.draw(st.booleans()) else 0 for side, one in zip(shape, size, strict=True)]

    def build(x, given):
        return mb.slice_by_size(x=x, begin=given if computed else np.int32(shown), size=size)

    (y,) = outputs(build, {"x": x, "given": shown.astype(np.int32)})
    np.testing.assert_array_equal(y, tf.slice(x, begin, size))


@EXAMPLES
@given(amounts=st.lists(st.integers(0, 2), min_size=4, max_size=4))
def test_crop(amounts):
    x, (top, bottom, left, right) = values((2, 3, 5, 6)), amounts
    (y,) = outputs(lambda x: mb.crop(x=x, crop_height=[top, bottom], crop_width=[left, right]), {"x": x})
    cut = tf.keras.layers.Cropping2D(((top, bottom), (left, right)))(np.moveaxis(x, 1, -1))
    np.testing.assert_array_equal(y, np.moveaxis(cut.numpy(), -1, 1))


@EXAMPLES
@given(data=st.data(), shape=SHAPES)
def test_reverse(data, shape):
    x, rank = values(shape), len(shape)
    axes = data.draw(st.none() | st.lists(st.integers(0, rank - 1), min_size=1, unique=True))
    (y,) = outputs(lambda x: mb.reverse(x=x, axes=axes and [axis - rank for axis in axes]), {"x": x})
    np.testing.assert_array_equal(y, tf.reverse(x, axes or list(range(rank))))


@pytest.mark.parametrize(("batch_axis", "seq_axis"), [(0, 1), (1, 0)])
@EXAMPLES
@given(data=st.data(), rows=st.integers(1, 4), columns=st.integers(1, 5))
def test_reverse_sequence(batch_axis, seq_axis, data, rows, columns):
    x, sides = values((rows, columns, 2)), (rows, columns)
    lengths = [data.draw(st.integers(0, sides[seq_axis])) for _ in range(sides[batch_axis])]
    given, axes = {"x": x, "lengths": np.array(lengths, np.int32)}, {"seq_axis": seq_axis, "batch_axis": batch_axis}
    (y,) = outputs(lambda x, lengths: mb.reverse_sequence(x=x, lengths=lengths, **axes), given)
    np.testing.assert_array_equal(y, tf.reverse_sequence(x, lengths, **axes))


@EXAMPLES
@given(data=st.data(), shape=SHAPES, stride=st.integers(1, 3))
def test_sliding_windows(data, shape, stride):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    size, x = data.draw(st.integers(1, shape[axis])), values(shape)
    (y,) = outputs(lambda x: mb.sliding_windows(x=x, axis=axis, size=size, stride=stride), {"x": x})
    frames = tf.signal.frame(x, size, stride, axis=axis)
    np.testing.assert_array_equal(y, frames)
    (y,) = outputs(lambda x: mb.sliding_windows(x=x, axis=axis, size=size), {"x": x}, without=["stride"])
    np.testing.assert_array_equal(y, tf.signal.frame(x, size, 1, axis=axis))


@EXAMPLES
@given(sides=st.tuples(*[st.integers(1, 5)] * 3), lower=st.integers(-1, 4), upper=st.integers(-1, 4))
def test_band_part(sides, lower, upper):
    x = values(sides)
    (y,) = outputs(lambda x: mb.band_part(x=x, lower=lower, upper=upper), {"x": x})
    np.testing.assert_array_equal(y, tf.linalg.band_part(x, min(lower, sides[1]), min(upper, sides[2])))


MOVED = {
    "band_part": (lambda x: mb.band_part(x=x, lower=0), np.triu),
    "reverse": (lambda x: mb.reverse(x=x, axes=[1]), np.fliplr),
    "reverse_sequence": (
        lambda x: mb.reverse_sequence(x=x, lengths=[3, 3], batch_axis=0, seq_axis=1),
        np.fliplr,
    ),
    "slice_by_index": (lambda x: mb.slice_by_index(x=x, begin=[0, 1], end=[2, 3]), lambda x: x[:, 1:]),
    "slice_by_size": (lambda x: mb.slice_by_size(x=x, begin=[1, 0], size=[1, 2]), lambda x: x[1:, :2]),
    "slice_update": (
        lambda x: mb.slice_update(
            x=x, update=mb.slice_by_size(x=x, begin=[0, 0], size=[1, 3]), begin=[1, 0], end=[2, 3]
        ),
        lambda x: x[[0, 0]],
    ),
    "sliding_windows": (lambda x: mb.sliding_windows(x=x, axis=1, size=2), lambda x: x[:, [[0, 1], [1, 2]]]),
}


@pytest.mark.parametrize("kind", ["int32", "bool"])
@pytest.mark.parametrize("op", MOVED)
def test_integers_and_truth_values(op, kind):
    build, expected = MOVED[op]
    x = np.abs(values((2, 3))).round() % 3
    (y,) = outputs(lambda x: mb.cast(x=build(mb.cast(x=x, dtype=kind)), dtype="fp32"), {"x": x}, ios="iOS18")
    np.testing.assert_array_equal(y, expected(x.astype(kind)))


REFUSED = {
    "masks": lambda x, at: mb.slice_by_index(x=x, begin=at, end=[2, 3], end_mask=[True, False]),
    "size -1": lambda x, at: mb.slice_by_size(x=x, begin=at, size=[-1, 2]),
    "begin is computed": lambda x, at: mb.slice_update(
        x=x, update=mb.slice_by_size(x=x, begin=[0, 0], size=[1, 3]), begin=at, end=[1, 3]
    ),
    "batch_axis 0, seq_axis 0": lambda x, at: mb.reverse_sequence(x=x, lengths=at),
}


@pytest.mark.parametrize("what", REFUSED)
def test_slices_refuse_what_is_not_known(what):
    with pytest.raises(UnsupportedError, match=what):
        outputs(REFUSED[what], {"x": values((2, 3)), "at": np.array([0, 1], np.int32)}, ios="iOS18")


@pytest.mark.parametrize("begin", [0, 1, -1])
def test_a_slice_of_size_0_holds_nothing(begin):
    x = values((1, 3))
    part = lambda x: mb.slice_by_size(x=x, begin=[0, begin], size=[1, 0])  # noqa: E731
    (y,) = outputs(lambda x: mb.concat(values=[part(x), x], axis=1), {"x": x})
    np.testing.assert_array_equal(y, x)
