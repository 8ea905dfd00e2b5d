"""Images made larger or smaller, and sampled at places that the program computes.

Linear interpolation is a matrix for each side, whose rows hold the shares of two neighbours: so every way to lay the
new grid over the old one is a formula for its points, as coremltools writes it down.
"""

import numpy as np
import numpy.typing as npt

from facectl_export.mlprogram.graph import Given, Graph, Writer
from facectl_export.mlprogram.program import Op

Array = npt.NDArray[np.float64]
_LARGEST = 2**26  # entries of a matrix that interpolates: 8192 pixels to as many
_GRIDS = ("DEFAULT", "STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "OFFSET_CORNERS", "UNALIGN_CORNERS")


def _points(grid: str, size: int, wanted: int) -> Array:
    """Give where each of `wanted` points lies among `size` old ones, 0 to size - 1."""
    steps = np.arange(wanted)
    if grid == "unalign_corners":
        points = (steps + 0.5) * size / wanted - 0.5
    elif grid == "offset_corners":
        points = (steps + 0.5) * max(1, size - 1) / wanted
    elif grid == "default":
        points = steps * size / wanted
    elif wanted > 1:
        points = steps * (size - 1) / (wanted - 1)
    else:
        points = np.array([(size - 1) / 2 if grid == "align_corners" else 0.0])
    return np.clip(points, 0, size - 1)


def _shares(grid: str, size: int, wanted: int) -> npt.NDArray[np.float32]:
    """Give the matrix (wanted × size) that interpolates along one side."""
    points = _points(grid, size, wanted)
    below = np.floor(points).astype(int)
    shares = np.zeros((wanted, size))
    np.add.at(shares, (np.arange(wanted), below), 1 - (points - below))
    np.add.at(shares, (np.arange(wanted), np.minimum(below + 1, size - 1)), points - below)
    return shares.astype(np.float32)


def _linear(g: Graph, op: Op, grid: str) -> str:
    """Resize the last two sides to those of the output."""
    if op["x"].kind not in ("fp16", "fp32"):
        raise op.unsupported("how Core ML rounds between integers is not written down")
    (rows, columns), (height, width) = _old_and_new(op)
    if max(rows * height, columns * width) > _LARGEST:
        raise op.unsupported(f"{rows} × {columns} to {height} × {width} is more than is interpolated")
    y = g.add("MatMul", _shares(grid, rows, height), op["x"])
    return g.add("MatMul", y, np.ascontiguousarray(_shares(grid, columns, width).T))


def _nearest(g: Graph, op: Op) -> str:
    """Resize the last two sides, a new value being the old one that its middle falls on."""
    y: Given = op["x"]
    for axis, size, wanted in zip((-2, -1), *_old_and_new(op), strict=True):
        y = g.add("Gather", y, (2 * np.arange(wanted, dtype=np.int64) + 1) * size // (2 * wanted), axis=axis)
    return g.name(y)


def _old_and_new(op: Op) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return op.shape_of("x")[-2:], op.output_shape()[-2:]


def _upsample_nearest(g: Graph, op: Op) -> str:
    """Repeat every value; by a fraction, Core ML chooses other values on a GPU than on a CPU."""
    factors = [op.number(f"scale_factor_{side}", 1) for side in ("height", "width")]
    if any(not factor.is_integer() for factor in factors):
        raise op.unsupported(f"it scales by {factors[0]:g} and {factors[1]:g}; whole factors are known")
    return _nearest(g, op)


def _upsample_bilinear(g: Graph, op: Op) -> str:
    align = op.flag("align_corners", True)
    if op.flag("half_pixel_centers", not align):
        if align:
            raise op.unsupported("both align_corners and half_pixel_centers")
        return _linear(g, op, "unalign_corners")
    return _linear(g, op, "strict_align_corners" if align else "default")


def _resize_bilinear(g: Graph, op: Op) -> str:
    return _linear(g, op, op.word("sampling_mode", _GRIDS, "DEFAULT"))


def _resize(g: Graph, op: Op) -> str:
    if op.integer("resized_dims") > 2:
        raise op.unsupported("it resizes more than the last two sides")
    if op.word("interpolation_mode", ("LINEAR", "NEAREST_NEIGHBOR"), "LINEAR") == "nearest_neighbor":
        op.word("sampling_mode", ("DEFAULT",), "DEFAULT")
        return _nearest(g, op)
    return _resize_bilinear(g, op)


def _resample(g: Graph, op: Op) -> str:
    """Sample x (N × C × H × W) at coordinates (N × H' × W' × 2), each x before y, from -1 to 1."""
    op.word("coordinates_mode", ("normalized_minus_one_to_one",))
    return _sampled(g, op, g.cast(op["coordinates"], np.float32), op.flag("align_corners"))


def _sampled(g: Graph, op: Op, grid: Given, align: bool) -> str:
    """Sample; what ONNX reflects about centres if corners are aligned, else about edges, are two modes here."""
    reflection = "reflection" if align else "symmetric"
    paddings = {"constant": "zeros", "border": "border", reflection: "reflection"}
    padding = op.word("padding_mode", list(paddings))
    if padding == "constant" and op.number("padding_value", 0.0) != 0:
        raise op.unsupported(f"padding_value {op.number('padding_value'):g} is not known; 0 is")
    mode = op.word("sampling_mode", ("bilinear", "nearest"))
    return g.add("GridSample", op["x"], grid, mode=mode, padding_mode=paddings[padding], align_corners=int(align))


def _affine(g: Graph, op: Op) -> str:
    """Sample x at an affine transform of a grid from -1 to 1: matrices (N × 6) of two rows (a, b, offset)."""
    op.word("coordinates_mode", ("normalized_minus_one_to_one",))
    height, width = op.integer("output_height"), op.integer("output_width")
    if 1 in (height, width):
        raise op.unsupported("where a side of one value lies is not written down")
    across, down = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    base = np.stack([across, down, np.ones_like(down)]).reshape(3, height * width).astype(np.float32)
    matrix = g.add("Reshape", op["transform_matrix"], [-1, 2, 3])
    moved = g.add("Transpose", g.add("MatMul", matrix, base), perm=[0, 2, 1])
    grid = g.add("Reshape", moved, [-1, height, width, 2])
    batch = op.shape_of("x")[0]
    if op.shape_of("transform_matrix")[0] != batch:
        grid = g.add("Expand", grid, [batch, height, width, 2])
    if not op.flag("align_corners", True):
        raise op.unsupported("align_corners false is not known; true is")
    return _sampled(g, op, grid, True)


OPS: dict[str, Writer] = {
    "affine": _affine,
    "resample": _resample,
    "resize": _resize,
    "resize_bilinear": _resize_bilinear,
    "resize_nearest_neighbor": lambda g, op: _nearest(g, op),
    "upsample_bilinear": _upsample_bilinear,
    "upsample_nearest_neighbor": _upsample_nearest,
}
