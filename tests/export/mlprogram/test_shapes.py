"""Ops of ML Programs that change shapes, join, repeat and make tensors, against TensorFlow's."""

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
pytest.importorskip("coremltools")
from coremltools.converters.mil import Builder as mb  # noqa: E402
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from facectl_export.mlprogram.errors import UnsupportedError  # noqa: E402
from mil import outputs, values  # noqa: E402

EXAMPLES = settings(max_examples=12, deadline=None, derandomize=True)
SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=4)


def open_rows(x):
    """Give the rows of x whose first value is not 0; how many is not known before it runs."""
    chosen = mb.non_zero(x=mb.slice_by_size(x=x, begin=[0, 0], size=[-1, 1]))
    return mb.gather_nd(x=x, indices=mb.slice_by_size(x=chosen, begin=[0, 0], size=[-1, 1]))


RESHAPES = [
    ("iOS15", (2, 3, 4), [4, 6], (4, 6)),
    ("iOS15", (2, 3, 4), [0, -1, 2], (2, 6, 2)),
    ("iOS15", (2, 3, 4), [-1, 0, 0], (2, 3, 4)),
    ("iOS15", (2, 3, 4), [-1], (24,)),
    ("iOS17", (2, 50), [1, 0, -1, 0], (1, 1, 2, 50)),
    ("iOS17", (2, 3, 4), [-1, 0], (6, 4)),
    ("iOS17", (2, 3, 4), [0, -1], (3, 8)),
    ("iOS17", (2, 3, 4), [0, 0, 2, -1], (1, 2, 2, 6)),
]


@pytest.mark.parametrize("kind", ["fp32", "int32", "bool"])
@pytest.mark.parametrize(("ios", "old", "shape", "new"), RESHAPES)
def test_reshape(kind, ios, old, shape, new):
    x = values(old)
    (y,) = outputs(
        lambda x: mb.cast(x=mb.reshape(x=mb.cast(x=x, dtype=kind), shape=shape), dtype="fp32"), {"x": x}, ios=ios
    )
    kinds = {"fp32": tf.float32, "int32": tf.int32, "bool": tf.bool}
    np.testing.assert_array_equal(y, tf.cast(tf.reshape(tf.cast(x, kinds[kind]), new), tf.float32))


@pytest.mark.parametrize(("shape", "new"), [([0, 2, -1], (2, 2, 6)), ([2, -1], (2, 12)), ([4, 3, 2], (4, 3, 2))])
def test_reshape_to_what_is_computed(shape, new):
    given = {"x": values((2, 3, 4)), "shape": np.array(shape, np.int32)}
    (y,) = outputs(lambda x, shape: mb.reshape(x=x, shape=shape), given)
    np.testing.assert_array_equal(y, tf.reshape(given["x"], new))


@pytest.mark.parametrize(("shape", "ended"), [([0, -1], None), ([-1, 2], None), ([0, 4], [0]), ([-1, 0], [1])])
def test_reshape_of_an_open_side(shape, ended):
    """Summed along a side that coremltools declares as 0, so that what comes out has the shape that is declared."""
    x = values((5, 4))
    x[1, 0] = 0

    def build(x):
        y = mb.reshape(x=open_rows(x), shape=shape)
        return mb.reduce_sum(x=y, axes=ended) if ended else y

    expected = np.delete(x, 1, 0).reshape(-1, 4 if 0 in shape else 2)
    np.testing.assert_allclose(outputs(build, {"x": x})[0], expected.sum(*ended) if ended else expected, atol=1e-5)


def test_reshape_refuses_a_0_of_another_rank_for_an_open_side():
    with pytest.raises(UnsupportedError, match="open sides"):
        outputs(lambda x: mb.reshape(x=open_rows(x), shape=[1, 0, -1]), {"x": values((5, 4))})


def test_reshape_like():
    given = {"x": values((2, 30, 3)), "a": values((2, 3, 4)), "b": values((1, 5, 6))}
    masks = {"begins": (0, 1), "ends": (2, 0), "end_masks": (False, True)}
    (y,) = outputs(lambda x, a, b: mb.reshape_like(x=x, ref_tensors=(a, b), **masks), given)
    np.testing.assert_array_equal(y, tf.reshape(given["x"], (2, 3, 5, 6)))


