"""Open set: 100 people enrolled with one photograph each, 1,000 others as strangers, by galleries, ten draws.

Of those who are enrolled, their other photographs are asked about: at rank 1 the most alike is the right one, at a FAR
it is also alike enough, where so many of the strangers' photographs are alike enough to anybody. A photograph in which
no face is found counts as nobody's. All draws are of the same photographs: their spread is that of who is drawn.
"""

import hashlib
import sys
import tempfile
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from common import keep, spread, test_data
from facectl_runtime.devices import Device
from facectl_runtime.faces.embedder import Embedder, embed, open_embedder
from facectl_runtime.faces.gallery import Gallery
from facectl_runtime.faces.search import Templates, search
from facectl_runtime.labelled import choose_images
from facectl_runtime.output import columns
from facectl_runtime.threshold.rates import lowest_threshold, most_accepted
from lfw_view2 import CROPS, export_facenet, link_development, link_people

ENROLLED, STRANGERS, DRAWS = 100, 1000, 10
EACH = 5
"""Photographs of a person at most."""
FARS = {"FAR 1e-2": 1e-2, "FAR 1e-3": 1e-3}
RANK_1 = "rank 1"
NOBODY = -1.0
"""The similarity of a photograph in which no face is found."""

Vectors = dict[str, npt.NDArray[np.float32]]


class Draw(NamedTuple):
    """Who is who: (person, path) of photographs."""

    enrolled: list[tuple[str, str]]
    asked: list[tuple[str, str]]
    strangers: list[tuple[str, str]]


def main() -> None:
    """Embed everybody's photographs by each file, enrol and search in each draw, and print and keep the table."""
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        link_development(scratch / "development")
        everybody = [person.name for person in test_data("lfw").iterdir()]
        people = link_people(scratch / "people", everybody, EACH)
        draws = [draw(scratch / "people", seed) for seed in range(DRAWS)]
        for variant, crop in CROPS.items():
            for name, path in export_facenet(scratch, variant).items():
                rounds = _rounds(path, scratch, draws, detect=variant == "facenet")
                figures[f"{crop}, {name}"] = {key: spread([one[key] for one in rounds]) for key in rounds[0]}
    counts = {"people": people, "asked": mean(len(one.asked) for one in draws)}
    counts["stranger_photographs"] = mean(len(one.strangers) for one in draws)
    print(text(figures, counts))
    keep("open_set", {"enrolled": ENROLLED, "strangers": STRANGERS, "draws": DRAWS, **counts, "files": figures})


def draw(photographs: Path, seed: int) -> Draw:
    """Draw who is enrolled, with which photograph, and who is a stranger."""
    random = np.random.default_rng(seed)
    people = [str(person) for person in random.permutation(sorted(path.name for path in photographs.iterdir()))]
    enrolled, asked = [], []
    for person in people[:ENROLLED]:
        first, *others = random.permutation(_paths(photographs, person))
        enrolled.append((person, str(first)))
        asked += [(person, str(path)) for path in others]
    outside = people[ENROLLED : ENROLLED + STRANGERS]
    return Draw(enrolled, asked, [(person, path) for person in outside for path in _paths(photographs, person)])


def _paths(photographs: Path, person: str) -> list[str]:
    return [f"{person}/{path.name}" for path in sorted((photographs / person).iterdir())]


def _rounds(model: Path, scratch: Path, draws: list[Draw], *, detect: bool) -> list[dict[str, float]]:
    """Embed photographs as `facectl faces enroll` does, without `detect` as with its --no-detect; measure each draw."""
    embedder, photographs = open_embedder(model, Device("cpu")), scratch / "people"
    vectors = embed(embedder, choose_images(photographs, None, None), lambda _: None, None, detect=detect).by_path()
    rounds = []
    for one in draws:
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            rounds.append(_round(_enrol(Path(folder), embedder, photographs, vectors, one), vectors, one))
    print(f"{model.name}: {rounds[0]}", file=sys.stderr)
    return rounds


def _enrol(folder: Path, embedder: Embedder, photographs: Path, vectors: Vectors, one: Draw) -> Templates:
    """Make a gallery of those who are enrolled, and give what it compares faces with."""
    spec = embedder.spec
    with Gallery.open(folder / "people.gallery", spec.embedding_id, spec.output.size, write=True) as gallery:
        for person, path in one.enrolled:
            if path in vectors:
                content = hashlib.sha256((photographs / path).read_bytes()).hexdigest()
                gallery.add(person, vectors[path], path, content)
        return gallery.templates("all")


def _round(templates: Templates, vectors: Vectors, one: Draw) -> dict[str, float]:
    """Give the share of the photographs asked about that are named rightly: at rank 1, and at each FAR."""
    names, similarities = _best(templates, vectors, one.asked)
    right = np.array([name == person for name, (person, _) in zip(names, one.asked, strict=True)])
    strangers = _best(templates, vectors, one.strangers)[1]
    rates = {RANK_1: float(right.mean())}
    for name, far in FARS.items():
        least = lowest_threshold(strangers, most_accepted(far, len(strangers)))
        rates[name] = float(np.mean(right & (similarities >= np.float32(least))))
    return rates


def _best(
    templates: Templates, vectors: Vectors, asked: list[tuple[str, str]]
) -> tuple[list[str], npt.NDArray[np.float32]]:
    """Find who is most like each photograph, and how much; `NOBODY` where it has no embedding."""
    there = [number for number, (_, path) in enumerate(asked) if path in vectors]
    found = search(np.stack([vectors[asked[number][1]] for number in there]), templates)
    names, similarities = [""] * len(asked), np.full(len(asked), NOBODY, np.float32)
    similarities[there] = found.similarities[:, 0]
    for number, person in zip(there, found.people[:, 0], strict=True):
        names[number] = templates.names[person]
    return names, similarities


def text(figures: dict[str, Any], counts: dict[str, float]) -> str:
    """Lay out the table, with what was drawn from."""
    rows = [("FaceNet", *(cell for name in (RANK_1, *FARS) for cell in (name, "spread")))]
    for name, one in figures.items():
        cells = (f"{100 * value:.2f}" for key in (RANK_1, *FARS) for value in (one[key]["mean"], one[key]["spread"]))
        rows.append((name, *cells))
    said = (
        f"of {counts['people']:,} people {ENROLLED} are enrolled; {counts['asked']:.0f} photographs of them are asked "
        f"about, and {counts['stranger_photographs']:,.0f} of {STRANGERS:,} strangers; {DRAWS} draws"
    )
    return f"{columns(rows, right=range(1, 7))}\n{said}"


if __name__ == "__main__":
    main()
