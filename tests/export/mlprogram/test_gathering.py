"""Ops of ML Programs that look up, scatter and sort, against TensorFlow's."""

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
MODES = {
    "update": (lambda _, new: new, tf.tensor_scatter_nd_update),
    "add": (np.add, tf.tensor_scatter_nd_add),
    "sub": (np.subtract, tf.tensor_scatter_nd_sub),
    "mul": (np.multiply, None),
    "div": (np.divide, None),
    "max": (np.maximum, tf.tensor_scatter_nd_max),
    "min": (np.minimum, tf.tensor_scatter_nd_min),
}
ATOL = 1e-5


def places(data, shape, ends):
    """Draw indices below (or, per last axis, each below one of) `ends`."""
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    return rng.integers(0, ends, shape).astype(np.int32)


def kind(data, x):
    return x if data.draw(st.booleans()) else x.round().astype(np.int32)


@pytest.mark.parametrize(("ios", "negative"), [("iOS15", True), ("iOS17", False)])
@EXAMPLES
@given(data=st.data(), shape=SHAPES, taken=st.lists(st.integers(1, 3), max_size=2))
def test_gather(ios, negative, data, shape, taken):
    x, axis = kind(data, values(shape)), data.draw(st.integers(-len(shape), len(shape) - 1))
    indices = places(data, taken, shape[axis])
    shown = indices - shape[axis] if negative else indices

    def build(x):
        return mb.gather(x=x, indices=shown if taken else int(shown), axis=axis)

    np.testing.assert_array_equal(outputs(build, {"x": x}, ios=ios)[0], tf.gather(x, indices, axis=axis))


@EXAMPLES
@given(data=st.data(), shape=st.lists(st.integers(1, 3), min_size=3, max_size=4), taken=st.integers(1, 3))
def test_gather_by_batch(data, shape, taken):
    batch = data.draw(st.integers(0, 2))
    given = {"x": values(shape), "indices": places(data, [*shape[:batch], taken, 2], shape[batch])}
    axis = batch - data.draw(st.sampled_from([0, len(shape)]))
    (y,) = outputs(lambda x, indices: mb.gather(x=x, indices=indices, axis=axis, batch_dims=batch), given)
    np.testing.assert_array_equal(y, tf.gather(*given.values(), batch_dims=batch))


@EXAMPLES
@given(data=st.data(), shape=SHAPES, taken=st.integers(1, 5))
def test_gather_along_axis(data, shape, taken):
    x, axis = kind(data, values(shape)), data.draw(st.integers(-len(shape), len(shape) - 1))
    given = {
        "x": x,
        "indices": places(data, [*shape[: axis % len(shape)], taken, *shape[axis % len(shape) + 1 :]], shape[axis]),
    }
    (y,) = outputs(lambda x, indices: mb.gather_along_axis(x=x, indices=indices, axis=axis), given)
    last = [np.moveaxis(one, axis, -1) for one in given.values()]
    expected = tf.gather(*last, batch_dims=len(shape) - 1)
    np.testing.assert_array_equal(y, np.moveaxis(expected.numpy(), -1, axis))


@EXAMPLES
@given(data=st.data(), shape=st.lists(st.integers(1, 3), min_size=2, max_size=4), taken=st.integers(1, 3))
def test_gather_nd(data, shape, taken):
    batch = data.draw(st.integers(0, len(shape) - 1))
    depth = data.draw(st.integers(1, len(shape) - batch))
    indices = places(data, [*shape[:batch], taken, depth], shape[batch : batch + depth])
    given = {"x": values(shape), "indices": indices}
    (y,) = outputs(lambda x, indices: mb.gather_nd(x=x, indices=indices, batch_dims=batch), given)
    np.testing.assert_array_equal(y, tf.gather_nd(given["x"], indices, batch_dims=batch))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32"])
def test_gather_at_places_of_every_type(dtype):
    x = values((3, 4))

    def build(x, indices):
        indices = mb.cast(x=indices, dtype=dtype)
        at = mb.gather_nd(x=x, indices=mb.slice_by_size(x=indices, begin=[0, 0], size=[-1, 2]))
        return mb.gather(x=x, indices=indices), mb.gather_along_axis(x=x, indices=indices), at

    indices = np.array([[2, 0, 1, 2], [1, 1, 0, 2]], np.int32)
    rows, along, at = outputs(build, {"x": x, "indices": indices})
    np.testing.assert_array_equal(rows, tf.gather(x, indices))
    np.testing.assert_array_equal(along, np.take_along_axis(x, indices, 0))
    np.testing.assert_array_equal(at, tf.gather_nd(x, indices[:, :2]))


