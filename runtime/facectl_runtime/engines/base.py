"""What an engine and a model format are."""

import re
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from facectl_runtime.devices import Device
from facectl_runtime.errors import ModelError, UsageError, reason
from facectl_runtime.spec import SPEC_KEY, ModelSpec, decode

Pixels = npt.NDArray[np.uint8]
Answers = npt.NDArray[np.float32]
Values = npt.NDArray[Any]


class Engine(msgspec.Struct, frozen=True):
    """A model that is ready to answer."""

    name: str
    """Program and version, such as `onnxruntime 1.31.1`."""
    device: str
    """The device used: `cpu` or `cuda:N`; `any` where Core ML chooses."""
    infer: Callable[[Pixels], Answers]
    """uint8 RGB, N × height × width × 3 → float32, N × output size."""
    batch: int | None = None
    """Images that are always computed at once, fewer being filled up; None where any number is."""
    no_gpu: str | None = None
    """Why the GPU that this program could use did not start, where `auto` went on without it."""
    lanes: int = 1
    """How many batches are best answered at the same time, where there are many."""
    many: int | None = None
    """Images that are best given at once, where there are many; None where the device decides."""


class Tensor(msgspec.Struct, frozen=True):
    """What a graph takes or gives."""

    name: str
    dtype: str
    """In NumPy's words, such as `float32`; the engine's own for what is no array of numbers."""
    shape: tuple[int | None, ...]
    """None for a side that is open."""
    step: float = 0.0
    """A quantized tensor's value is step × (number - zero); 0 where the numbers are the values."""
    zero: int = 0

    def __str__(self) -> str:
        return f"{self.dtype} {' × '.join('N' if side is None else str(side) for side in self.shape)}"


class Graph(msgspec.Struct, frozen=True):
    """A graph that is ready to run, whatever it takes and gives."""

    engine: str
    """As `Engine.name`."""
    device: str
    """As `Engine.device`."""
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    run: Callable[[Values], Values]
    """Values of the first input → those of the first output. Raises `ModelError`."""
    no_gpu: str | None = None
    """As `Engine.no_gpu`."""
    lanes: int = 1
    """As `Engine.lanes`; `run` may then be called by several threads at once."""

    @property
    def batch(self) -> int | None:
        """Images that it takes at once; None where any number is."""
        return next((tensor.shape[0] or None for tensor in self.inputs if tensor.shape), None)


OpenEngine = Callable[[Path, ModelSpec, Device], Engine]
"""Builds the engine of a file that is intact. Raises `ModelError`, and `DeviceError` as `Format.open` does."""


class Inside(msgspec.Struct, frozen=True):
    """How a file of any maker is looked into, and given a spec. All raise `ModelError`."""

    graph: Callable[[Path, Device], Graph]
    metadata: Callable[[Path], Mapping[str, str | bytes]]
    weights: Callable[[Path], Mapping[str, int]]
    """How many bytes of weights the file holds of each type, such as `float32`."""
    write_spec: Callable[[Path, Path, ModelSpec], None]
    """File, the copy to write, the spec to put into it, where the digest of the copy is then filled in."""