@pytest.mark.parametrize("axis", [-3, -1, 0, 1, 2, 3])
def test_flatten2d(axis):
    x = values((2, 3, 4))
    (y,) = outputs(lambda x: mb.flatten2d(x=x, axis=axis), {"x": x})
    np.testing.assert_array_equal(y, tf.reshape(x, (int(np.prod(x.shape[:axis])), -1)))


@EXAMPLES
@given(data=st.data(), shape=SHAPES)
def test_expand_dims(data, shape):
    x, more = values(shape), data.draw(st.integers(1, 2))
    rank = len(shape) + more
    axes = data.draw(st.lists(st.integers(0, rank - 1), min_size=more, max_size=more, unique=True))
    shown = [axis - data.draw(st.sampled_from([0, rank])) for axis in axes]
    (y,) = outputs(lambda x: mb.expand_dims(x=x, axes=shown), {"x": x})
    expected = tf.constant(x)
    for axis in sorted(axes):
        expected = tf.expand_dims(expected, axis)
    np.testing.assert_array_equal(y, expected)


@EXAMPLES
@given(data=st.data(), shape=st.lists(st.sampled_from([1, 1, 2, 3]), min_size=2, max_size=5))
def test_squeeze(data, shape):
    """A longer side that is named stays."""
    x, rank = values(shape), len(shape)
    axes = data.draw(st.none() | st.lists(st.integers(0, rank - 1), min_size=1, unique=True))
    shown = axes and [axis - data.draw(st.sampled_from([0, rank])) for axis in axes]
    (y,) = outputs(lambda x: mb.squeeze(x=mb.relu(x=x), axes=shown), {"x": x})
    gone = [axis for axis in (range(rank) if axes is None else axes) if shape[axis] == 1]
    np.testing.assert_array_equal(y, tf.nn.relu(tf.squeeze(x, gone) if gone else x))


@EXAMPLES
@given(data=st.data(), shape=SHAPES)
def test_transpose(data, shape):
    x, rank = values(shape), len(shape)
    perm = data.draw(st.permutations(range(rank)))
    (y,) = outputs(lambda x: mb.transpose(x=x, perm=[axis - rank for axis in perm]), {"x": x})
    np.testing.assert_array_equal(y, tf.transpose(x, perm))


@EXAMPLES
@given(data=st.data(), shape=SHAPES, count=st.integers(1, 3))
def test_concat(data, shape, count):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    given = {}
    for place in range(count):
        shape[axis] = data.draw(st.integers(1, 4))
        given[f"x{place}"] = values(shape, seed=place)
    (y,) = outputs(lambda **xs: mb.concat(values=list(xs.values()), axis=axis), given)
    np.testing.assert_array_equal(y, tf.concat(list(given.values()), axis))


@EXAMPLES
@given(data=st.data(), shape=SHAPES, count=st.integers(1, 3))
def test_concat_interleaved_and_stack(data, shape, count):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    given = {f"x{place}": values(shape, seed=place) for place in range(count)}
    (y,) = outputs(lambda **xs: mb.concat(values=list(xs.values()), axis=axis, interleave=True), given)
    for place, x in enumerate(given.values()):
        np.testing.assert_array_equal(np.moveaxis(y, axis, 0)[place::count], np.moveaxis(x, axis, 0))
    for place in (axis, len(shape)):
        (y,) = outputs(lambda **xs: mb.stack(values=list(xs.values()), axis=place), given)  # noqa: B023
        np.testing.assert_array_equal(y, tf.stack(list(given.values()), place))


def test_concat_of_scalars():
    x = values((2, 3))
    (y,) = outputs(lambda x: mb.concat(values=[mb.reduce_max(x=x), mb.reduce_min(x=x)], axis=0), {"x": x})
    np.testing.assert_array_equal(y, [x.max(), x.min()])


