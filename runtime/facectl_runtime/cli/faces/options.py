"""Options that several commands on faces share."""

import math
from pathlib import Path
from typing import Annotated

import typer

from facectl_runtime.errors import UsageError


def _number(value: float | None) -> float | None:
    """Refuse what is no number, which every range lets through. Raises `UsageError`."""
    if value is not None and math.isnan(value):
        raise UsageError("--threshold nan is no number; give a cosine, -1 to 1, such as 0.4")
    return value


GalleryArgument = Annotated[
    Path, typer.Argument(metavar="GALLERY", help="A file of people, such as family.gallery.", readable=False)
]
FaceModelOption = Annotated[
    Path,
    typer.Option(
        "--model",
        envvar="FACECTL_FACE_MODEL",
        metavar="MODEL",
        help="An exported file or run that embeds faces; a gallery belongs to its network.",
        readable=False,
    ),
]
DetectOption = Annotated[
    bool,
    typer.Option("--detect/--no-detect", help="Find and align the face; or take pictures that are faces, cropped."),
]
ThresholdOption = Annotated[
    float | None,
    typer.Option(
        "--threshold",
        min=-1.0,
        max=1.0,
        callback=_number,
        help="The least cosine of one person; the model's own if left out.",
    ),
]
