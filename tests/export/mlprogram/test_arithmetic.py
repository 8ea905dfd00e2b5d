"""Arithmetic of ML Programs, against TensorFlow's."""

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
pytest.importorskip("coremltools")
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from hypothesis.extra.numpy import mutually_broadcastable_shapes  # noqa: E402

from facectl_export.mlprogram.errors import UnsupportedError  # noqa: E402
from mil import mb, outputs, values  # noqa: E402

BINARY = {
    "add": tf.add,
    "equal": tf.equal,
    "floor_div": tf.math.floordiv,
    "greater": tf.greater,
    "greater_equal": tf.greater_equal,
    "less": tf.less,
    "less_equal": tf.less_equal,
    "maximum": tf.maximum,
    "minimum": tf.minimum,
    "mod": tf.math.floormod,
    "mul": tf.multiply,
    "not_equal": tf.not_equal,
    "sub": tf.subtract,
}
LOGICAL = {"logical_and": tf.logical_and, "logical_or": tf.logical_or, "logical_xor": tf.math.logical_xor}
UNARY = {
    "abs": (tf.abs, -9, 9),
    "acos": (tf.acos, -1, 1),
    "asin": (tf.asin, -1, 1),
    "atan": (tf.atan, -9, 9),
    "atanh": (tf.atanh, -0.99, 0.99),
    "ceil": (tf.math.ceil, -9, 9),
    "cos": (tf.cos, -9, 9),
    "cosh": (tf.cosh, -5, 5),
    "erf": (tf.math.erf, -3, 3),
    "exp": (tf.exp, -9, 9),
    "exp2": (lambda x: tf.pow(2.0, x), -9, 9),
    "floor": (tf.floor, -9, 9),
    "identity": (tf.identity, -9, 9),
    "round": (tf.round, -9, 9),
    "sign": (tf.sign, -9, 9),
    "sin": (tf.sin, -9, 9),
    "sinh": (tf.sinh, -5, 5),
    "sqrt": (tf.sqrt, 0, 9),
    "square": (tf.square, -9, 9),
    "tan": (tf.tan, -1.5, 1.5),
    "tanh": (tf.tanh, -3, 3),
}
WITH_EPSILON = {
    "inverse": (lambda x, epsilon: 1 / (x + epsilon), 1e-4),
    "log": (lambda x, epsilon: np.log(x + epsilon), 1e-45),
    "rsqrt": (lambda x, epsilon: tf.math.rsqrt(x + epsilon), 1e-12),
}
CASTS = {
    "bool": np.bool_,
    "fp16": np.float16,
    "fp32": np.float32,
    "int16": np.int16,
    "int32": np.int32,
    "int8": np.int8,
}
drawn = settings(max_examples=12, deadline=None, derandomize=True)
seeds = st.integers(0, 999)
kinds = st.sampled_from((np.float32, np.int32))
shapes = st.lists(st.integers(1, 4), min_size=1, max_size=4)
constants = st.sampled_from((None, "x", "y"))


def close(y, expected):
    expected = np.asarray(expected)
    assert y.dtype == expected.dtype
    np.testing.assert_allclose(y, expected, rtol=2e-5, atol=2e-6)


def halves(shape, seed, kind=np.float32):
    """Draw multiples of a half, or integers: values that are often equal, and lie between two integers."""
    return (np.round(2 * values(shape, seed)) / 2).astype(kind)


def check(name, x, y, constant, expected):
    """Run an op of two operands; one of no sides can only be a constant, and only numbers can be given."""
    operands = {"x": x, "y": y}
    fixed = {key: operands.pop(key) for key in ("x", "y") if key == constant or operands[key].ndim == 0}

    def build(**given):
        z = getattr(mb, name)(**given, **fixed)
        return mb.cast(x=z, dtype="int32") if expected.dtype == tf.bool else z

    if operands:
        (z,) = outputs(build, operands)
        close(z, tf.cast(expected, tf.int32) if expected.dtype == tf.bool else expected)


