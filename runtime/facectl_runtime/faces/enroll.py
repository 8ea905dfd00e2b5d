"""Enrolling: from photographs of people to a gallery, one transaction a photograph."""

from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from facectl_runtime.engines.base import Answers
from facectl_runtime.errors import ImageError
from facectl_runtime.faces.detect import FOUND_BY
from facectl_runtime.faces.embedder import Embedder, checked
from facectl_runtime.faces.gallery import Gallery
from facectl_runtime.faces.portrait import Portrait, portrait
from facectl_runtime.pipeline import answers, decode_ahead, stacked
from facectl_runtime.sources import Source

_BATCH = 4  # photographs embedded at once: each is written before the next is waited for


class Enrolled(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of a photograph that was to be enrolled."""

    name: str
    source: str
    outcome: Literal["added", "replaced", "already there", "error"]
    warnings: tuple[str, ...] = ()
    error: str | None = None


Named = tuple[str, Source]


def enroll_photographs(
    photographs: Iterable[Named], embedder: Embedder, gallery: Gallery, cores: int | None, *, detect: bool
) -> Iterator[Enrolled]:
    """Enrol the faces of photographs, each with the name of whom it shows, as the iteration goes on.

    Without `detect`, a photograph is a face that is cropped already. Raises what `Gallery.add` does.
    """
    spec = embedder.spec.input

    def load(photograph: Named) -> Portrait:
        return portrait(photograph[1], spec, detect=detect)

    def infer(some: list[Portrait]) -> Iterator[tuple[Portrait, Answers]]:
        yield from zip(some, stacked(embedder.engine)([one.pixels for one in some]), strict=True)

    for (name, source), answer in answers(decode_ahead(photographs, load, _BATCH, eager=True, workers=cores), infer):
        try:
            ready, embedding = _usable(answer)
        except ImageError as error:
            yield Enrolled(name, source.name, "error", error=str(error))
            continue
        added = gallery.add(name, embedding, source.name, ready.content, FOUND_BY if detect else "")
        also = tuple(f"the same photograph is enrolled as {other} too" for other in added.others)
        yield Enrolled(name, source.name, added.outcome, (*ready.warnings, *also))


def _usable(answer: tuple[Portrait, Answers] | ImageError) -> tuple[Portrait, Answers]:
    """Give a portrait and its embedding. Raises `ImageError` where there is none of the two."""
    if isinstance(answer, ImageError):
        raise answer
    return answer[0], checked(answer[1])
