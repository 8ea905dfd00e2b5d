"""Values of 16 bits: rounded where the program declares them and that is asked for, else kept in 32."""

import numpy as np
import pytest

pytest.importorskip("tensorflow")
pytest.importorskip("coremltools")
from hypothesis import given, settings
from hypothesis import strategies as st

from facectl_export.mlprogram.onnx import to_onnx
from mil import mb, outputs, save, values

FACTOR = np.float16(1.1)
drawn = settings(max_examples=15, deadline=None, derandomize=True)


def half(x):
    with np.errstate(over="ignore"):
        return np.float32(np.float16(x))


def whole(x):
    return np.float32(x)


def build(x, y):
    """x: fp16, y: fp32 that is cast to it."""
    z = mb.mul(x=mb.add(x=x, y=mb.cast(x=y, dtype="fp16")), y=FACTOR)
    return mb.cast(x=z, dtype="fp32"), mb.exp(x=z)


@pytest.mark.parametrize("declared", [True, False])
@drawn
@given(st.integers(0, 999), st.lists(st.integers(1, 9), min_size=1, max_size=3))
def test_every_declared_value_is_rounded(declared, seed, shape):
    """The input, the sum, the product, and the outputs; a constant is of 16 bits in the file."""
    x, y = values(shape, seed), values(shape, seed + 1)
    rounded = half if declared else whole
    z = rounded(rounded(half(x) + rounded(y)) * np.float32(FACTOR))
    found, exponential = outputs(build, {"x": np.float16(x), "y": y}, declared_types=declared)
    np.testing.assert_allclose(found, z, rtol=0 if declared else 1e-6)
    np.testing.assert_allclose(exponential, rounded(np.exp(z)), rtol=1e-3 if declared else 1e-5)
    assert exponential.dtype == np.float32
    if declared:
        np.testing.assert_array_equal(exponential, half(exponential))


def test_rounding_shows():
    x, y = values((50,)), values((50,), 1)
    found = [outputs(build, {"x": np.float16(x), "y": y}, declared_types=declared)[0] for declared in (True, False)]
    assert np.mean(found[0] != found[1]) > 0.9


@pytest.mark.parametrize(("declared", "expected"), [(True, [65504, np.inf, -np.inf]), (False, [65504, 80000, -80000])])
def test_overflow(declared, expected):
    """What halves cannot hold is infinite, even where it is halved at once."""
    given = {"x": np.float16([32752, 40000, -40000])}
    (y,) = outputs(lambda x: mb.add(x=x, y=x), given, declared_types=declared)
    np.testing.assert_array_equal(y, expected)
    (y,) = outputs(lambda x: mb.mul(x=mb.add(x=x, y=x), y=np.float16(0.5)), given, declared_types=declared)
    np.testing.assert_array_equal(y, np.float32(expected) / 2)


def test_a_program_of_32_bits_is_left_alone(tmp_path):
    package = save(
        lambda x: mb.mul(x=mb.add(x=x, y=np.float32(0.1)), y=x), {"x": values((3, 4))}, tmp_path / "a.mlpackage"
    )
    assert to_onnx(package, declared_types=True).model == to_onnx(package).model
