"""Conversion of a package to an ONNX file, whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from facectl_export.mlprogram.errors import UnsupportedError, damaged
from facectl_export.mlprogram.onnx import Converted, check_labels, to_onnx
from facectl_runtime.coreml_metadata import graph_digest, read_metadata
from facectl_runtime.devices import Device
from facectl_runtime.engines import coreml as core_ml
from facectl_runtime.engines import format_of
from facectl_runtime.engines import onnx as onnx_engine
from facectl_runtime.errors import FacectlError, GateError, ModelError, UsageError, reason
from facectl_runtime.files import scratch_beside
from facectl_runtime.onnx_metadata import graph_digest as onnx_digest
from facectl_runtime.sources import display_name
from facectl_runtime.spec import SPEC_KEY, ModelSpec, decode, encode
from facectl_runtime.verify import replay

if TYPE_CHECKING:
    from onnx import ModelProto

LABELS_KEY = "labels"
"""Under which a file without a spec has its labels, as a JSON array."""


class End(msgspec.Struct, frozen=True):
    """An input or an output."""

    name: str
    type: str
    """Of its elements, as ONNX Runtime calls it: `uint8`, `float`, `string`."""
    shape: tuple[int | str, ...]


class Conversion(msgspec.Struct, frozen=True):
    """What became of a package."""

    out: str
    ops: int
    """Of the program."""
    bytes: int
    inputs: tuple[End, ...]
    outputs: tuple[End, ...]
    labels: tuple[str, ...]
    replayed: float | None
    """Largest |difference| from the answers to its golden images; None where the package has none."""


def convert(package: Path, out: Path, declared_types: bool = False, force: bool = False) -> Conversion:
    """Write the program of a package as ONNX.

    A package with a spec becomes an exported file like others: uint8 pixels to answers, the spec in it. Raises
    `UsageError` for a bad destination, `ModelError` for what is no usable package, and `GateError` where the file does
    not give the answers to the golden images; nothing is then written.
    """
    spec = _spec(package)
    with _said_of(out):
        _check(package, out, force)
    program = to_onnx(package, declared_types, answers_alone=spec is not None)
    rounded = ", each 16-bit float rounded to one" if declared_types else ""
    program.model.doc_string = f"Converted from {display_name(package.name)}{rounded}."
    if spec:
        check_labels(program, spec)
    elif program.labels:
        _add(program.model, LABELS_KEY, msgspec.json.encode(program.labels).decode())
    content = program.content()
    _check_shapes(program)
    with _said_of(out), scratch_beside(out) as scratch:
        new = scratch / out.name
        new.write_bytes(content)
        replayed = _sign(new, program, spec) if spec else None
        inputs, outputs = _ends(package, new)
        size = new.stat().st_size
        new.replace(out)
    return Conversion(display_name(out), program.ops, size, inputs, outputs, program.labels, replayed)


def _check_shapes(program: Converted) -> None:
    """Raise `ModelError` where what a program declares is not what it computes."""
    import onnx

    try:
        onnx.shape_inference.infer_shapes(program.model, check_type=True, strict_mode=True)
    except onnx.shape_inference.InferenceError as error:
        raise damaged(program.package, "program", f"it declares another shape than it has: {reason(error)}") from error


@contextmanager
def _said_of(out: Path) -> Iterator[None]:
    """Say of the destination what the system says of a file that is on its way there."""
    try:
        yield
    except OSError as error:
        why = f"cannot be written ({error.strerror or reason(error)}); nothing there was changed"
        raise FacectlError(f"{out}: {why}; make room, or give another place") from error


def _check(package: Path, out: Path, force: bool) -> None:
    """Raise `UsageError` for a place that cannot be written to."""
    if out.suffix.lower() != ".onnx":
        raise UsageError(f"{out}: what is written is ONNX; give a name that ends in .onnx, such as model.onnx")
    if out.is_dir():
        raise UsageError(f"{out}: a folder stands there; give another name")
    if package.resolve() in out.resolve().parents:
        raise UsageError(f"{out}: it lies in the package that is converted; give a place outside of it")
    if os.path.lexists(out) and not force:
        raise UsageError(f"{out}: already there; give another name, or --force to replace it")


def _spec(package: Path) -> ModelSpec | None:
    """Read a package's spec; None where it has none.

    Raises `UsageError` for what is no package, and `ModelError` for one that was changed since its export.
    """
    if format_of(package) is not core_ml.FORMAT:
        raise UsageError(f"{package}: only a Core ML package is converted; give an .mlpackage")
    text = read_metadata(package).get(SPEC_KEY)
    if text is None:
        return None
    spec = decode(text, str(package))
    if spec.graph_sha256 and graph_digest(package) != spec.graph_sha256:
        raise ModelError(f"{package}: it is not as it was exported: damaged, or edited since; copy or export it again")
    return spec


def _sign(file: Path, program: Converted, spec: ModelSpec) -> float | None:
    """Put the spec into a file, and give by how much it misses the golden answers. Raises `GateError`.

    What was measured of the package was not measured of this file, and is left out.
    """
    own = replace(spec, graph_sha256=onnx_digest(file), gate=None, metrics=None)
    _add(program.model, SPEC_KEY, encode(own))
    file.write_bytes(program.content())
    if spec.golden is None:
        return None
    found = replay(file, Device("cpu"))
    if not found.passed:
        raise GateError(
            f"{file.name} was not written: it misses the answers to the golden images by {found.largest:.2g}, and "
            f"{found.tolerance:g} is allowed; please report this"
        )
    return found.largest


def _add(model: "ModelProto", key: str, value: str) -> None:
    model.metadata_props.add(key=key, value=value)


def _ends(package: Path, file: Path) -> tuple[tuple[End, ...], tuple[End, ...]]:
    """Load a file, and give what it takes and gives. Raises `UnsupportedError` where ONNX Runtime cannot."""
    try:
        session = onnx_engine.load(file)
    except ModelError as error:
        raise UnsupportedError(f"{package}: ONNX Runtime cannot run its program ({reason(error)})") from error

    def ends(nodes: list[Any]) -> tuple[End, ...]:
        return tuple(
            End(one.name, one.type.removeprefix("tensor(").removesuffix(")"), tuple(one.shape)) for one in nodes
        )

    return ends(session.get_inputs()), ends(session.get_outputs())
