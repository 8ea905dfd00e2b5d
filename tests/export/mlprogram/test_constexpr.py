"""Compressed weights of ML Programs, against coremltools' own idea of what they stand for."""

import math
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest

ct = pytest.importorskip("coremltools")
pytest.importorskip("tensorflow")
import coremltools.optimize.coreml as cto  # noqa: E402
from coremltools.converters.mil import Builder as mb  # noqa: E402
from coremltools.converters.mil.mil import types  # noqa: E402
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from facectl_export.mlprogram.program import read_program  # noqa: E402
from mil import outputs, save, values  # noqa: E402

EXAMPLES = settings(max_examples=10, deadline=None, derandomize=True)
SCALES = st.sampled_from([np.float16, np.float32])
SIDES = st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), min_size=1, max_size=4)
"""By side: how many blocks, and their size."""


def numbers(kind, shape, seed=0):
    """Draw numbers over all that a type holds."""
    if kind in ("fp16", "fp32"):
        return values(shape, seed).astype({"fp16": np.float16, "fp32": np.float32}[kind])
    dtype, bits = types.type_mapping.string_to_nptype(kind), int(kind.lstrip("uint"))
    low, high = (0, 1 << bits) if kind[0] == "u" else (-(1 << bits - 1), 1 << bits - 1)
    return np.random.default_rng(seed).integers(low, high, shape).astype(dtype)


def both(build, ios):
    """Give a compressed constant as this reader has it, and as coremltools has, in the type that is declared."""
    made = []

    def program(x):
        made.append(build())
        return mb.relu(x=x), mb.cast(x=made[0], dtype="fp32")

    with tempfile.TemporaryDirectory() as folder:
        ops = read_program(save(program, {"x": values((2,))}, Path(folder) / "a.mlpackage", ios)).ops
    declared = types.nptype_from_builtin(made[0].dtype)
    expected = made[0].op.materialized_val_inference().astype(declared)
    return next(op["x"].constant for op in ops if op.type == "cast"), expected


def check(build, ios="iOS18", atol=0.0):
    found, expected = both(build, ios)
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=2e-3 if found.dtype == np.float16 else 1e-6, atol=atol)


@pytest.mark.parametrize("kind", ["int8", "uint8"])
@EXAMPLES
@given(data=st.data(), shape=st.lists(st.integers(1, 4), min_size=1, max_size=4), dtype=SCALES)
def test_affine_dequantize(kind, data, shape, dtype):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    by_channel = [[shape[axis]] if data.draw(st.booleans()) else [] for _ in range(2)]
    scale, zero = dtype(values(by_channel[0], seed=1)), numbers(kind, by_channel[1], seed=2)
    if data.draw(st.booleans()):
        zero = zero.astype(np.float32)
    check(
        lambda: mb.constexpr_affine_dequantize(
            quantized_data=numbers(kind, shape), zero_point=zero, scale=scale, axis=axis
        ),
        "iOS16",
    )


