"""What comes after class folders were made: training, or what it still lacks."""

from collections.abc import Mapping
from pathlib import Path

from facectl_runtime.errors import counted, one_line
from facectl_runtime.labelled import PARTS


def next_step(made: Path, data: Path, classes: Mapping[str, int], parted: bool = False) -> str:
    """Say that `made` is ready, and what to do with `data`, whose classes have so many images each.

    Training needs two classes, and three different images of each, but of a folder that is `parted` into train, val and
    test already.
    """
    least = min(classes, key=lambda label: (classes[label], label))
    if len(classes) < 2:
        lacks = f"it has one class alone, {one_line(least)[:40]}, and two or more are needed"
    elif classes[least] < len(PARTS) and not parted:
        lacks = (
            f"its class {one_line(least)[:40]} has {counted(classes[least], 'image')}, and {len(PARTS)} different ones "
            "or more of each are needed"
        )
    else:
        return f"{made} is ready; next: facectl train zoo --data {data}"
    return f"{made} is ready; before anything is trained on {data}: {lacks}"
