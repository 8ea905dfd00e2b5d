"""Replay of a model's golden vectors: the same images, the same answers, on this machine."""

from pathlib import Path

import msgspec
import numpy as np

from facectl_runtime import image
from facectl_runtime.devices import Device
from facectl_runtime.engines import AUTO, format_of
from facectl_runtime.errors import ImageError, ModelError
from facectl_runtime.golden import pixels
from facectl_runtime.spec import Golden, InputSpec


class Replay(msgspec.Struct, frozen=True):
    """What a replay found."""

    images: int
    """Replayed; 0 where the graph is not the one that was exported."""
    largest: float
    """Largest |difference| from the answers expected; infinite where an answer is not a number, or there is none."""
    tolerance: float
    intact: bool
    """Whether the graph is, byte by byte, the one that was exported; true where the spec does not say."""
    engine: str
    """Empty, like the device, where nothing was replayed."""
    device: str

    @property
    def passed(self) -> bool:
        """Whether the graph is the one exported, and every answer lay within the tolerance."""
        return self.intact and self.largest <= self.tolerance


def replay(model: Path, device: Device, engine: str = AUTO) -> Replay:
    """Answer the golden images of `model`, each by itself. Raises `ModelError` where it carries none."""
    reader = format_of(model, engine)
    spec = reader.read_spec(model)
    if spec.golden is None:
        raise ModelError(
            f"{model}: it carries no golden vectors to replay; verify the files that `facectl export` wrote"
        )
    if not reader.intact(model, spec):
        return Replay(0, float("inf"), spec.golden.tolerance, False, "", "")  # a damaged graph is not worth running
    opened = reader.engine(model, spec, device)
    answers = [opened.infer(pixels[None])[0] for pixels in _pixels(model, spec.golden, spec.input)]
    expected = np.array([golden.expected for golden in spec.golden.images])
    difference = float(np.abs(np.array(answers, np.float64) - expected).max())
    largest = difference if np.isfinite(difference) else float("inf")
    return Replay(len(answers), largest, spec.golden.tolerance, True, opened.name, opened.device)


def _pixels(model: Path, golden: Golden, spec: InputSpec) -> list[image.Pixels]:
    try:
        return [pixels(item, spec) for item in golden.images]
    except ImageError as error:
        raise ModelError(f"{model}: a golden image in it cannot be replayed: {error}; export it again") from error
