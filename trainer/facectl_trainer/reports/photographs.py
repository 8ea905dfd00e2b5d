"""The photographs of a run, as its model sees them; those that are gone or changed since are counted."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from facectl_runtime.errors import ImageError
from facectl_runtime.image import Pixels, load
from facectl_runtime.labelled import Image, Part, content_hash
from facectl_trainer.run import Run


class Photographs:
    """Loads photographs of a run's split, and remembers which could not be shown."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._load = lru_cache(maxsize=512)(self._read)
        self.missing: dict[str, str] = {}
        """Path → why."""

    def of(self, part: Part) -> list[Image]:
        """Give the images of a part of the split."""
        return self._run.split.parts.get(part, [])

    def load(self, path: str) -> Pixels | None:
        """Give a photograph as the model sees it, uint8 RGB, height × width × 3, or None where it has gone."""
        return self._load(path)

    def present(self, images: Sequence[Image], wanted: Sequence[int]) -> list[tuple[int, Pixels]]:
        """Load those of `images` at the positions `wanted` that can be shown, each with its position."""
        loaded = ((place, self.load(images[place].path)) for place in wanted)
        return [(place, pixels) for place, pixels in loaded if pixels is not None]

    def _read(self, path: str) -> Pixels | None:
        file = Path(self._run.split.root) / path
        try:
            if content_hash(file) != self._run.split.hashes.get(path):
                self.missing[path] = "changed since"
                return None
            return load(file, self._run.spec.input)
        except OSError as error:
            self.missing[path] = error.strerror or "cannot be read"
        except ImageError as error:
            self.missing[path] = str(error)
        return None