@pytest.mark.parametrize("name", BINARY)
@drawn
@given(mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=4), seeds, kinds, constants)
def test_binary(name, sides, seed, kind, constant):
    x, y = (halves(shape, seed + place, kind) for place, shape in enumerate(sides.input_shapes))
    if name in ("floor_div", "mod"):
        y = np.where(y == 0, kind(-3), y)
    check(name, x, y, constant, BINARY[name](x, y))


@drawn
@given(mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=4), seeds, constants)
def test_quotient(sides, seed, constant):
    x, y = (values(shape, seed + place) for place, shape in enumerate(sides.input_shapes))
    check("real_div", x, y, constant, tf.divide(x, y))


@drawn
@given(mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=4), seeds, constants)
def test_power_of_floats(sides, seed, constant):
    """Either the base is positive, or the exponent whole."""
    x, y = (values(shape, seed + place) for place, shape in enumerate(sides.input_shapes))
    x, y = (abs(x), y) if seed % 2 else (x, np.round(y))
    check("pow", x, y, constant, tf.pow(x, y))


@drawn
@given(mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=4), seeds)
def test_power_of_integers(sides, seed):
    x, y = (halves(shape, seed + place, np.int32) for place, shape in enumerate(sides.input_shapes))
    check("pow", x, abs(y), "y", tf.pow(x, abs(y)))


@pytest.mark.parametrize("divisor", [3, -3, 0.1, -0.1])
def test_remainder_is_exact(divisor):
    """A quotient beyond 24 bits has no remainder left, if that is taken by a product."""
    x, y = np.float32([1e8, -1e8, 5.1, -5.1, 0.3, 6]), np.float32(divisor)
    check("mod", x, y, "y", tf.math.floormod(x, y))


@pytest.mark.parametrize(
    "build",
    [
        lambda x: mb.real_div(x=x, y=np.int32(2)),
        lambda x: mb.pow(x=x, y=np.int32([-1, 2, 0])),
        lambda x: mb.pow(x=np.int32(2), y=x),
        lambda x: mb.exp2(x=x),
    ],
)
def test_a_fraction_among_integers_is_refused(build):
    with pytest.raises(UnsupportedError, match="fraction among integers"):
        outputs(build, {"x": np.int32([1, 2, 3])})


@pytest.mark.parametrize("name", LOGICAL)
@drawn
@given(mutually_broadcastable_shapes(num_shapes=2, min_dims=1, max_dims=4, max_side=4), seeds)
def test_logical(name, sides, seed):
    x, y = (values(shape, seed + place) > 0 for place, shape in enumerate(sides.input_shapes))

    def build(x, y):
        z = getattr(mb, name)(x=mb.cast(x=x, dtype="bool"), y=mb.cast(x=y, dtype="bool"))
        return mb.cast(x=z, dtype="int32"), mb.cast(x=mb.logical_not(x=z), dtype="int32")

    z, without_z = outputs(build, {"x": np.int32(x), "y": np.int32(y)})
    expected = LOGICAL[name](x, y)
    close(z, tf.cast(expected, tf.int32))
    close(without_z, tf.cast(tf.logical_not(expected), tf.int32))


@pytest.mark.parametrize("name", UNARY)
@drawn
@given(shapes, seeds)
def test_unary(name, shape, seed):
    function, low, high = UNARY[name]
    x = np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)
    (y,) = outputs(getattr(mb, name), {"x": x})
    close(y, function(x))


@pytest.mark.parametrize("name", ["abs", "identity", "sign", "square"])
def test_unary_of_integers(name):
    x = np.arange(-6, 6, dtype=np.int32).reshape(3, 4)
    (y,) = outputs(getattr(mb, name), {"x": x})
    close(y, UNARY[name][0](x))


@pytest.mark.parametrize("name", ["ceil", "floor", "round"])
def test_rounding_of_halves(name):
    x = np.arange(-4, 4, 0.5, dtype=np.float32)
    (y,) = outputs(getattr(mb, name), {"x": x})
    close(y, UNARY[name][0](x))


