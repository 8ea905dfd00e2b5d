"""Pooling over windows."""

import math

import numpy as np
import numpy.typing as npt

from facectl_export.mlprogram.graph import Graph, Writer
from facectl_export.mlprogram.ops.windows import Window, window
from facectl_export.mlprogram.program import Op


def _max_pool(g: Graph, op: Op) -> str:
    sized = _sized(op)
    beyond = _beyond(op, sized)
    if any(beyond):
        return _pool(g, "MaxPool", _padded(g, op, sized, beyond, -math.inf), sized, [0] * len(sized.pads))
    return _pool(g, "MaxPool", g.name(op["x"]), sized, sized.pads)


def _avg_pool(g: Graph, op: Op) -> str:
    """Average; what is padded counts or does not, what a last window covers beyond that never does."""
    sized = _sized(op)
    beyond, excluded = _beyond(op, sized), op.flag("exclude_padding_from_average")
    if not any(beyond):
        counted = int(not excluded)
        return _pool(g, "AveragePool", g.name(op["x"]), sized, sized.pads, count_include_pad=counted)
    padded = _padded(g, op, sized, beyond, 0.0)
    means = _pool(g, "AveragePool", padded, sized, [0] * len(sized.pads))
    return g.add("Mul", means, _shares(op.shape_of("x")[2:], sized, beyond, excluded))


def _sized(op: Op) -> Window:
    sized = window(op, op.integers("kernel_sizes"))
    if any(max(pads) >= size for *pads, size in zip(sized.before, sized.after, sized.kernel, strict=True)):
        raise op.unsupported("it pads by more than its window reaches, and what a window without a value gives is open")
    return sized


def _pool(g: Graph, kind: str, x: str, sized: Window, pads: list[int], **more: int) -> str:
    return g.add(kind, x, kernel_shape=sized.kernel, strides=sized.strides, pads=pads, **more)


def _beyond(op: Op, sized: Window) -> list[int]:
    """Give by how much the last window reaches beyond the padding of each side, where sizes are rounded up.

    A window that would begin in the padding after a side is left out, as in PyTorch.
    """
    beyond = [0] * len(sized.kernel)
    if not op.flag("ceil_mode"):
        return beyond
    op.word("pad_type", ("valid", "custom"), "valid")
    for place, side in enumerate(op.shape_of("x")[2:]):
        kernel, stride = sized.kernel[place], sized.strides[place]
        padded = side + sized.before[place] + sized.after[place]
        count = -(-(padded - kernel) // stride) + 1
        if (count - 1) * stride >= side + sized.before[place]:
            if padded == side:
                raise op.unsupported("its last window covers no value, and what that gives is open")
            count -= 1
        beyond[place] = max(0, (count - 1) * stride + kernel - padded)
    return beyond


def _padded(g: Graph, op: Op, sized: Window, beyond: list[int], value: float) -> str:
    after = [one + more for one, more in zip(sized.after, beyond, strict=True)]
    return g.add("Pad", op["x"], [0, 0, *sized.before, 0, 0, *after], value)


def _shares(sides: tuple[int, ...], sized: Window, beyond: list[int], excluded: bool) -> npt.NDArray[np.float32]:
    """Give, by window, all values that it covers over those that count: 1 × 1 × sides."""
    shares = np.ones([1] * len(sides))
    for place, side in enumerate(sides):
        before, after = sized.before[place], sized.after[place]
        counts = np.repeat([not excluded, True, not excluded, False], [before, side, after, beyond[place]])
        windows = np.lib.stride_tricks.sliding_window_view(counts, sized.kernel[place])[:: sized.strides[place]]
        share = sized.kernel[place] / windows.sum(axis=1)
        shares = shares * share.reshape([-1 if other == place else 1 for other in range(len(sides))])
    return shares[None, None].astype(np.float32)


OPS: dict[str, Writer] = {"avg_pool": _avg_pool, "max_pool": _max_pool}
