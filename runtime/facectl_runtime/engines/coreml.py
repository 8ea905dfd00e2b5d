"""Core ML packages: what they say of themselves is read anywhere; running one is for a package that hands that in."""

from functools import partial
from pathlib import Path

from facectl_runtime.coreml_metadata import graph_digest, read_metadata
from facectl_runtime.devices import Device
from facectl_runtime.engines.base import Engine, Format, spec_in
from facectl_runtime.errors import ModelError, NoEngineError
from facectl_runtime.handed_in import entry_points
from facectl_runtime.spec import ModelSpec

CORE_ML, REFERENCE, DECLARED_TYPES = "coreml", "reference", "declared-types"
"""Engines by name: Core ML itself, what stands in for it anywhere, and that with values rounded to declared types."""


def read_spec(path: Path) -> ModelSpec:
    """Read the spec out of a package. Raises `ModelError`."""
    return spec_in(read_metadata(path), path, "make ONNX of this one with: facectl convert")


def open_program(path: Path, spec: ModelSpec, device: Device, engine: str | None = None) -> Engine:
    """Run a package by the format that an entry point of `facectl.engines` offers under the name `mlpackage`.

    Raises `NoEngineError` where there is none.
    """
    other = _offered(path)
    return (other.by(engine, path) if engine else other).engine(path, spec, device)


def _offered(path: Path) -> Format:
    """Give the format that runs packages here. Raises `NoEngineError` where there is none."""
    offered = entry_points("facectl.engines").get("mlpackage")
    if offered is None:
        raise NoEngineError(
            f"{path}: nothing installed here runs Core ML files; use an .onnx or .tflite of the same export, or this "
            "one on a Mac or an iPhone"
        )
    other = offered.load()
    if not isinstance(other, Format):
        raise ModelError(f"{offered.reference}: not a facectl Format; install the package that offers it again")
    return other


def sign(path: Path, spec: ModelSpec) -> None:
    """Put another spec into a package, where what is offered can write one. Raises `ModelError`."""
    writer = _offered(path).sign
    if writer is None:
        raise NoEngineError(f"{path}: nothing installed here writes Core ML files: pip install 'facectl[export]'")
    writer(path, spec)


FORMAT = Format(
    read_spec,
    open_program,
    graph_digest,
    {name: partial(open_program, engine=name) for name in (CORE_ML, REFERENCE, DECLARED_TYPES)},
    sign=sign,
)
