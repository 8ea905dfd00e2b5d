"""What is said of a picture: one row, in every form that answers are written in."""

import msgspec

from facectl_runtime.sources import Source

NO_NUMBERS = "the model's answer to it is no number; verify the model, or use one of another precision"
"""Why there is no answer where an engine gives what is not finite."""


class Ranked(msgspec.Struct, frozen=True):
    """A label and its probability, 0 to 1."""

    label: str
    probability: float


class FaceAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is said of one face in a picture."""

    box: tuple[int, int, int, int]
    """Left, upper, right and lower, in pixels of the upright picture."""
    score: float
    """How sure the detector is that it is a face, 0 to 1; 1 where the picture was given as a face."""
    label: str
    """The likeliest label, or whom it is most alike; `unknown` below the threshold."""
    probability: float | None = None
    """Of a classifier."""
    similarity: float | None = None
    """Of an embedding: the cosine, -1 to 1."""
    top: "tuple[Ranked | Match, ...]" = ()
    """The likeliest labels, or the people most alike, best first."""


class Match(msgspec.Struct, frozen=True):
    """A person in a gallery, and how alike."""

    label: str
    similarity: float
    """Cosine, -1 to 1."""


class Row(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is said of one image: an answer, or an error."""

    source: str
    frame: int | None = None
    """The number of the frame in its video or stream, from 0."""
    time: float | None = None
    """Of a video: seconds from its beginning."""
    at: str | None = None
    """Of a camera or a stream: when the frame came, UTC, ISO 8601."""
    label: str | None = None
    """The likeliest label, or `unknown` below the model's threshold."""
    probability: float | None = None
    top: tuple[Ranked, ...] = ()
    """The likeliest labels, best first."""
    faces: tuple[FaceAnswer, ...] | None = None
    """Where faces are answered: one after the other, from left to right; `label` and what goes with it is then None."""
    age: float | None = None
    """Of a camera or a stream: seconds from when the frame came to its answer."""
    error: str | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """What the picture shows: the one label, or those of its faces."""
        if self.faces is not None:
            return tuple(face.label for face in self.faces)
        return () if self.label is None else (self.label,)


Answered = tuple[Source, Row]