@pytest.mark.parametrize("mode", MODES)
@EXAMPLES
@given(data=st.data(), shape=SHAPES)
def test_scatter(mode, data, shape):
    """Along an axis, at places that are each named once."""
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    side = shape[axis]
    rows = data.draw(st.permutations(range(side)))[: data.draw(st.integers(1, side))]
    x = values(shape)
    if mode != "div":
        x = kind(data, x)
    updates = np.take(values(shape, seed=1).astype(x.dtype), range(len(rows)), axis=axis)
    given = {"x": x, "indices": np.array(rows, np.int32), "updates": updates}
    (y,) = outputs(
        lambda x, indices, updates: mb.scatter(data=x, indices=indices, updates=updates, axis=axis, mode=mode), given
    )
    expected = np.moveaxis(x.copy(), axis, 0)
    expected[list(rows)] = MODES[mode][0](expected[list(rows)], np.moveaxis(updates, axis, 0))
    np.testing.assert_allclose(y, np.moveaxis(expected, 0, axis), rtol=1e-5, atol=ATOL)


@pytest.mark.parametrize("mode", MODES)
@EXAMPLES
@given(data=st.data(), shape=SHAPES)
def test_scatter_along_axis(mode, data, shape):
    axis, x = data.draw(st.integers(-len(shape), len(shape) - 1)), values(shape)
    taken = data.draw(st.integers(1, shape[axis]))
    order = np.argsort(values(shape, seed=1), axis=axis).astype(np.int32)
    indices, updates = (np.take(one, range(taken), axis=axis) for one in (order, values(shape, seed=2)))
    given = {"x": x, "indices": indices, "updates": updates}
    (y,) = outputs(
        lambda x, indices, updates: mb.scatter_along_axis(
            data=x, indices=indices, updates=updates, axis=axis, mode=mode
        ),
        given,
    )
    expected = x.copy()
    new = MODES[mode][0](np.take_along_axis(x, indices, axis), updates)
    np.put_along_axis(expected, indices, new, axis)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=ATOL)


@pytest.mark.parametrize("mode", MODES)
@EXAMPLES
@given(data=st.data(), shape=SHAPES, count=st.integers(1, 4))
def test_scatter_nd(mode, data, shape, count):
    """What is named twice counts twice, but for an update."""
    depth, x = data.draw(st.integers(1, len(shape))), values(shape)
    if mode != "div":
        x = kind(data, x)
    indices = places(data, [count, depth], shape[:depth])
    if mode == "update":
        indices = np.unique(indices, axis=0)
    updates = values([len(indices), *shape[depth:]], seed=1).astype(x.dtype)
    given = {"x": x, "indices": indices, "updates": updates}
    (y,) = outputs(
        lambda x, indices, updates: mb.scatter_nd(data=x, indices=indices, updates=updates, mode=mode), given
    )
    change, tf_op = MODES[mode]
    expected = x.copy()
    for place, update in zip(indices, updates, strict=True):
        expected[tuple(place)] = change(expected[tuple(place)], update)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=ATOL)
    if tf_op:
        np.testing.assert_allclose(y, tf_op(x, indices, updates), rtol=1e-4, atol=ATOL)


@pytest.mark.parametrize("op", ["scatter_along_axis", "scatter_nd"])
def test_scatter_adds_by_default(op):
    given = {"x": values((3,)), "indices": np.array([2], np.int32), "updates": np.array([1.5], np.float32)}

    def build(x, indices, updates):
        if op == "scatter_nd":
            indices = mb.expand_dims(x=indices, axes=[1])
        return getattr(mb, op)(data=x, indices=indices, updates=updates)

    (y,) = outputs(build, given, without=["mode", "axis"])
    np.testing.assert_allclose(y, given["x"] + [0, 0, 1.5])


