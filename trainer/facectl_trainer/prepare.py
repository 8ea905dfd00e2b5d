"""Preparation: from a data folder to features in three parts, with what could not be used named."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL

from facectl_runtime import __version__
from facectl_runtime.errors import UsageError
from facectl_runtime.image import DECODE_VERSION
from facectl_runtime.labelled import PARTS, Image, Part, Split, class_folders, content_hash, presplit
from facectl_runtime.progress import progress
from facectl_runtime.sources import display_name
from facectl_runtime.spec import InputSpec
from facectl_trainer.backbones import Backbone
from facectl_trainer.data.cache import FeatureCache
from facectl_trainer.data.split import Fold, conflicts, fingerprint, split
from facectl_trainer.features import Features, extract
from facectl_trainer.fit import Truth
from facectl_trainer.recipe import SplitPlan


@dataclass(frozen=True)
class Prepared:
    """Photographs as a head is trained on them."""

    split: Split
    fingerprint: str
    labels: tuple[str, ...]
    features: dict[str, Features]
    """Path → float32, d."""
    left_out: dict[str, str]
    """Path → why."""

    def arrays(self, part: Part) -> tuple[Features, Truth]:
        """Give (N × d features, N class indices) of a part."""
        images = self.split.parts[part]
        return np.stack([self.features[i.path] for i in images]), np.array([self.labels.index(i.label) for i in images])


def prepare(
    root: Path,
    body: Backbone,
    weights: Path,
    spec: InputSpec,
    plan: SplitPlan,
    seed: int,
    fold: Fold | None,
    quiet: bool,
) -> Prepared:
    """List, hash, decode and split the images of `root`; those that cannot be used are left out.

    A folder that is split already keeps its parts. Raises `UsageError` where too little is left to train on.
    """
    given = presplit(root)
    if given and fold:
        raise UsageError(f"{root}: split already into train, val and test; leave --fold out")
    images = [image for part in given.values() for image in part] if given else class_folders(root)
    if len(labels := sorted({image.label for image in images})) < 2:
        raise UsageError(f"{root}: only one class, {labels[0]}; a classifier needs two or more folders")
    with progress("reading photographs", len(images), quiet) as advance:
        hashes, left_out = _hash(root, images, advance)
    images = [image for image in images if image.path in hashes]
    left_out |= dict.fromkeys((i.path for i in conflicts(images, hashes)), "the same picture stands under two labels")
    left_out |= _straddling(given, hashes) if given else {}
    images = [image for image in images if image.path not in left_out]
    decoder = f"{__version__}:{DECODE_VERSION}:{PIL.__version__}"
    cache = FeatureCache(f"{decoder}:{body.name}:{body.weights.sha256}:{spec}")
    with progress(f"features by {body.name}", len(images), quiet) as advance:
        features, unreadable = extract(lambda: body.build(weights), spec, root, images, hashes, cache, advance)
    images = [image for image in images if image.path in features]
    _check_classes(root, labels, images)
    if given:
        parts = _usable(root, given, features, labels)
    else:
        parts = split(images, hashes, test=plan.test, val=plan.val, seed=seed, fold=fold)
    recorded = Split(str(root.resolve()), parts, {image.path: hashes[image.path] for image in images})
    return Prepared(recorded, fingerprint(images, hashes), tuple(labels), features, left_out | unreadable)


def _hash(data: Path, images: Sequence[Image], advance: Callable[[int], None]) -> tuple[dict[str, str], dict[str, str]]:
    """Give ({path: SHA-256}, {path: why it has none})."""
    hashes, left_out = {}, {}
    for item in images:
        path = data / item.path
        advance(1)
        try:
            item.path.encode()  # split.json could not hold it
            if path.is_file():
                hashes[item.path] = content_hash(path)
            else:
                left_out[item.path] = "is not a file, or a link to nothing; give an image file"
        except UnicodeEncodeError:
            left_out[display_name(item.path)] = "its name is not UTF-8; rename it"
        except OSError as error:
            left_out[item.path] = f"cannot be read: {error.strerror}; check its permissions"
    return hashes, left_out


def _straddling(given: Mapping[Part, Sequence[Image]], hashes: Mapping[str, str]) -> dict[str, str]:
    """Find pictures that stand in a later part of a given split too: test keeps its own, then val."""
    left_out: dict[str, str] = {}
    seen: dict[str, Part] = {}
    for part in reversed(PARTS):
        known = [(image.path, hashes[image.path]) for image in given[part] if image.path in hashes]
        left_out |= {path: f"the same picture stands in {seen[content]}" for path, content in known if content in seen}
        seen |= {content: part for _, content in known if content not in seen}
    return left_out


def _usable(
    root: Path, given: Mapping[Part, Sequence[Image]], features: Mapping[str, Features], labels: Sequence[str]
) -> dict[Part, list[Image]]:
    """Keep of a given split what has features. Raises `UsageError` where a part, or a class of train, is then empty."""
    parts = {part: [image for image in chosen if image.path in features] for part, chosen in given.items()}
    _check_classes(root / "train", labels, parts["train"])
    if empty := [part for part in PARTS if not parts[part]]:
        raise UsageError(f"{root / empty[0]}: none of its images can be used; add some")
    return parts


def _check_classes(data: Path, labels: Iterable[str], images: Iterable[Image]) -> None:
    counts = Counter(image.label for image in images)
    if empty := [label for label in labels if not counts[label]]:
        raise UsageError(f"{data}: no readable images in the class {', '.join(empty)}; add some, or remove the folder")
