"""The ops that are known: one table from an op's type to what writes it into the graph.

What an op means is what coremltools says of it (https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html).
Where that leaves open what Core ML does, the op or the attribute is not known: a wrong answer costs more than none.
"""

from facectl_export.mlprogram.graph import Writer
from facectl_export.mlprogram.ops import (
    activations,
    arithmetic,
    convolution,
    gathering,
    normalization,
    pooling,
    products,
    quantization,
    reductions,
    resizing,
    shapes,
    slices,
)

OPS: dict[str, Writer] = {
    **activations.OPS,
    **arithmetic.OPS,
    **convolution.OPS,
    **gathering.OPS,
    **normalization.OPS,
    **pooling.OPS,
    **products.OPS,
    **quantization.OPS,
    **reductions.OPS,
    **resizing.OPS,
    **shapes.OPS,
    **slices.OPS,
}
