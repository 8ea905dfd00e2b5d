"""A model that embeds faces: opened, held to its task, and asked for the embeddings of photographs."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from facectl_runtime import image
from facectl_runtime.devices import Device
from facectl_runtime.engines import AUTO, Engine, format_of
from facectl_runtime.engines.base import Pixels
from facectl_runtime.errors import ImageError, ModelError, UsageError
from facectl_runtime.evaluate import answer_each, labelled_loader
from facectl_runtime.faces.portrait import portrait
from facectl_runtime.labelled import Chosen, Image
from facectl_runtime.rows import NO_NUMBERS
from facectl_runtime.sources import Source, display_name
from facectl_runtime.spec import NORM_TOLERANCE, ModelSpec

Floats = npt.NDArray[np.float32]


class Embedder(NamedTuple):
    """A model that is ready to embed."""

    path: Path
    spec: ModelSpec
    engine: Engine


def read_spec(model: Path) -> ModelSpec:
    """Read the spec of a model that embeds. Raises `ModelError` where there is none or its task is another."""
    spec = format_of(model).read_spec(model)
    if spec.task != "embed":
        raise ModelError(
            f"{model}: its task is {spec.task}; faces are compared by a model whose task is embed, such as one that "
            "facectl train triplet made (facectl predict --faces takes this one)"
        )
    return spec


def open_embedder(model: Path, device: Device, engine: str = AUTO) -> Embedder:
    """Open a model that embeds. Raises what `read_spec` and `Format.open` do."""
    spec = read_spec(model)
    return Embedder(model, spec, format_of(model, engine).open(model, spec, device))


def threshold_of(model: Path, spec: ModelSpec, asked: float | None) -> float:
    """Give the cosine from which two faces are of one person: the one asked for, or the file's own.

    Raises `UsageError` where there is neither.
    """
    if asked is not None:
        return asked
    if spec.threshold is None:
        raise UsageError(
            f"{model}: it has no threshold yet, so that every stranger would be somebody; run facectl faces calibrate "
            f"{model} --data PHOTOS, with a folder a person, or give --threshold, a cosine"
        )
    return spec.threshold.value


def checked(embedding: Floats) -> Floats:
    """Give an embedding, d numbers, back. Raises `ImageError` where it has not the L2 norm 1, or is no number."""
    if not abs(float(np.linalg.norm(embedding)) - 1) <= NORM_TOLERANCE:  # false of NaN
        raise ImageError(NO_NUMBERS)
    return embedding


class Embedded(NamedTuple):
    """Photographs and what a model makes of them."""

    images: list[Image]
    embeddings: Floats
    """N × d, L2 norm 1."""
    left_out: dict[str, str]
    """Path → why."""

    @property
    def people(self) -> list[str]:
        """Who is on each."""
        return [image.label for image in self.images]

    def by_path(self) -> dict[str, Floats]:
        """Give each photograph's embedding by its path."""
        return {image.path: row for image, row in zip(self.images, self.embeddings, strict=True)}


def embed(
    embedder: Embedder, chosen: Chosen, advance: Callable[[int], None], cores: int | None, *, detect: bool | None
) -> Embedded:
    """Embed photographs of known people.

    With `detect`, each is taken as `facectl faces enroll` takes it: the face is found first; without, it is a face,
    cropped already; None takes the whole picture as the model's input is described, and as it was trained. Raises
    `UsageError` where none can be used.
    """
    spec = embedder.spec.input

    def read(data: bytes) -> Pixels:
        if detect is None:
            return image.load(data, spec)
        return portrait(Source("", data), spec, detect=detect).pixels

    load = labelled_loader(chosen.root, chosen.hashes, read)
    answered, rows, unreadable = answer_each(embedder.engine, chosen.images, load, advance, cores)
    left_out, usable = dict(unreadable), []
    for number, (item, row) in enumerate(zip(answered, rows, strict=True)):
        try:
            checked(row)
        except ImageError as error:
            left_out[display_name(item.path)] = str(error)
        else:
            usable.append(number)
    if not usable:
        first = f" ({next(iter(left_out.values()))})" if left_out else ""
        raise UsageError(f"{chosen.root}: none of its {len(chosen.images)} photographs can be used{first}")
    return Embedded([answered[number] for number in usable], rows[usable], left_out)