@pytest.mark.parametrize("bits", [1, 2, 4, 6, 8])
@EXAMPLES
@given(shape=st.lists(st.integers(1, 5), min_size=1, max_size=4), dtype=SCALES)
def test_lut_to_dense_of_one_table(bits, shape, dtype):
    indices = np.random.default_rng(1).integers(0, 256, -(-math.prod(shape) * bits // 8)).astype(np.uint8)
    lut = dtype(values(1 << bits))
    check(lambda: mb.constexpr_lut_to_dense(indices=indices, lut=lut, shape=np.uint32(shape)), "iOS16")


@EXAMPLES
@given(shape=st.lists(st.integers(1, 5), min_size=1, max_size=4), dtype=SCALES, seed=st.integers(0, 99))
def test_sparse_to_dense_of_packed_bits(shape, dtype, seed):
    """Coremltools itself unpacks more bits than there are values, unless they fill their bytes."""
    shape = [8, *shape]
    mask = values(shape, seed) > 1
    mask.flat[0] = True
    check(
        lambda: mb.constexpr_sparse_to_dense(
            nonzero_data=dtype(values(mask.sum())), mask=np.packbits(mask, bitorder="little"), shape=np.uint32(shape)
        ),
        "iOS16",
    )


@pytest.mark.parametrize("ios", ["iOS16", "iOS18"])
def test_cast(ios):
    x = numbers("fp16", (2, 3))
    check(lambda: mb.constexpr_cast(source_val=x, output_dtype="fp32"), ios)


@pytest.mark.parametrize("kind", ["int4", "uint4", "int8", "uint8", "fp16", "fp32"])
@EXAMPLES
@given(sides=SIDES, dtype=SCALES, offset=st.sampled_from([None, "same", "fp16", "fp32"]))
def test_blockwise_shift_scale(kind, sides, dtype, offset):
    blocks = [count for count, _ in sides]
    data, scale = numbers(kind, [count * size for count, size in sides]), dtype(values(blocks, seed=1))
    more = {"offset": numbers(kind if offset == "same" else offset, blocks, seed=2)} if offset else {}
    atol = 0.05 if kind.startswith("fp") else 0  # coremltools subtracts floats in the type of the scale
    check(lambda: mb.constexpr_blockwise_shift_scale(data=data, scale=scale, **more), atol=atol)


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6, 8])
@EXAMPLES
@given(data=st.data(), sides=SIDES, vector=st.integers(1, 3), kind=st.sampled_from(["int8", "uint8", "fp16", "fp32"]))
def test_lut_to_dense_and_to_sparse(bits, data, sides, vector, kind):
    """With tables by block, and entries of several values, which lie along an axis."""
    shape = [count * size for count, size in sides]
    lut = numbers(kind, [*(count for count, _ in sides), 1 << bits, vector], seed=1)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1)) if vector > 1 or data.draw(st.booleans()) else None
    more = {} if axis is None else {"vector_axis": axis}
    indices = numbers(f"uint{bits}", shape)
    check(lambda: mb.constexpr_lut_to_dense(indices=indices, lut=lut, **more))
    mask = (values(shape, seed=2) > 0).astype(types.np_uint1_dtype)
    mask.flat[0] = 1

    def sparse():
        made = mb.constexpr_lut_to_sparse(indices_mask=mask, indices_nonzero_data=indices[mask != 0], lut=lut, **more)
        return mb.constexpr_sparse_to_dense(nonzero_data=made[1], mask=made[0])

    check(sparse)


@pytest.mark.parametrize("kind", ["int4", "uint4", "int8", "uint8"])
@EXAMPLES
@given(sides=SIDES, dtype=SCALES, shifted=st.booleans())
def test_sparse_blockwise_shift_scale(kind, sides, dtype, shifted):
    blocks, shape = [count for count, _ in sides], [count * size for count, size in sides]
    mask = (values(shape, seed=2) > 0).astype(types.np_uint1_dtype)
    mask.flat[0] = 1
    data, more = numbers(kind, np.count_nonzero(mask)), {"offset": numbers(kind, blocks, seed=2)} if shifted else {}

    def sparse():
        made = mb.constexpr_sparse_blockwise_shift_scale(
            data_mask=mask, nonzero_data=data, scale=dtype(values(blocks, seed=1)), **more
        )
        return mb.constexpr_sparse_to_dense(nonzero_data=made[1], mask=made[0])

    check(sparse)


@pytest.mark.parametrize("kind", ["fp16", "fp32", "int8", "uint8"])
def test_sparse_to_dense(kind):
    mask = (values((3, 5)) > 0).astype(types.np_uint1_dtype)
    data = numbers(kind, np.count_nonzero(mask))
    check(lambda: mb.constexpr_sparse_to_dense(nonzero_data=data, mask=mask))


def test_a_table_that_is_quantized_itself():
    indices, data, scale = numbers("uint2", (4, 6)), numbers("int8", (2, 1, 4, 1), 1), np.float32([[[[0.1]]]])
    lut = mb.constexpr_blockwise_shift_scale

    def build(x):
        made = mb.constexpr_lut_to_dense(indices=indices, lut=lut(data=data, scale=scale))
        return mb.add(x=x, y=made)

    (y,) = outputs(build, {"x": np.zeros((4, 6), np.float32)}, ios="iOS18")
    whole = np.repeat(data.astype(np.float32)[:, 0, :, 0] * scale[0, 0], 2, axis=0)
    np.testing.assert_allclose(y, np.take_along_axis(whole, indices.astype(int), 1), rtol=1e-6)


def palettized(bits, granularity="per_tensor", **more):
    return cto.OpPalettizerConfig(nbits=bits, granularity=granularity, weight_threshold=0, **more)