class Format(msgspec.Struct, frozen=True):
    """How one kind of model is read."""

    read_spec: Callable[[Path], ModelSpec]
    """Raises `ModelError`."""
    engine: OpenEngine
    digest: Callable[[Path], str] | None = None
    """The SHA-256 of all that the spec is not, where the format can tell it. Raises `ModelError`."""
    others: Mapping[str, OpenEngine] = {}
    """By name, the engines that can be asked for in the place of `engine`."""
    inside: Inside | None = None
    """Where files of others can be used."""
    sign: Callable[[Path, ModelSpec], None] | None = None
    """Puts another spec into a model, in place of its own: it is there as it was, or whole. Raises `ModelError`."""
    library: Callable[[], Any] | None = None
    """Imports what `engine` needs, where that takes a while and no file. Raises `MissingExtraError`."""

    def by(self, engine: str, path: Path) -> "Format":
        """Give this format with another engine. Raises `UsageError` for a name that is not among `others`."""
        if not self.others:
            raise UsageError(
                f"{path}: it has one engine; --engine and --declared-types are of an .mlpackage: leave them out"
            )
        if engine not in self.others:
            raise UsageError(f"{path}: no engine {engine!r} for it; use {' or '.join(self.others)}")
        return msgspec.structs.replace(self, engine=self.others[engine])

    def intact(self, path: Path, spec: ModelSpec) -> bool:
        """Tell whether a file is, byte by byte, the one that `spec` was written into; true where none can say."""
        return not spec.graph_sha256 or self.digest is None or self.digest(path) == spec.graph_sha256

    def open(self, path: Path, spec: ModelSpec, device: Device) -> Engine:
        """Make a file ready to answer; a damaged one might answer wrongly, or crash the program that runs it.

        Raises `ModelError`, and `DeviceError` where the device asked for is not there.
        """
        with ThreadPoolExecutor(1, "digest") as pool:
            # Beside one another: both take a noticeable part of a cold start.
            intact = pool.submit(self.intact, path, spec)
            if self.library:
                self.library()
        if not intact.result():
            raise ModelError(f"{path}: it is not as it was exported: damaged, or edited since; copy or export it again")
        return self.engine(path, spec, device)


def signing(write_spec: Callable[[Path, Path, ModelSpec], None]) -> Callable[[Path, ModelSpec], None]:
    """Make of a function that writes a copy of a file with another spec one that puts it in the file's place."""

    def sign(path: Path, spec: ModelSpec) -> None:
        from shutil import copymode

        from facectl_runtime.files import scratch_beside

        with scratch_beside(path) as scratch:
            write_spec(path, scratch / path.name, spec)
            copymode(path, scratch / path.name)  # who may read it, still may, and nobody else
            (scratch / path.name).replace(path)

    return sign


DESCRIBE = (
    "make it one with: facectl inspect MODEL --labels FILE --resize … --mean … --std … --write-spec COPY "
    "(`facectl predict` takes such options itself)"
)
"""What can be done with a file of others."""


def in_batches(run: Callable[[Pixels], Answers], size: int) -> Callable[[Pixels], Answers]:
    """Let `run`, which takes exactly `size` images, answer any number from 1: the last batch repeats its last image."""

    def infer(pixels: Pixels) -> Answers:
        parts = []
        for start in range(0, len(pixels), size):
            some = pixels[start : start + size]
            padding = np.repeat(some[-1:], size - len(some), axis=0)
            parts.append(run(np.concatenate([some, padding]))[: len(some)])
        return np.concatenate(parts)

    return infer


def listed(tensors: Iterable[Tensor]) -> str:
    """Give types and shapes on one line."""
    return ", ".join(map(str, tensors)) or "nothing"


def failing(path: Path, program: str, error: Exception) -> ModelError:
    """Say that an engine fails on what it is given, and what to do."""
    why = reason(error)
    short = re.search(r"(?i)alloc|out of memory", why)
    advice = "end what takes the device's memory, or use --device cpu" if short else "verify it, or copy it again"
    return ModelError(f"{path}: {program} fails on it ({why}); {advice}")


class NoSpecError(ModelError):
    """A model says nothing of itself."""


def spec_in(metadata: Mapping[str, str | bytes], path: Path, otherwise: str) -> ModelSpec:
    """Read the spec out of a file's metadata; `otherwise` says what else can be done with a file that has none.

    Raises `ModelError`.
    """
    text = metadata.get(SPEC_KEY)
    if text is None:
        raise NoSpecError(
            f"{path}: it carries no {SPEC_KEY}, so its labels and the resize it was trained with are unknown and no "
            f"answer could be trusted; use a file that `facectl export` wrote, or {otherwise}"
        )
    return decode(text, str(path))
