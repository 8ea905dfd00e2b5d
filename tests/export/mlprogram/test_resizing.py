"""Resizing of ML Programs, against TensorFlow's, coremltools' formulas, and what its tests say that Core ML gives."""

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
SIDES = st.tuples(st.integers(1, 7), st.integers(1, 7))
GRIDS = {
    "STRICT_ALIGN_CORNERS": lambda i, size, wanted: i * (size - 1) / max(wanted - 1, 1),
    "ALIGN_CORNERS": lambda i, size, wanted: i * (size - 1) / (wanted - 1) if wanted > 1 else (size - 1) / 2 + 0 * i,
    "DEFAULT": lambda i, size, wanted: i * (size - size / wanted) / max(wanted - 1, 1),
    "OFFSET_CORNERS": lambda i, size, wanted: (0.5 + i) * max(1, size - 1) / wanted,
    "UNALIGN_CORNERS": lambda i, size, wanted: i * size / wanted + 0.5 * size / wanted - 0.5,
}
EXAMPLES = settings(max_examples=12, deadline=None, derandomize=True)


def bilinear(x, sides, grid):
    """Interpolate at the points of a grid, along one side after the other."""
    for axis, wanted in zip((-2, -1), sides, strict=True):
        size = x.shape[axis]
        points = np.clip(GRIDS[grid](np.arange(wanted), size, wanted), 0, size - 1)
        along = [np.interp(points, np.arange(size), line) for line in np.moveaxis(x, axis, -1).reshape(-1, size)]
        x = np.moveaxis(np.reshape(along, (*np.moveaxis(x, axis, -1).shape[:-1], wanted)), -1, axis)
    return x


def tf_resized(op, x, sides, **attributes):
    y = op(images=np.moveaxis(x, 1, -1), size=sides, **attributes)
    return np.moveaxis(y.numpy(), -1, 1)


@pytest.mark.parametrize("grid", GRIDS)
@EXAMPLES
@given(old=SIDES, new=SIDES)
def test_resize_bilinear(grid, old, new):
    x = values((2, 3, *old))
    sizes = {"target_size_height": new[0], "target_size_width": new[1]}
    (y,) = outputs(lambda x: mb.resize_bilinear(x=x, sampling_mode=grid, **sizes), {"x": x})
    (z,) = outputs(lambda x: mb.resize(x=x, shape=new, resized_dims=np.uint32(2), sampling_mode=grid), {"x": x})
    for found in (y, z):
        np.testing.assert_allclose(found, bilinear(x, new, grid), atol=ATOL)
        if grid in ("DEFAULT", "STRICT_ALIGN_CORNERS"):
            align = grid != "DEFAULT"
            same = tf_resized(tf.raw_ops.ResizeBilinear, x, new, align_corners=align, half_pixel_centers=False)
            np.testing.assert_allclose(found, same, atol=ATOL)


@pytest.mark.parametrize("without", [(), ("sampling_mode", "interpolation_mode")])
def test_resize_of_fewer_sides_than_the_shape_has_and_of_a_side_kept(without):
    x = values((2, 3, 4, 5))
    (y,) = outputs(lambda x: mb.resize(x=x, shape=[9, 0, 7], resized_dims=np.uint32(2)), {"x": x}, without=without)
    np.testing.assert_allclose(y, bilinear(x, (4, 7), "DEFAULT"), atol=ATOL)
    (y,) = outputs(lambda x: mb.resize(x=x, shape=[3, 8], resized_dims=np.uint32(1)), {"x": x}, without=without)
    np.testing.assert_allclose(y, bilinear(x, (4, 8), "DEFAULT"), atol=ATOL)


@EXAMPLES
@given(old=SIDES, new=SIDES)
def test_resize_nearest_neighbor(old, new):
    """It is what coremltools makes of TensorFlow's op with half_pixel_centers."""
    x = values((2, 3, *old))
    sizes = {"target_size_height": new[0], "target_size_width": new[1]}
    (y,) = outputs(lambda x: mb.resize_nearest_neighbor(x=x, **sizes), {"x": x})
    op = {"interpolation_mode": "NEAREST_NEIGHBOR", "resized_dims": np.uint32(2)}
    (z,) = outputs(lambda x: mb.resize(x=x, shape=[2, 3, *new], **op), {"x": x})
    expected = tf_resized(tf.raw_ops.ResizeNearestNeighbor, x, new, align_corners=False, half_pixel_centers=True)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(z, expected)