@EXAMPLES
@given(data=st.data(), shape=SHAPES, sizes=st.lists(st.integers(1, 3), min_size=1, max_size=4))
def test_split(data, shape, sizes):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    shape[axis] = sum(sizes)
    x = values(shape)
    for how, parts in (({"split_sizes": sizes}, sizes), ({"num_splits": sum(sizes)}, sum(sizes))):
        found = outputs(lambda x: mb.split(x=x, axis=axis, **how), {"x": x})  # noqa: B023
        for y, expected in zip(found, tf.split(x, parts, axis), strict=True):
            np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("computed", [False, True])
@EXAMPLES
@given(data=st.data(), shape=SHAPES)
def test_tile_and_fill(computed, data, shape):
    x, counts = values(shape), np.array([data.draw(st.integers(1, 3)) for _ in shape], np.int32)

    def build(x, given):
        reps = given if computed else counts
        return [mb.tile(x=x, reps=reps), mb.fill(shape=reps, value=np.float32(-1.5)), mb.fill(shape=reps)]

    y, filled, zeros = outputs(build, {"x": x, "given": counts})
    np.testing.assert_array_equal(y, tf.tile(x, counts))
    np.testing.assert_array_equal(filled, tf.fill(counts, -1.5))
    np.testing.assert_array_equal(zeros, tf.fill(counts, 0.0))


@pytest.mark.parametrize("value", [np.float32(2.5), np.int32(-7), np.bool_(True)])
def test_fill_like_and_shape(value):
    x = values((2, 3))
    (y,) = outputs(lambda x: mb.cast(x=mb.fill_like(ref_tensor=x, value=value), dtype="fp32"), {"x": x})
    np.testing.assert_array_equal(y, np.full((2, 3), value))
    np.testing.assert_array_equal(*outputs(lambda x: mb.shape(x=x), {"x": x}), tf.shape(x))


@EXAMPLES
@given(start=st.integers(-5, 5), count=st.integers(1, 6), step=st.sampled_from([-3, -1, 1, 2, 3]), kind=st.booleans())
def test_range_1d(start, count, step, kind):
    ends = {"start": start, "end": start + count * step, "step": step}
    given = {name: np.array([end], np.int32 if kind else np.float32) for name, end in ends.items()}

    def build(**ends):
        return mb.range_1d(**{name: mb.squeeze(x=end) for name, end in ends.items()})

    np.testing.assert_array_equal(outputs(build, given)[0], tf.range(start, ends["end"], step))


@pytest.mark.parametrize("ends", [(), (np.float32(0.5), np.float32(-2)), (np.int32(7), np.int32(-1)), (True, False)])
@EXAMPLES
@given(data=st.data(), shape=st.lists(st.integers(1, 3), min_size=1, max_size=3), depth=st.integers(1, 5))
def test_one_hot(ends, data, shape, depth):
    """An index that is no place has no value that is on."""
    indices = np.random.default_rng(len(shape)).integers(-1, depth + 1, shape).astype(np.int32)
    axis = data.draw(st.integers(-len(shape) - 1, len(shape)))
    more = dict(zip(("on_value", "off_value"), ends, strict=False))

    def build(indices):
        hot = mb.one_hot(indices=indices, one_hot_vector_size=depth, axis=axis, **more)
        return mb.cast(x=hot, dtype="int32") if True in ends else hot

    expected = tf.one_hot(indices, depth, *(ends or (1, 0)), axis=axis % (len(shape) + 1))
    np.testing.assert_array_equal(outputs(build, {"indices": indices})[0], expected)


def test_one_hot_of_a_size_that_is_computed():
    given = {"indices": np.array([2, 0], np.int32), "size": np.array([3], np.int32)}
    (y,) = outputs(lambda indices, size: mb.one_hot(indices=indices, one_hot_vector_size=mb.squeeze(x=size)), given)
    np.testing.assert_array_equal(y, tf.one_hot([2, 0], 3))


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate"])
@EXAMPLES
@given(data=st.data(), shape=st.lists(st.integers(2, 4), min_size=1, max_size=4))
def test_pad(mode, data, shape):
    x, padded = values(shape), data.draw(st.integers(1, len(shape)))
    pads = [[data.draw(st.integers(0, side - 1)) for _ in range(2)] for side in shape[-padded:]]
    more = {"constant_val": np.float32(-2.5)} if mode == "constant" else {}
    (y,) = outputs(lambda x: mb.pad(x=x, pad=np.reshape(pads, -1), mode=mode, **more), {"x": x})
    pairs = [(0, 0)] * (len(shape) - padded) + pads
    by_edges = mode == "replicate"
    np.testing.assert_array_equal(y, np.pad(x, pairs, "edge") if by_edges else tf.pad(x, pairs, mode, -2.5))


