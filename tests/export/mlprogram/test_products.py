"""Products of matrices in ML Programs, against TensorFlow's."""

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
pytest.importorskip("coremltools")
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from hypothesis.extra.numpy import mutually_broadcastable_shapes  # noqa: E402

from facectl_export.mlprogram.errors import UnsupportedError  # noqa: E402
from mil import mb, outputs, values  # noqa: E402

drawn = settings(max_examples=15, deadline=None, derandomize=True)
seeds = st.integers(0, 999)
sides = st.integers(1, 5)
kinds = st.sampled_from((np.float32, np.int32))
flags = st.booleans()
batches = mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3)


def close(y, expected):
    expected = np.asarray(expected)
    assert (y.shape, y.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_allclose(y, expected, rtol=2e-5, atol=2e-5)


def numbers(shape, seed, kind=np.float32):
    return (values(shape, seed) if kind == np.float32 else values(shape, seed).round()).astype(kind)


@drawn
@given(st.lists(sides, min_size=1, max_size=3), sides, seeds, kinds, st.sampled_from(("given", "zero", "left out")))
def test_linear(shape, width, seed, kind, bias):
    x, weight = numbers(shape, seed, kind), numbers((width, shape[-1]), seed + 1, kind)
    added = numbers(width, seed + 2, kind) if bias == "given" else np.zeros(width, kind)
    parameters = {"weight": weight} | ({"bias": added} if bias == "given" else {})
    (y,) = outputs(lambda x: mb.linear(x=x, **parameters), {"x": x}, without=["bias"] if bias == "left out" else [])
    close(y, tf.tensordot(x, weight.T, 1) + added)


@drawn
@given(batches, st.tuples(sides, sides, sides), seeds, kinds, flags, flags, st.sampled_from((None, "x", "y")))
def test_matmul(batch, size, seed, kind, transpose_x, transpose_y, constant):
    (rows, inner, columns), (left, right) = size, batch.input_shapes
    operands = {
        "x": numbers((*left, *((inner, rows) if transpose_x else (rows, inner))), seed, kind),
        "y": numbers((*right, *((columns, inner) if transpose_y else (inner, columns))), seed + 1, kind),
    }
    expected = tf.matmul(operands["x"], operands["y"], transpose_x, transpose_y)
    fixed = {constant: operands.pop(constant)} if constant else {}

    def build(**given):
        return mb.matmul(**given, **fixed, transpose_x=transpose_x, transpose_y=transpose_y)

    without = [name for name, flag in (("transpose_x", transpose_x), ("transpose_y", transpose_y)) if not flag]
    (z,) = outputs(build, operands, without=without)
    close(z, expected)


@drawn
@given(sides, sides, seeds, flags)
def test_matmul_of_a_vector(inner, columns, seed, transpose_y):
    x, y = values(inner, seed), values((columns, inner) if transpose_y else (inner, columns), seed + 1)
    (z,) = outputs(lambda x, y: mb.matmul(x=x, y=y, transpose_y=transpose_y), {"x": x, "y": y})
    close(z, tf.linalg.matvec(y, x, transpose_a=not transpose_y))


def test_a_vector_times_a_batch_is_refused():
    with pytest.raises(UnsupportedError, match="vector times a batch"):
        outputs(lambda x, y: mb.matmul(x=x, y=y), {"x": values(3), "y": values((2, 3, 4))})


@pytest.mark.parametrize(
    "build",
    [
        lambda x: mb.linear(x=x, weight=np.int32([[1, 2], [3, 4]])),
        lambda x: mb.matmul(x=x, y=np.int32([[1, 2], [3, 4]])),
    ],
)
def test_integers_times_floats_are_refused(build):
    with pytest.raises(UnsupportedError, match="integers times floats"):
        outputs(build, {"x": values((3, 2))})


@pytest.mark.parametrize("equation", ["nchw,nwhu->nchu", "bhqd,bdqk->bhqk"])
@drawn
@given(batches, st.tuples(sides, sides, sides), seeds)
def test_einsum_of_four_sides(equation, batch, size, seed):
    (rows, inner, columns), (left, right) = size, [(1, 1, *shape)[-2:] for shape in batch.input_shapes]
    x, y = values((left[0], rows, left[1], inner), seed), values((right[0], inner, right[1], columns), seed + 1)
    (z,) = outputs(lambda x, y: mb.einsum(values=(x, y), equation=equation), {"x": x, "y": y})
    close(z, tf.einsum(equation, *broadcast(x, y, 0, 2)))


@pytest.mark.parametrize("equation", ["chw,whr->chr", "abc,cbd->abd"])
@drawn
@given(st.tuples(sides, sides, sides), sides, flags, flags, seeds)
def test_einsum_of_three_sides(equation, size, height, flat_x, flat_y, seed):
    rows, inner, columns = size
    x = values((rows, 1 if flat_x else height, inner), seed)
    y = values((inner, 1 if flat_y else height, columns), seed + 1)
    (z,) = outputs(lambda x, y: mb.einsum(values=(x, y), equation=equation), {"x": x, "y": y})
    close(z, tf.einsum(equation, *broadcast(x, y, 1)))


def broadcast(x, y, *axes):
    """Repeat what has one of what the other has several: within one letter, TensorFlow does not."""
    for axis in axes:
        x, y = (np.repeat(one, max(1, other.shape[axis] // one.shape[axis]), axis) for one, other in ((x, y), (y, x)))
    return x, y


@drawn
@given(
    st.lists(st.integers(1, 3), min_size=1, max_size=3),
    st.tuples(sides, sides, sides, sides),
    st.sampled_from((None, "float", "bool")),
    st.integers(1, 5),
    seeds,
)
def test_attention(batch, size, mask, rank, seed):
    """A mask may have fewer sides than the scores."""
    rows, keys, width, depth = size
    operands = {
        "query": values((*batch, rows, width), seed),
        "key": values((*batch, keys, width), seed + 1),
        "value": values((*batch, keys, depth), seed + 2),
    }
    query, key, value = operands.values()
    scores = tf.matmul(query, key, transpose_b=True) / tf.sqrt(np.float32(width))
    drawn_mask = values((*batch, rows, keys)[-rank:], seed + 3)
    if mask == "float":
        operands["mask"], scores = drawn_mask, scores + drawn_mask
    elif mask == "bool":
        drawn_mask[..., 0] = 1
        operands["mask"], scores = np.int32(drawn_mask > 0), tf.where(drawn_mask > 0, scores, -np.inf)

    def build(mask=None, **given):
        if mask is not None:
            given["attn_mask"] = mb.cast(x=mask, dtype="bool") if operands["mask"].dtype == np.int32 else mask
        return mb.scaled_dot_product_attention(**given)

    (y,) = outputs(build, operands, "iOS18")
    close(y, tf.matmul(tf.nn.softmax(scores), value))
