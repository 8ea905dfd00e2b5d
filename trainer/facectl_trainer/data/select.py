"""Which classes and images of a data set to use: the most photographed, and as many of each."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from facectl_runtime.errors import UsageError
from facectl_runtime.labelled import Image


def most_photographed(images: Sequence[Image], top: int) -> list[Image]:
    """Keep the images of the `top` labels that have the most, in their order. Of equals the first by name is kept.

    Raises `UsageError` where `top` is below 2, or over the number of labels.
    """
    counts = Counter(image.label for image in images)
    if top < 2:
        raise UsageError(f"top {top}: at least 2 classes are needed to tell apart; there are {len(counts)} in the data")
    if top > len(counts):
        raise UsageError(f"top {top}: the data has only {len(counts)} classes; ask for at most that many")
    kept = set(sorted(counts, key=lambda label: (-counts[label], label))[:top])
    return [image for image in images if image.label in kept]


def balanced(images: Sequence[Image], hashes: Mapping[str, str], per_class: int, seed: int) -> list[Image]:
    """Keep at most `per_class` images of each label, sorted by path.

    `hashes` gives the SHA-256 of each path's content; copies of one content under one label count once, as the first
    by path. Those of least SHA-256(seed, content) are kept, so that an image added to the data displaces at most one
    other, and neither names nor order matter. Raises `UsageError` where `per_class` is below 1.
    """
    if per_class < 1:
        raise UsageError(f"per class {per_class}: at least 1 image of each class is needed")
    classes: dict[str, dict[str, Image]] = defaultdict(dict)
    for image in sorted(images, key=lambda image: image.path):
        classes[image.label].setdefault(hashes[image.path], image)

    def rank(content: str) -> str:
        return hashlib.sha256(f"{seed}:{content}".encode()).hexdigest()

    kept = [units[content] for units in classes.values() for content in sorted(units, key=rank)[:per_class]]
    return sorted(kept, key=lambda image: image.path)
