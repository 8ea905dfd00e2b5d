"""Who is in a photograph: milliseconds by stage, for photographs of 250 pixels and of 12 megapixels, on all cores.

Photographs of LFW, and the same, 1,000 pixels high, in the middle of mosaics of animals of 12 megapixels; each shows
one face. One photograph at a time, from the disk's cache; the models, the photographs and the galleries in turn.
"""

import shutil
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from common import keep, test_data
from facectl_runtime import image
from facectl_runtime.devices import Device, usable_cores
from facectl_runtime.faces.crop import crop
from facectl_runtime.faces.detect import shared_detector
from facectl_runtime.faces.embedder import Embedder, open_embedder
from facectl_runtime.faces.read import by_people, faces_in
from facectl_runtime.faces.search import Templates, search
from facectl_runtime.output import columns
from facectl_runtime.rows import Row
from facectl_runtime.sources import Source
from lfw_view2 import export_facenet, link_development
from mosaics import QUALITY, write_mosaics

PHOTOGRAPHS, ROUNDS, WARM_UP = 10, 11, 1
TRIED = 5 * PHOTOGRAPHS
"""Mosaics, of which some seem to show a face more: an animal's, or one of a bystander."""
PEOPLE = (1, 1_000, 100_000)
SMALL, LARGE = "250 pixels", "12 megapixels"
FACE = 1000
"""Pixels of the side of LFW's photograph in the mosaic."""
STAGES = ("decode", "detect", "align", "embed")
THRESHOLD = 0.5


class Asked(NamedTuple):
    """A photograph that is asked about."""

    kind: str
    path: Path


def main() -> None:
    """Make the files and the photographs, time every stage, and print and keep the table."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        link_development(scratch / "development")
        files = export_facenet(scratch, "facenet")
        embedders = {name: open_embedder(path, Device("cpu")) for name, path in files.items()}
        photographs = _photographs(scratch)
        galleries = {count: _gallery(count, next(iter(embedders.values())).spec.output.size) for count in PEOPLE}
        rounds = [_round(embedders, photographs, galleries) for _ in range(WARM_UP + ROUNDS)][WARM_UP:]
    keys = [(name, kind) for name in embedders for kind in (SMALL, LARGE)]
    figures = {f"{name}, {kind}": _medians([one for turn in rounds for one in turn[name, kind]]) for name, kind in keys}
    print(text(figures))
    keep("identify", {"photographs": PHOTOGRAPHS, "rounds": ROUNDS, "used_cores": usable_cores(), "stages": figures})


def _photographs(scratch: Path) -> list[Asked]:
    """Take photographs of LFW, and put each into a mosaic."""
    portraits = sorted(test_data("lfw").rglob("*_0001.jpg"))
    order = np.random.default_rng(0).permutation(len(portraits))
    alone = (portraits[place] for place in order if _faces(portraits[place]) == 1)
    photographs: list[Asked] = []
    for mosaic in write_mosaics(test_data("zoo"), scratch / "large", TRIED):
        small = Path(shutil.copy(next(alone), scratch / mosaic.name))
        _paste(small, mosaic)
        if _faces(mosaic) == 1:
            photographs += [Asked(SMALL, small), Asked(LARGE, mosaic)]
        if len(photographs) == 2 * PHOTOGRAPHS:
            return photographs
    sys.exit(f"only {len(photographs) // 2} of {TRIED} mosaics with a face show one face")


def _faces(path: Path) -> int:
    """Count the faces that are found in a photograph."""
    return len(shared_detector().detect(image.decode(image.read(path))))


def _paste(portrait: Path, mosaic: Path) -> None:
    """Put a portrait into the middle of a mosaic."""
    with Image.open(portrait) as near, Image.open(mosaic) as wide:
        picture = wide.convert("RGB")
        corner = ((picture.width - FACE) // 2, (picture.height - FACE) // 2)
        picture.paste(near.convert("RGB").resize((FACE, FACE), Image.Resampling.LANCZOS), corner)
    picture.save(mosaic, quality=QUALITY)


def _gallery(people: int, size: int) -> Templates:
    """Make up so many people, an embedding each."""
    rows = np.random.default_rng(0).standard_normal((people, size), np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return Templates.of([f"{number:07}" for number in range(people)], rows, np.arange(people))


def _round(
    embedders: dict[str, Embedder], photographs: list[Asked], galleries: dict[int, Templates]
) -> dict[tuple[str, str], list[dict[str, float]]]:
    """Ask about every photograph by every file."""
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    for asked in photographs:
        for name, embedder in embedders.items():
            found.setdefault((name, asked.kind), []).append(_stages(embedder, asked.path, galleries))
    print({key: one[0] for key, one in found.items()}, file=sys.stderr)
    return found


def _stages(embedder: Embedder, path: Path, galleries: dict[int, Templates]) -> dict[str, float]:
    """Time what `facectl faces identify` does with a photograph, stage by stage and as a whole; milliseconds."""
    spec = embedder.spec.input
    times = [perf_counter()]
    picture = image.decode(image.read(path))
    times.append(perf_counter())
    faces = shared_detector().detect(picture)
    times.append(perf_counter())
    crops = [crop(picture, face, spec) for face in faces]
    times.append(perf_counter())
    embeddings = embedder.engine.infer(np.stack(crops))
    times.append(perf_counter())
    stages = dict(zip(STAGES, (1e3 * np.diff(times)).tolist(), strict=True))
    search(embeddings, galleries[min(galleries)])  # the first search of a photograph takes longest, in any gallery
    for people, templates in galleries.items():
        started = perf_counter()
        search(embeddings, templates)
        stages[f"search {people}"] = 1e3 * (perf_counter() - started)
    return {**stages, "whole": _whole(embedder, path, galleries[max(galleries)])}


def _whole(embedder: Embedder, path: Path, templates: Templates) -> float:
    """Time the reading that the command uses, with the largest gallery; milliseconds."""
    reading = faces_in(embedder.spec.input, by_people(templates, THRESHOLD, 1))
    started = perf_counter()
    loaded = reading.load(Source(path.name, path))
    for answer in reading.infer(embedder.engine, [loaded]):
        reading.say(Row(path.name), answer)
    return 1e3 * (perf_counter() - started)


def _medians(times: list[dict[str, float]]) -> dict[str, float]:
    """Give the median of each stage over photographs and rounds."""
    return {name: float(np.median([one[name] for one in times])) for name in times[0]}


def text(figures: dict[str, Any]) -> str:
    """Lay out the table."""
    searches = tuple(f"search {people}" for people in PEOPLE)
    named = tuple(f"search {people:,}" for people in PEOPLE)
    rows = [("ms a photograph", *STAGES, *named, f"whole, {max(PEOPLE):,}")]
    for name, one in figures.items():
        cells = (f"{one[stage]:.1f}" for stage in STAGES)
        rows.append((name, *cells, *(f"{one[key]:.3f}" for key in searches), f"{one['whole']:.1f}"))
    return columns(rows, right=range(1, len(rows[0])))


if __name__ == "__main__":
    main()
