"""Two photographs: how alike their faces are."""

from collections.abc import Sequence
from typing import NamedTuple

from facectl_runtime.errors import ImageError
from facectl_runtime.faces.embedder import Embedder, checked
from facectl_runtime.faces.portrait import portrait
from facectl_runtime.pipeline import stacked
from facectl_runtime.sources import Source


class Compared(NamedTuple):
    """What two photographs have in common."""

    similarity: float
    """The cosine of their faces, float32, -1 to 1."""
    warnings: Sequence[str]
    """What speaks against a face, with its photograph's name before it."""


def compare_photographs(embedder: Embedder, first: Source, second: Source, *, detect: bool) -> Compared:
    """Compare the faces of two photographs, of several in one the largest and most central.

    Without `detect`, a photograph is a face that is cropped already. Raises `ImageError` where one has no face or
    cannot be read.
    """
    embeddings, warnings = [], []
    for source in (first, second):
        try:
            found = portrait(source, embedder.spec.input, detect=detect)
            embeddings.append(checked(stacked(embedder.engine)([found.pixels])[0]))
        except ImageError as error:
            raise ImageError(f"{source.name}: {error}") from error
        warnings += [f"{source.name}: {warning}" for warning in found.warnings]
    return Compared(min(float(embeddings[0] @ embeddings[1]), 1.0), warnings)
