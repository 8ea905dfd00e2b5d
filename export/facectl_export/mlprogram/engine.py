"""Core ML packages as an engine for runtime: by Core ML itself on a Mac, by their program on ONNX Runtime elsewhere."""

import shutil
from functools import partial
from pathlib import Path

from msgspec.structs import replace

from facectl_export.mlprogram.native import is_there, open_core_ml
from facectl_export.mlprogram.onnx import check_labels, to_onnx
from facectl_runtime.coreml_metadata import graph_digest
from facectl_runtime.devices import Device
from facectl_runtime.engines.base import Engine, Format
from facectl_runtime.engines.coreml import CORE_ML, DECLARED_TYPES, REFERENCE, read_spec
from facectl_runtime.engines.onnx import open_session
from facectl_runtime.files import exchange, scratch_beside
from facectl_runtime.spec import ModelSpec


def open_reference(path: Path, spec: ModelSpec, device: Device, declared_types: bool = False) -> Engine:
    """Read a package's program, and run it on ONNX Runtime.

    In 32-bit floats; with `declared_types` each value that the program declares to be a 16-bit float is rounded to one.
    Raises `ModelError`, and `DeviceError` where the device asked for is not there.
    """
    program = to_onnx(path, declared_types, answers_alone=True)
    check_labels(program, spec)
    engine = open_session(path, spec, device, program.content())
    how = ", declared types" if declared_types else ""
    return replace(engine, name=f"{REFERENCE}{how} ({engine.name})")


def sign(path: Path, spec: ModelSpec) -> None:
    """Put another spec into a package: it is there as it was, or whole. Raises `MissingExtraError`."""
    from facectl_export.formats.coreml import require_packages, write_spec

    require_packages()
    with scratch_beside(path) as scratch:
        new = scratch / path.name
        shutil.copytree(path, new)
        write_spec(new, spec)
        exchange(new, path)


def _open_best(path: Path, spec: ModelSpec, device: Device) -> Engine:
    return (open_core_ml if is_there() else open_reference)(path, spec, device)


FORMAT = Format(
    read_spec,
    _open_best,
    graph_digest,
    {CORE_ML: open_core_ml, REFERENCE: open_reference, DECLARED_TYPES: partial(open_reference, declared_types=True)},
    sign=sign,
)