MOVED = {
    "concat": (lambda x: mb.concat(values=[x, x], axis=1), lambda x: np.concatenate([x, x], 1)),
    "expand_dims": (lambda x: mb.expand_dims(x=x, axes=[1]), lambda x: x[:, None]),
    "split": (lambda x: mb.split(x=x, num_splits=2, axis=0)[1], lambda x: x[1:]),
    "stack": (lambda x: mb.stack(values=[x, x], axis=0), lambda x: np.stack([x, x])),
    "tile": (lambda x: mb.tile(x=x, reps=[2, 3]), lambda x: np.tile(x, [2, 3])),
    "transpose": (lambda x: mb.transpose(x=x, perm=[1, 0]), np.transpose),
}


@pytest.mark.parametrize("kind", ["int32", "bool"])
@pytest.mark.parametrize("op", MOVED)
def test_integers_and_truth_values(op, kind):
    build, expected = MOVED[op]
    x = np.abs(values((2, 3))).round() % 3
    (y,) = outputs(lambda x: mb.cast(x=build(mb.cast(x=x, dtype=kind)), dtype="fp32"), {"x": x})
    np.testing.assert_array_equal(y, expected(x.astype(kind)))


def nhwc(x):
    return np.moveaxis(x, 1, -1)


def nchw(x):
    return np.moveaxis(np.asarray(x), -1, 1)


def pixel_shuffle(x, factor):
    """Give the depths of a channel, which are neighbours, to a block of its own (in TensorFlow's, channels are)."""
    n, c, h, w = x.shape
    depth_first = x.reshape(n, c // factor**2, factor**2, h, w).swapaxes(1, 2).reshape(x.shape)
    return nchw(tf.nn.depth_to_space(nhwc(depth_first), factor))


@EXAMPLES
@given(sides=st.tuples(*[st.integers(1, 3)] * 4), block=st.integers(2, 3))
def test_depth_and_space(sides, block):
    n, c, h, w = sides
    deep, wide = values((n, c * block**2, h, w)), values((n, c, h * block, w * block))
    builds = [
        (lambda x: mb.depth_to_space(x=x, block_size=block), deep, nchw(tf.nn.depth_to_space(nhwc(deep), block))),
        (lambda x: mb.space_to_depth(x=x, block_size=block), wide, nchw(tf.nn.space_to_depth(nhwc(wide), block))),
        (lambda x: mb.pixel_shuffle(x=x, upscale_factor=block), deep, pixel_shuffle(deep, block)),
        (lambda x: mb.pixel_unshuffle(x=x, downscale_factor=np.uint32(block)), pixel_shuffle(deep, block), deep),
    ]
    for build, x, expected in builds:
        np.testing.assert_array_equal(outputs(build, {"x": x})[0], expected)


@EXAMPLES
@given(data=st.data(), sides=st.tuples(*[st.integers(1, 3)] * 4), block=st.tuples(*[st.integers(1, 3)] * 2))
def test_space_and_batch(data, sides, block):
    x = values(sides)
    before = [data.draw(st.integers(0, 2)) for _ in block]
    pads = [[first, -(first + side) % size] for first, side, size in zip(before, sides[2:], block, strict=True)]
    (y,) = outputs(lambda x: mb.space_to_batch(x=x, block_shape=block, paddings=pads), {"x": x})
    np.testing.assert_array_equal(y, nchw(tf.space_to_batch(nhwc(x), block, pads)))
    (z,) = outputs(lambda x: mb.batch_to_space(x=x, block_shape=block, crops=pads), {"x": y})
    np.testing.assert_array_equal(z, nchw(tf.batch_to_space(nhwc(y), block, pads)))
    np.testing.assert_array_equal(z, x)
