"""Compressed weights: the `constexpr_*` ops, each made dense in numpy as coremltools defines it.

iOS 16 has one table or scale a channel and packs its indices into bytes; iOS 18 has blocks, and types of a few bits.
"""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from facectl_export.mlprogram.blobs import NUMPY, elements

if TYPE_CHECKING:
    from facectl_export.mlprogram.program import Op

Array = npt.NDArray[Any]


def _affine_dequantize(op: "Op") -> Sequence[Array]:
    """Give scale × (data - zero point), one of each a channel or for all."""
    data = op.constant("quantized_data")
    axis = op.integer("axis", 0)
    if not -data.ndim <= axis < data.ndim:
        raise ValueError(f"axis {axis} of {data.ndim} sides")

    def along(name: str) -> Array:
        values = op.constant(name)
        sides = [-1 if place == axis % data.ndim else 1 for place in range(data.ndim)]
        return values.reshape(sides) if values.ndim else values

    scale = along("scale")
    return [(scale * (data.astype(np.float32) - along("zero_point").astype(np.float32))).astype(scale.dtype)]


def _lut_to_dense(op: "Op") -> Sequence[Array]:
    indices, lut = op.constant("indices"), op.constant("lut")
    if op.get("shape") is None:
        return [_looked_up(indices, lut, _vector_axis(op))]
    shape = op.integers("shape")  # iOS 16: one table for all, its indices packed
    count, width = math.prod(shape), int(lut.size).bit_length() - 1
    return [lut[elements(indices, f"uint{width}", count)].reshape(shape)]


def _looked_up(indices: Array, lut: Array, axis: int | None) -> Array:
    """Look indices up in tables, one a block of the indices; entries of several values lie along `axis`."""
    sides = zip(indices.shape, lut.shape, strict=False)  # of a table, the last two are its entries and their values
    tables = np.ix_(*(np.repeat(np.arange(count), side // count) for side, count in sides))
    found: Array = lut[(*tables, indices)]
    if found.shape[-1] == 1 or axis is None:
        return found[..., 0]
    return np.moveaxis(found, -1, axis % indices.ndim + 1).reshape(
        [side * (lut.shape[-1] if place == axis % indices.ndim else 1) for place, side in enumerate(indices.shape)]
    )


def _vector_axis(op: "Op") -> int | None:
    return None if op.get("vector_axis") is None else op.integer("vector_axis")


def _sparse_to_dense(op: "Op") -> Sequence[Array]:
    """Put the values where the mask says; all others are zero."""
    mask = op.constant("mask")
    if op.get("shape") is not None:  # iOS 16: a bit for each value
        shape = op.integers("shape")
        mask = elements(mask, "uint1", math.prod(shape)).reshape(shape)
    return [_spread(op.constant("nonzero_data"), mask)]


def _spread(values: Array, mask: Array) -> Array:
    dense = np.zeros(mask.shape, values.dtype)
    dense[mask != 0] = values
    return dense


def _blockwise_shift_scale(op: "Op") -> Sequence[Array]:
    return [_scaled(op, op.constant("data"))]


def _scaled(op: "Op", data: Array) -> Array:
    """Give scale × (data - offset), one of each a block."""
    scale = op.constant("scale")

    def spread(values: Array) -> Array:
        for place, side in enumerate(data.shape):
            values = np.repeat(values, side // values.shape[place], axis=place)
        return values.astype(np.float32)

    moved = data.astype(np.float32)
    if op.get("offset") is not None:
        moved = moved - spread(op.constant("offset"))
    return (spread(scale) * moved).astype(scale.dtype)


def _lut_to_sparse(op: "Op") -> Sequence[Array]:
    mask, axis = op.constant("indices_mask"), _vector_axis(op)
    dense = _looked_up(_spread(op.constant("indices_nonzero_data"), mask), op.constant("lut"), axis)
    if axis is not None:
        mask = np.repeat(mask, dense.shape[axis] // mask.shape[axis], axis=axis)
    return [mask, dense[mask != 0]]


def _sparse_blockwise_shift_scale(op: "Op") -> Sequence[Array]:
    mask = op.constant("data_mask")
    return [mask, _scaled(op, _spread(op.constant("nonzero_data"), mask))[mask != 0]]


def _cast(op: "Op") -> Sequence[Array]:
    return [op.constant("source_val").astype(NUMPY[op.outputs[0].kind])]


DENSE: dict[str, Callable[["Op"], Sequence[Array]]] = {
    "constexpr_affine_dequantize": _affine_dequantize,
    "constexpr_blockwise_shift_scale": _blockwise_shift_scale,
    "constexpr_cast": _cast,
    "constexpr_lut_to_dense": _lut_to_dense,
    "constexpr_lut_to_sparse": _lut_to_sparse,
    "constexpr_sparse_blockwise_shift_scale": _sparse_blockwise_shift_scale,
    "constexpr_sparse_to_dense": _sparse_to_dense,
}