def quantized(dtype, granularity, mode="linear", **more):
    return cto.OpLinearQuantizerConfig(mode=mode, dtype=dtype, granularity=granularity, weight_threshold=0, **more)


SPARSE = cto.OpThresholdPrunerConfig(threshold=1.5, minimum_sparsity_percentile=0.1, weight_threshold=0)
WAYS = {
    **{f"{bits} bits of one table": ("iOS16", [palettized(bits)]) for bits in (1, 2, 4, 6, 8)},
    "3 bits": ("iOS18", [palettized(3)]),
    **{
        f"{bits} bits by channels": ("iOS18", [palettized(bits, "per_grouped_channel", group_size=4)])
        for bits in (3, 4)
    },
    "vectors": ("iOS18", [palettized(2, cluster_dim=2)]),
    "vectors by channels": ("iOS18", [palettized(3, "per_grouped_channel", group_size=4, cluster_dim=4)]),
    "a scale a channel besides": (
        "iOS18",
        [palettized(4, "per_grouped_channel", group_size=4, enable_per_channel_scale=True)],
    ),
    "int8": ("iOS16", [quantized("int8", "per_channel")]),
    "uint8": ("iOS16", [quantized("uint8", "per_tensor", "linear_symmetric")]),
    "int4 by blocks": ("iOS18", [quantized("int4", "per_block", block_size=4)]),
    "uint4 by blocks": ("iOS18", [quantized("uint4", "per_block", block_size=8)]),
    "int8 by blocks": ("iOS18", [quantized("int8", "per_block", "linear_symmetric", block_size=8)]),
    "sparse": ("iOS16", [SPARSE]),
    "sparse since iOS 18": ("iOS18", [SPARSE]),
    "sparse of tables": ("iOS18", [SPARSE, palettized(3)]),
    "sparse of vectors": (
        "iOS18",
        [cto.OpMagnitudePrunerConfig(target_sparsity=0.5, weight_threshold=0), palettized(4)],
    ),
    "sparse int8": ("iOS18", [SPARSE, quantized("int8", "per_channel")]),
    "sparse int4 by blocks": ("iOS18", [SPARSE, quantized("int4", "per_block", block_size=4)]),
    "tables of int8": ("iOS18", [palettized(4), quantized("int8", "per_tensor")]),
}
COMPRESS = {
    cto.OpPalettizerConfig: cto.palettize_weights,
    cto.OpLinearQuantizerConfig: cto.linear_quantize_weights,
    cto.OpThresholdPrunerConfig: cto.prune_weights,
    cto.OpMagnitudePrunerConfig: cto.prune_weights,
}


@cache
def network(ios):
    """Give a network whose weights are not compressed yet."""
    target = getattr(ct.target, ios)

    @mb.program(input_specs=[mb.TensorSpec(shape=(1, 8, 6, 6))], opset_version=target)
    def program(x):
        y = mb.conv(x=x, weight=values((16, 8, 3, 3)), bias=values(16, 1), pad_type="same")
        y = mb.reshape(x=mb.reduce_mean(x=mb.relu(x=y), axes=[2, 3]), shape=[1, 16])
        return mb.linear(x=y, weight=values((24, 16), 2), bias=values(24, 3))

    return ct.convert(program, minimum_deployment_target=target, compute_precision=ct.precision.FLOAT32)


@pytest.mark.parametrize("way", WAYS)
def test_a_network_that_coremltools_compresses(way, tmp_path):
    """By one step after the other."""
    ios, steps = WAYS[way]
    model = network(ios)
    for place, step in enumerate(steps):
        config = cto.OptimizationConfig(global_config=step)
        model = COMPRESS[type(step)](model, config, **({"joint_compression": True} if place else {}))
    model.save(str(tmp_path / "a.mlpackage"))
    found = {op.type: op["weight"].constant for op in read_program(tmp_path / "a.mlpackage").ops if op.get("weight")}
    made = {op.op_type for op in model._mil_program.functions["main"].operations}
    assert any(op.startswith("constexpr_") for op in made), made
    dense = cto.decompress_weights(model)._mil_program.functions["main"].operations
    expected = {op.op_type: op.weight.val for op in dense if op.op_type in found}
    assert set(expected) == {"conv", "linear"}
    for op, weight in expected.items():
        np.testing.assert_allclose(found[op], weight, rtol=1e-6, atol=1e-6)
        assert not np.allclose(found[op], values(weight.shape, 0 if op == "conv" else 2), atol=1e-6)