@pytest.mark.parametrize("name", WITH_EPSILON)
@drawn
@given(shapes, seeds, st.floats(2**-10, 2, width=32))
def test_epsilon(name, shape, seed, epsilon):
    x = abs(values(shape, seed))
    x.flat[0] = 0
    (y,) = outputs(lambda x: getattr(mb, name)(x=x, epsilon=np.float32(epsilon)), {"x": x})
    close(y, WITH_EPSILON[name][0](x, np.float32(epsilon)))


@pytest.mark.parametrize("without", [[], ["epsilon"]])
@pytest.mark.parametrize("name", WITH_EPSILON)
def test_epsilon_by_default(name, without):
    function, epsilon = WITH_EPSILON[name]
    x = np.float32([0, 1e-4, 1, 5])
    (y,) = outputs(getattr(mb, name), {"x": x}, without=without)
    close(y, function(x, np.float32(epsilon)))


@drawn
@given(shapes, seeds, st.floats(-4, 4, width=32), st.floats(0.125, 4, width=32))
def test_clip(shape, seed, low, width):
    x, high = values(shape, seed), np.float32(low + width)
    (y,) = outputs(lambda x: mb.clip(x=x, alpha=np.float32(low), beta=high), {"x": x})
    close(y, tf.clip_by_value(x, low, high))


@drawn
@given(shapes, seeds, kinds, st.integers(-4, 4))
def test_threshold(shape, seed, kind, low):
    x = halves(shape, seed, kind)
    (y,) = outputs(lambda x: mb.threshold(x=x, alpha=kind(low)), {"x": x})
    close(y, tf.maximum(x, kind(low)))


@drawn
@given(shapes, seeds, kinds, st.sampled_from((None, "a", "b")))
def test_select(shape, seed, kind, constant):
    """The condition has fewer sides than the values, and a constant value has none."""
    cond = values(shape[-2:], seed) > 0
    operands = {name: halves(() if name == constant else shape, seed + ord(name), kind) for name in ("a", "b")}
    expected = tf.where(cond, operands["a"], operands["b"])
    fixed = {constant: operands.pop(constant)} if constant else {}

    def build(cond, **given):
        return mb.select(cond=mb.cast(x=cond, dtype="bool"), **given, **fixed)

    (y,) = outputs(build, {"cond": np.int32(cond), **operands})
    close(y, expected)


def test_select_of_truth_values():
    cond, a, b = (values((3, 4), seed) > 0 for seed in range(3))

    def build(**given):
        return mb.cast(x=mb.select(**{key: mb.cast(x=x, dtype="bool") for key, x in given.items()}), dtype="int32")

    (y,) = outputs(build, {"cond": np.int32(cond), "a": np.int32(a), "b": np.int32(b)})
    close(y, tf.cast(tf.where(cond, a, b), tf.int32))


@pytest.mark.parametrize("kind", [np.float32, np.int32, np.bool_])
@pytest.mark.parametrize("name", CASTS)
def test_cast(name, kind):
    """Floats lose their fraction, and what is not 0 is true."""
    x = (np.arange(-16, 16) / 4).reshape(4, 8).astype(np.float32 if kind == np.bool_ else kind)
    expected = x.astype(kind).astype(CASTS[name])

    def build(x):
        x = mb.cast(x=x, dtype="bool") if kind == np.bool_ else x
        return mb.cast(x=mb.cast(x=x, dtype=name), dtype="fp32")

    (y,) = outputs(build, {"x": x})
    close(y, tf.cast(expected, tf.float32))


@pytest.mark.parametrize("name", ["uint8", "uint16"])
def test_cast_to_unsigned(name):
    x = np.float32([0.2, 1.7, 200.9])
    (y,) = outputs(lambda x: mb.cast(x=mb.cast(x=x, dtype=name), dtype="int32"), {"x": x})
    close(y, np.int32([0, 1, 200]))


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int16, np.uint16])
def test_cast_of_integers_keeps_the_lowest_bits(kind):
    x = np.int32([70000, 300, 5, -5, -300, -70000])
    (y,) = outputs(lambda x: mb.cast(x=mb.cast(x=x, dtype=np.dtype(kind).name), dtype="int32"), {"x": x})
    close(y, tf.cast(tf.cast(x, kind), tf.int32))