@pytest.mark.parametrize("ascending", [False, True])
@EXAMPLES
@given(data=st.data(), shape=st.lists(st.integers(1, 5), min_size=1, max_size=3))
def test_topk_and_argsort(ascending, data, shape):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    x = np.random.default_rng(0).permutation(np.prod(shape)).reshape(shape) - np.prod(shape) // 2
    x = x.astype(np.float32 if data.draw(st.booleans()) else np.int32)
    k = data.draw(st.integers(1, shape[axis]))
    order = {"axis": axis, "ascending": ascending}
    (given,) = outputs(lambda x: mb.topk(x=x, k=k, return_indices=False, **order), {"x": x})
    best, where = outputs(lambda x: mb.topk(x=x, k=k, sort=True, **order), {"x": x})
    (sorted_,) = outputs(lambda x: mb.argsort(x=x, **order), {"x": x})
    expected = tf.math.top_k(np.moveaxis(-x if ascending else x, axis, -1), shape[axis])
    indices = np.moveaxis(expected.indices.numpy(), -1, axis)
    np.testing.assert_array_equal(sorted_, indices)
    np.testing.assert_array_equal(where, np.take(indices, range(k), axis=axis))
    np.testing.assert_array_equal(best, np.take_along_axis(x, where, axis))
    np.testing.assert_array_equal(given, best)
    assert where.dtype == sorted_.dtype == np.int32


def test_topk_of_all():
    """The builder, which would declare a side of -1, is told so only afterwards."""
    x = values((3, 4))

    def build(x):
        k = mb.const(val=np.int32(4))
        found = mb.topk(x=x, k=k, axis=1)
        k._sym_val.val = np.int32(-1)
        return found

    best, where = outputs(build, {"x": x})
    np.testing.assert_array_equal(where, tf.argsort(x, direction="DESCENDING"))
    np.testing.assert_array_equal(best, tf.sort(x, direction="DESCENDING"))


def test_topk_and_argsort_defaults():
    x = values((3, 4))
    best, where = outputs(lambda x: mb.topk(x=x), {"x": x}, without=["k", "axis", "ascending", "sort"])
    np.testing.assert_array_equal(best, x.max(axis=-1, keepdims=True))
    np.testing.assert_array_equal(where, x.argmax(axis=-1)[:, None])
    (order,) = outputs(lambda x: mb.argsort(x=x), {"x": x}, without=["axis", "ascending"])
    np.testing.assert_array_equal(order, tf.argsort(x, direction="DESCENDING"))


@EXAMPLES
@given(data=st.data(), shape=SHAPES, exclusive=st.booleans(), reverse=st.booleans())
def test_cumsum(data, shape, exclusive, reverse):
    x, axis = kind(data, values(shape)), data.draw(st.integers(-1, len(shape) - 1))
    how = {"axis": axis, "exclusive": exclusive, "reverse": reverse}
    (y,) = outputs(lambda x: mb.cumsum(x=x, **how), {"x": x})
    np.testing.assert_allclose(y, tf.cumsum(x, **how), atol=ATOL)


@pytest.mark.parametrize("dtype", ["fp32", "int32", "bool"])
@EXAMPLES
@given(shape=SHAPES, seed=st.integers(0, 99))
def test_non_zero(dtype, shape, seed):
    x = values(shape, seed=seed, scale=1).round()
    (y,) = outputs(lambda x: mb.non_zero(x=mb.cast(x=x, dtype=dtype)), {"x": x})
    np.testing.assert_array_equal(y, tf.where(x != 0))


TWO = np.array([1, 0], np.int32)
REFUSED = {
    "batch_dims 1 with axis 2": lambda x: mb.gather(x=x, indices=TWO, axis=2, batch_dims=1),
    "quotient of integers": lambda x: mb.scatter(
        data=mb.cast(x=x, dtype="int32"), indices=TWO, updates=np.ones((2, 3, 4), np.int32), mode="div"
    ),
    "it has no mode": lambda x: mb.scatter(data=x, indices=TWO, updates=np.ones((2, 3, 4), np.float32)),
}


@pytest.mark.parametrize("what", REFUSED)
def test_gathering_refuses_what_is_not_written_down(what):
    with pytest.raises(UnsupportedError, match=what):
        outputs(REFUSED[what], {"x": values((2, 3, 4))}, without=["mode"] if "no mode" in what else [])


@pytest.mark.parametrize(("shape", "axis"), [((7,), 0), ((2, 7), 1), ((7, 3), -2)])
def test_scatter_of_a_matrix_of_indices(shape, axis):
    data, indices = values(shape), np.int32([[4, 0, 6], [1, 5, 2]])
    place = axis % len(shape)
    updates = values((*shape[:place], 2, 3, *shape[place + 1 :]), seed=1)
    (y,) = outputs(
        lambda data, updates: mb.scatter(data=data, indices=indices, updates=updates, axis=axis, mode="add"),
        {"data": data, "updates": updates},
    )
    wanted = data.copy()
    np.add.at(wanted, (*[slice(None)] * place, indices), updates)
    np.testing.assert_allclose(y, wanted, atol=1e-6)
