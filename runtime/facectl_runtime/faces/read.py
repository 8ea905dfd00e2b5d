"""Faces in pictures, found and answered one by one, as a reading that a pipeline can take."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from facectl_runtime import classifier
from facectl_runtime.engines import Engine
from facectl_runtime.engines.base import Answers, Pixels
from facectl_runtime.errors import ImageError
from facectl_runtime.faces.crop import crop, whole_as_face
from facectl_runtime.faces.detect import shared_detector
from facectl_runtime.faces.embedder import checked
from facectl_runtime.faces.search import Templates, search
from facectl_runtime.image import TOO_MUCH
from facectl_runtime.picture import picture_of
from facectl_runtime.reading import Reading
from facectl_runtime.rows import NO_NUMBERS, FaceAnswer, Match, Ranked, Row
from facectl_runtime.sources import Source
from facectl_runtime.spec import UNKNOWN, InputSpec, ModelSpec
from facectl_runtime.threshold.accepted import is_accepted

_AT_ONCE = 32  # faces: of a picture of a crowd


class Name(NamedTuple):
    """What is said of a face."""

    label: str
    probability: float | None
    similarity: float | None
    top: tuple[Ranked, ...] | tuple[Match, ...]


class Place(NamedTuple):
    """Where a face is."""

    box: tuple[float, float, float, float]
    """Left, upper, right, lower, in pixels of the picture."""
    score: float
    """Of the detector, 0 to 1; 1 of a picture that is a face."""


class Crops(NamedTuple):
    """The faces of one picture."""

    places: Sequence[Place]
    """From left to right."""
    pixels: Sequence[Pixels]
    """uint8, height × width × 3 each: what the model sees of it."""


Naming = Callable[[Answers], list[Name]]
"""Names of N faces by what the model makes of them, float32 N × size. Raises `ImageError` where that is no answer."""
Read = tuple[Sequence[Place], Answers]


def by_labels(spec: ModelSpec, topk: int) -> Naming:
    """Name faces by a classifier."""

    def name(answers: Answers) -> list[Name]:
        named = [classifier.named(answer, spec, topk) for answer in answers]
        return [Name(label, top[0].probability, None, top) for label, top in named]

    return name


def by_people(templates: Templates, threshold: float, topk: int) -> Naming:
    """Name faces by whom they are most like, or `unknown` below the threshold, a cosine."""

    def name(answers: Answers) -> list[Name]:
        for answer in answers:
            checked(answer)
        found = search(answers, templates, topk)
        return [_match(templates, threshold, *row) for row in zip(found.people, found.similarities, strict=True)]

    return name


def _match(templates: Templates, threshold: float, people: Sequence[int], similarities: Answers) -> Name:
    if not len(people):
        return Name(UNKNOWN, None, None, ())
    top = tuple(
        Match(templates.names[person], round(min(float(similarity), 1.0), 6))
        for person, similarity in zip(people, similarities, strict=True)
    )
    label = top[0].label if is_accepted(similarities[0], threshold) else UNKNOWN
    return Name(label, None, top[0].similarity, top)


def faces_in(spec: InputSpec, name: Naming, *, detect: bool = True) -> Reading[Crops, Read]:
    """Read the faces in pictures; without `detect`, a picture is one face, cropped already.

    Raises `UsageError` where the detector's weights are not here.
    """
    if detect:
        shared_detector()  # now, and not when a first picture is decoded

    def say(where: Row, read: Read) -> Row:
        places, answers = read
        if not np.isfinite(answers).all():
            return msgspec.structs.replace(where, error=NO_NUMBERS)
        try:
            names = name(answers) if places else []
        except ImageError as error:
            return msgspec.structs.replace(where, error=str(error))
        return msgspec.structs.replace(where, faces=tuple(map(_said, places, names)))

    return Reading(lambda source: crops(source, spec, detect=detect), infer, say)


def crops(source: Source, spec: InputSpec, *, detect: bool) -> Crops:
    """Find the faces in a source, and bring each to a model's input. Raises `ImageError` where it cannot be read."""
    try:
        picture = picture_of(source)
        if not detect:
            return Crops([Place((0, 0, *picture.size), 1.0)], [whole_as_face(picture, spec)])
        faces = sorted(shared_detector().detect(picture), key=lambda face: face.box)  # as people name a group
        return Crops([Place(face.box, face.score) for face in faces], [crop(picture, face, spec) for face in faces])
    except MemoryError as error:
        raise ImageError(TOO_MUCH) from error


def infer(engine: Engine, found: Sequence[Crops]) -> Iterator[Read]:
    """Answer the faces of pictures: of each picture its faces, and float32 faces × size."""
    pixels = [one for crops in found for one in crops.pixels]
    pieces = [engine.infer(np.stack(pixels[at : at + _AT_ONCE])) for at in range(0, len(pixels), _AT_ONCE)]
    answers = np.concatenate(pieces) if pieces else np.empty((0, 0), np.float32)
    start = 0
    for crops in found:
        yield crops.places, answers[start : start + len(crops.places)]
        start += len(crops.places)


def _said(place: Place, name: Name) -> FaceAnswer:
    left, upper, right, lower = map(round, place.box)
    return FaceAnswer((left, upper, right, lower), round(place.score, 4), *name)
