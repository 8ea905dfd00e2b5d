"""Features: what a frozen trunk makes of photographs and their copies, computed once and kept by content."""

import hashlib
import sys
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from facectl_runtime import image
from facectl_runtime.errors import ImageError
from facectl_runtime.labelled import Image
from facectl_runtime.pipeline import decode_ahead
from facectl_runtime.spec import InputSpec
from facectl_trainer.augment import CopiesPlan, Transforms, apply, copies
from facectl_trainer.data.cache import FeatureCache

Features = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
BATCH = 32
ORIGINAL = copies(CopiesPlan(), 1)
_AT_ONCE = 2**25
"""Values held in memory beside those written: 128 MiB."""


def load(path: Path, content: str, spec: InputSpec) -> Pixels:
    """Decode a photograph whose SHA-256 is `content`. Raises `ImageError`, also where it is another by now.

    What was hashed when training began is what is trained on, and what the cache holds under that name.
    """
    data = image.read(path)
    if hashlib.sha256(data).hexdigest() != content:
        raise ImageError("has changed since training began")
    return image.load(data, spec)


@dataclass(frozen=True)
class Extractor:
    """Computes features that the cache does not hold."""

    trunk: Callable[[Pixels], Features]
    """Makes N × d of N × H × W × 3."""
    spec: InputSpec
    root: Path
    hashes: Mapping[str, str]
    """The content of each path."""
    cache: FeatureCache
    changes: Sequence[tuple[str, Transforms]] = tuple(ORIGINAL)
    """Each copy's name and transform."""
    kept: int = sys.maxsize
    """Of so many of the first images, what is computed is put into the cache."""

    def extract(self, images: Sequence[Image], out: Features, advance: Callable[[int], None]) -> dict[str, str]:
        """Write the features of every image in each of its copies into `out`, N × copies × d.

        Gives {path: error} of the images that cannot be read; their rows stay as they were.
        """
        errors: dict[str, str] = {}
        kept = {self.hashes[item.path] for item in images[: self.kept]}
        step = min(max(_AT_ONCE // max(out[0].size, 1), BATCH), 4096) if len(out) else 1
        for start in range(0, len(images), step):
            some = images[start : start + step]
            known = self.cache.get(key for item in some for key in self._keys(item.path))
            missing = {self.hashes[item.path]: item for item in some if not known.keys() >= set(self._keys(item.path))}
            advance(len(some) - len(missing))
            unreadable = self._compute(list(missing.values()), known, advance, kept)
            for number, item in enumerate(some, start):
                if self.hashes[item.path] in unreadable:
                    errors[item.path] = unreadable[self.hashes[item.path]]
                else:
                    out[number] = [known[key] for key in self._keys(item.path)]
        return errors

    def _keys(self, path: str) -> list[str]:
        content = self.hashes[path]
        return [f"{content}:{name}" if name else content for name, _ in self.changes]

    def _compute(
        self, images: Sequence[Image], known: dict[str, Features], advance: Callable[[int], None], kept: Set[str]
    ) -> dict[str, str]:
        """Add what is missing to `known`, and to the cache what is of the contents `kept`; gives {content: error}."""
        errors: dict[str, str] = {}
        for batch in decode_ahead(
            images, lambda item: load(self.root / item.path, self.hashes[item.path], self.spec), BATCH, eager=False
        ):
            errors |= {self.hashes[item.path]: str(error) for item, error in batch if isinstance(error, ImageError)}
            good = [(item.path, pixels) for item, pixels in batch if not isinstance(pixels, ImageError)]
            for number, (name, change) in enumerate(self.changes):
                lacking = [(key, pixels) for path, pixels in good if (key := self._keys(path)[number]) not in known]
                if lacking:
                    stacked = np.stack([pixels for _, pixels in lacking])
                    vectors = self.trunk(apply(stacked, change) if name else stacked)
                    fresh = dict(zip((key for key, _ in lacking), vectors, strict=True))
                    self.cache.put({key: fresh[key] for key in fresh if key.partition(":")[0] in kept})
                    known |= fresh
            advance(len(batch))
        return errors
