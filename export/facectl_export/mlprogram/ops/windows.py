"""Windows that slide over the spatial sides of an image: how much is padded where."""

from collections.abc import Sequence
from typing import NamedTuple

from facectl_export.mlprogram.program import Op

PAD_TYPES = ("valid", "same", "same_lower", "custom")


class Window(NamedTuple):
    """A window, by spatial side."""

    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    before: list[int]
    """Values padded before a side."""
    after: list[int]

    @property
    def pads(self) -> list[int]:
        """Give the padding in ONNX's order: before each side, then after each."""
        return self.before + self.after


def window(op: Op, kernel: Sequence[int]) -> Window:
    """Read strides, dilations and padding of an op that takes x (N × C × sides)."""
    ones = [1] * len(kernel)
    strides, dilations = op.integers("strides", ones), op.integers("dilations", ones)
    pad_type = op.word("pad_type", PAD_TYPES, "valid")
    if pad_type == "custom":
        pad = op.integers("pad", [0] * 2 * len(kernel))
        return Window(list(kernel), strides, dilations, pad[::2], pad[1::2])
    before, after = [0] * len(kernel), [0] * len(kernel)
    if pad_type != "valid":
        for place, side in enumerate(op.shape_of("x")[2:]):
            reach = (kernel[place] - 1) * dilations[place] + 1
            total = max(0, (-(-side // strides[place]) - 1) * strides[place] + reach - side)
            less, more = total // 2, total - total // 2
            before[place], after[place] = (less, more) if pad_type == "same" else (more, less)
    return Window(list(kernel), strides, dilations, before, after)