def test_resize_nearest_neighbor_as_core_ml_does():
    """In coremltools' own test of the op, whose answers are Core ML's."""
    x = np.array([-6.174, 9.371], np.float32).reshape(1, 1, 1, 2, 1)
    op = {"interpolation_mode": "NEAREST_NEIGHBOR", "resized_dims": np.uint32(2)}
    (y,) = outputs(lambda x: mb.resize(x=x, shape=[1, 1, 3, 2], **op), {"x": x})
    np.testing.assert_allclose(y.reshape(-1), [-6.174, -6.174, 9.371, 9.371, 9.371, 9.371])


@pytest.mark.parametrize("kind", [int, float])
@EXAMPLES
@given(old=SIDES, factors=SIDES)
def test_upsample_nearest_neighbor(kind, old, factors):
    x = values((2, 3, *old))
    height, width = (kind(factor) for factor in factors)
    (y,) = outputs(
        lambda x: mb.upsample_nearest_neighbor(x=x, scale_factor_height=height, scale_factor_width=width), {"x": x}
    )
    expected = tf.keras.layers.UpSampling2D(factors, data_format="channels_last")(np.moveaxis(x, 1, -1))
    np.testing.assert_array_equal(y, np.moveaxis(expected.numpy(), -1, 1))


@pytest.mark.parametrize(("align", "half"), [(True, None), (True, False), (False, None), (False, True), (False, False)])
@EXAMPLES
@given(old=SIDES, factors=st.tuples(st.floats(0.5, 3.5, width=32), st.floats(1, 4, width=32)))
def test_upsample_bilinear(align, half, old, factors):
    """The factor that counts is that of the size, which is rounded down."""
    old = [max(2, side) for side in old]
    x = values((2, 3, *old))
    scales = {"scale_factor_height": factors[0], "scale_factor_width": factors[1]}
    centers = {} if half is None else {"half_pixel_centers": half}
    (y,) = outputs(lambda x: mb.upsample_bilinear(x=x, align_corners=align, **scales, **centers), {"x": x}, ios="iOS16")
    new = [int(np.floor(np.float32(factor) * side)) for factor, side in zip(factors, old, strict=True)]
    centers = {"align_corners": align, "half_pixel_centers": not align if half is None else half}
    np.testing.assert_allclose(y, tf_resized(tf.raw_ops.ResizeBilinear, x, new, **centers), atol=ATOL)


def reflected(points, low, high):
    """Turn points round at both ends of a stretch."""
    if high == low:
        return np.full_like(points, low)
    past = np.abs(points - low) % (2 * (high - low))
    return low + np.minimum(past, 2 * (high - low) - past)


def sampled(x, coordinates, nearest, padding, align):
    """Sample N × C × H × W at N × H' × W' × 2 as `resample` is described."""
    size = np.array(x.shape[:1:-1])
    points = (coordinates + 1) / 2 * (size - 1) if align else ((coordinates + 1) * size - 1) / 2
    if padding in ("reflection", "symmetric"):
        beyond = 0.5 if padding == "symmetric" else 0
        points = np.stack([reflected(points[..., one], -beyond, size[one] - 1 + beyond) for one in (0, 1)], axis=-1)
    if padding != "constant":
        points = np.clip(points, 0, size - 1)
    wide = np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)])  # what lies farther out is as empty as this border
    points = np.clip(points, -1, size) + 1
    below = (np.rint(points) if nearest else np.minimum(np.floor(points), size)).astype(int)
    share = points - below
    y = np.zeros((*x.shape[:2], *coordinates.shape[1:3]))
    for right, down in [(0, 0)] if nearest else [(0, 0), (0, 1), (1, 0), (1, 1)]:
        weight = 1 if nearest else (share if right else 1 - share)[..., 0] * (share if down else 1 - share)[..., 1]
        for image in range(len(x)):
            found = wide[image][:, below[image, ..., 1] + down, below[image, ..., 0] + right]
            y[image] += found * (weight if nearest else weight[image])
    return y


PADDINGS = [("constant", True), ("constant", False), ("border", True), ("border", False)]


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize(("padding", "align"), [*PADDINGS, ("reflection", True), ("symmetric", False)])
@EXAMPLES
@given(old=SIDES, new=SIDES, seed=st.integers(0, 99))
def test_resample(mode, padding, align, old, new, seed):
    x, coordinates = values((2, 3, *old)), values((2, *new, 2), seed=seed, scale=1.5)
    attributes = {"coordinates_mode": "normalized_minus_one_to_one", "padding_value": 0.0}
    attributes |= {"sampling_mode": mode, "padding_mode": padding, "align_corners": align}
    given = {"x": x, "coordinates": coordinates}
    (y,) = outputs(lambda x, coordinates: mb.resample(x=x, coordinates=coordinates, **attributes), given)
    expected = sampled(x, coordinates.astype(np.float64), mode == "nearest", padding, align)
    np.testing.assert_allclose(y, expected, atol=2e-3)


