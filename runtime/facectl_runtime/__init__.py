"""facectl's runtime: any exported model, on photographs, with the answers it was proved to give."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from facectl_runtime.description import Description
    from facectl_runtime.model import Model

__version__ = "0.1.0"


def load(
    path: str | Path, *, device: str = "auto", threads: int | None = None, description: "Description | None" = None
) -> "Model":
    """Open a classifier: an exported file or a run folder, on `auto`, `cpu`, `cuda` or `cuda:N`.

    `threads`: to compute and decode with; None for one on every core that may be used. `description` is of a model of
    others, which says nothing of itself. Raises `ModelError` for what is no usable model, `DeviceError` where the
    device is not there, `MissingExtraError` where a package is missing, and `UsageError` for words that are not known
    and a description that does not fit.
    """
    from facectl_runtime.devices import parse_device
    from facectl_runtime.model import Model

    return Model(Path(path), parse_device(device, threads), description)
