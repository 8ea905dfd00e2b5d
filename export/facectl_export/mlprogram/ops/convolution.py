"""Convolutions of one to three spatial sides."""

from facectl_export.mlprogram.graph import Graph, Writer
from facectl_export.mlprogram.ops.windows import window
from facectl_export.mlprogram.program import Op


def _conv(g: Graph, op: Op) -> str:
    """x: N × C × sides; weight: C out × C / groups × kernel."""
    sized = window(op, op.shape_of("weight")[2:])
    return g.add(
        "Conv",
        op["x"],
        op["weight"],
        *[bias for bias in [op.get("bias")] if bias is not None],
        strides=sized.strides,
        dilations=sized.dilations,
        pads=sized.pads,
        group=op.integer("groups", 1),
    )


def _conv_transpose(g: Graph, op: Op) -> str:
    """x: N × C × sides; weight: C × C out / groups × kernel. Of `same`, an output is as large as strides × sides."""
    kernel = op.shape_of("weight")[2:]
    ones, sides = [1] * len(kernel), op.shape_of("x")[2:]
    strides, dilations = op.integers("strides", ones), op.integers("dilations", ones)
    pad_type = op.word("pad_type", ("valid", "same", "custom"), "valid")
    pad = op.integers("pad", [0] * 2 * len(kernel)) if pad_type == "custom" else [0] * 2 * len(kernel)
    wanted = op.output_shape()
    before, after, more = [], [], []
    for place, side in enumerate(sides):
        whole = (side - 1) * strides[place] + (kernel[place] - 1) * dilations[place] + 1
        surplus = whole - wanted[2 + place]
        if pad_type == "custom" and surplus != sum(pad[2 * place : 2 * place + 2]):
            raise op.unsupported("its output_shape is another than its pad gives")
        start = max(surplus, 0) // 2 if pad_type == "same" else pad[2 * place]
        before.append(start)
        after.append(max(surplus - start, 0))
        more.append(max(start - surplus, 0))
    return g.add(
        "ConvTranspose",
        op["x"],
        op["weight"],
        *[bias for bias in [op.get("bias")] if bias is not None],
        strides=strides,
        dilations=dilations,
        pads=before + after,
        output_padding=more,
        group=op.integer("groups", 1),
    )


OPS: dict[str, Writer] = {"conv": _conv, "conv_transpose": _conv_transpose}