def test_resample_at_whole_numbers():
    attributes = {"coordinates_mode": "normalized_minus_one_to_one", "padding_value": 0.0, "align_corners": True}
    given = {"x": values((1, 2, 3, 4)), "coordinates": np.array([[[[-1, 1], [1, -1], [0, 1]]]], np.int32)}
    (y,) = outputs(
        lambda x, coordinates: mb.resample(
            x=x, coordinates=coordinates, sampling_mode="bilinear", padding_mode="border", **attributes
        ),
        given,
    )
    np.testing.assert_allclose(y, sampled(given["x"], given["coordinates"], False, "border", True), atol=ATOL)


AFFINE = {"sampling_mode": "bilinear", "padding_mode": "constant", "padding_value": 0.0}
AFFINE |= {"coordinates_mode": "normalized_minus_one_to_one", "align_corners": True}


@EXAMPLES
@given(old=SIDES, new=SIDES, matrices=st.integers(1, 2))
def test_affine(old, new, matrices):
    new = [side + 1 for side in new]
    x, matrix = values((2, 3, *old)), values((matrices, 6), scale=0.8)
    given = {"x": x, "matrix": matrix}
    sizes = {"output_height": new[0], "output_width": new[1]}
    (y,) = outputs(lambda x, matrix: mb.affine(x=x, transform_matrix=matrix, **sizes, **AFFINE), given)
    across, down = np.meshgrid(np.linspace(-1, 1, new[1]), np.linspace(-1, 1, new[0]))
    grid = np.einsum("nij,jhw->nhwi", matrix.reshape(-1, 2, 3).astype(np.float64), [across, down, np.ones(new)])
    expected = sampled(x, np.broadcast_to(grid, (2, *new, 2)), False, "constant", True)
    np.testing.assert_allclose(y, expected, atol=2e-3)


def test_affine_as_core_ml_does():
    """In coremltools' own test of the op, whose answers are Core ML's."""
    given = {
        "x": np.array([11, 22, 33, 44], np.float32).reshape(1, 1, 2, 2),
        "matrix": np.array([[-1, -2, -3.7, -1, 3.5, 1.2]], np.float32),
    }
    (y,) = outputs(
        lambda x, matrix: mb.affine(x=x, transform_matrix=matrix, output_height=2, output_width=5, **AFFINE), given
    )
    np.testing.assert_allclose(y.reshape(-1), [10.752501, 5.94, 2.5025, 0.44000006, *[0] * 6], atol=ATOL)


REFUSED = {
    "whole factors": lambda x: mb.upsample_nearest_neighbor(x=x, scale_factor_height=1.5, scale_factor_width=1.0),
    "half_pixel_centers": lambda x: mb.upsample_bilinear(x=x, align_corners=True, half_pixel_centers=True),
    "last two sides": lambda x: mb.resize(x=x, shape=[4, 5, 6], resized_dims=np.uint32(3)),
    "sampling_mode": lambda x: mb.resize(
        x=x,
        shape=[5, 6],
        resized_dims=np.uint32(2),
        interpolation_mode="NEAREST_NEIGHBOR",
        sampling_mode="ALIGN_CORNERS",
    ),
    "integers": lambda x: mb.resize(x=mb.cast(x=x, dtype="int32"), shape=[5, 6], resized_dims=np.uint32(2)),
    "one value": lambda x: mb.affine(
        x=x, transform_matrix=np.eye(2, 3, dtype=np.float32).reshape(1, 6), output_height=1, output_width=4, **AFFINE
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_resizing_refuses_what_is_not_written_down(what):
    with pytest.raises(UnsupportedError, match=what):
        outputs(REFUSED[what], {"x": values((1, 2, 3, 4))})


@pytest.mark.parametrize(
    "changed",
    [
        {"coordinates_mode": "unnormalized"},
        {"coordinates_mode": "normalized_zero_to_one"},
        {"padding_value": np.float32(6.17)},
        {"padding_mode": "symmetric"},
        {"padding_mode": "reflection", "align_corners": False},
    ],
)
def test_resample_refuses_what_is_not_known(changed):
    with pytest.raises(UnsupportedError, match=next(iter(changed))):
        outputs(
            lambda x, at: mb.resample(x=x, coordinates=at, **AFFINE | changed),
            {"x": values((1, 2, 3, 4)), "at": values((1, 2, 2, 2))},
        )
