"""Models of others: from a file without a spec, and what is said of it, to a spec and to a copy that carries it."""

import os
import re
from datetime import UTC, datetime
from hashlib import file_digest
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from facectl_runtime import __version__
from facectl_runtime.description import OPTIONS, Description, Output
from facectl_runtime.devices import Device
from facectl_runtime.engines import format_of
from facectl_runtime.engines.adapter import ImageInput, as_they_are, image_input, rows
from facectl_runtime.engines.base import Answers, Graph, Inside, NoSpecError, Tensor
from facectl_runtime.errors import GateError, ModelError, UsageError
from facectl_runtime.files import scratch_beside
from facectl_runtime.spec import Adapter, InputSpec, ModelSpec, OutputSpec, Precision, Provenance, Squash

Given = Literal["probabilities", "logits"]

_CPU = Device("cpu")
_ROUNDING = 0.01  # how far from 1 the sum of float probabilities may lie
_LAST_STEP = 1 / 256  # of every quantized softmax of TFLite, and of every sigmoid
_WEIGHTS: dict[str, Precision] = {"float32": "fp32", "float16": "fp16", "int8": "int8", "uint8": "int8"}
_TOLERANCES: dict[Precision, float] = {"fp32": 0.001, "fp16": 0.02, "int8": 0.1}


def inside_of(path: Path) -> Inside:
    """Give how a file of others is looked into. Raises `UsageError` for one that has a spec, or cannot be given one."""
    reader = format_of(path)
    if reader.inside is None:
        raise UsageError(f"{path}: {OPTIONS} are of an .onnx or .tflite file of others; leave them out")
    try:
        reader.read_spec(path)
    except NoSpecError:
        return reader.inside
    raise UsageError(f"{path}: it says of itself what {OPTIONS} say; leave them out")


class Contents(msgspec.Struct, frozen=True):
    """What can be read of a file that says nothing of itself."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    weights: dict[str, int]
    """Bytes by type."""
    metadata: list[str]
    """Names of the entries."""


def contents(path: Path) -> Contents:
    """Look into a file of others. Raises as `inside_of`, and `ModelError` where its graph cannot be opened."""
    inside = inside_of(path)
    graph = inside.graph(path, _CPU)
    return Contents(graph.inputs, graph.outputs, dict(inside.weights(path)), sorted(inside.metadata(path)))


def describe(path: Path, description: Description) -> ModelSpec:
    """Make the spec of a classifier that has none.

    Its graph is opened on the CPU and answers a few drawn pixels. Raises `UsageError` where what is said is not enough
    or does not fit the graph, and `ModelError` where the graph is no classifier of images.
    """
    inside = inside_of(path)
    if description.labels is None:
        raise UsageError(f"{path}: its labels are not known; give --labels FILE, one label a line in output order")
    graph = inside.graph(path, _CPU)
    found = image_input(path, graph)
    width, height = _size(path, found, description.size)
    adapter = _adapter(path, found, graph, description)
    answers = _probed(path, graph, adapter, width, height)
    _check_count(path, answers.shape[1], len(description.labels))
    return ModelSpec(
        name=re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).lstrip("._-")[:100] or "model",
        task="classify",
        precision=_precision(inside, path),
        labels=description.labels,
        input=InputSpec(width, height, description.resize or Squash()),
        output=OutputSpec("probabilities", len(description.labels)),
        adapter=replace(adapter, output=_output(path, graph.outputs[0], answers, description.output or "auto")),
        provenance=_provenance(graph),
    )


def write_copy(path: Path, spec: ModelSpec, out: Path, force: bool) -> ModelSpec:
    """Write a copy of a file with the spec that `describe` made, and with drawn golden images. Give the spec in it.

    Raises `UsageError` for a place that cannot be written to, and `GateError` where the copy answers otherwise.
    """
    from facectl_runtime.golden import patterns, record
    from facectl_runtime.verify import replay

    _check_out(path, out, force)
    inside = inside_of(path)
    answering = format_of(path).engine(path, spec, _CPU)
    with path.open("rb") as file:
        source = replace(spec.provenance, weights_sha256=file_digest(file, "sha256").hexdigest())
    golden = record(answering, spec.input, _TOLERANCES[spec.precision], patterns(spec.input))
    try:
        whole = replace(spec, golden=golden, provenance=source)
    except ValueError as error:  # an answer that is not finite
        raise ModelError(f"{path}: {error}; convert it again, or look at --scale and --std") from error
    with scratch_beside(out) as scratch:
        new = scratch / out.name
        inside.write_spec(path, new, whole)
        found = replay(new, _CPU)
        if not found.passed:
            raise GateError(f"{out}: not written: the copy misses the answers of {path} by {found.largest:.2g}")
        written = format_of(new).read_spec(new)
        new.replace(out)
    return written


def _check_out(path: Path, out: Path, force: bool) -> None:
    """Refuse a place that a copy of `path` cannot take. Raises `UsageError`."""
    if out.suffix.lower() != path.suffix.lower():
        raise UsageError(f"{out}: the copy is of the same kind; give a name that ends in {path.suffix}")
    if out.is_dir():
        raise UsageError(f"{out}: a folder stands there; give another name")
    if out.resolve() == path.resolve():
        raise UsageError(f"{out}: it is the file that is copied, and stays as it is; give another name")
    if os.path.lexists(out) and not force:
        raise UsageError(f"{out}: already there; give another name, or --force to replace it")


def _size(path: Path, found: ImageInput, asked: tuple[int, int] | None) -> tuple[int, int]:
    """Give the width and height of the input. Raises `UsageError` where they are open, or others are asked for."""
    if asked is None:
        if not found.width or not found.height:
            raise UsageError(f"{path}: its graph leaves the size of its input open; give --size WIDTHxHEIGHT")
        asked = found.width, found.height
    if (found.width or asked[0], found.height or asked[1]) != asked:
        fixed = f"{found.width or 'any'} × {found.height or 'any'}"
        raise UsageError(f"{path}: its graph takes {fixed} pixels, not {asked[0]} × {asked[1]}; leave --size out")
    return asked


def _adapter(path: Path, found: ImageInput, graph: Graph, said: Description) -> Adapter:
    """Give the adapter of what is said, with an output that is yet to be found out. Raises `UsageError`."""
    takes = graph.inputs[0]
    scale, mean, std = said.scale or 255.0, said.mean or (0.0,) * 3, said.std or (1.0,) * 3
    if takes.dtype in ("uint8", "int8") and (said.scale, said.mean, said.std) == (None, None, None):
        scale, mean, std = as_they_are(takes)
    elif takes.dtype == "uint8" and not takes.step:
        raise UsageError(f"{path}: its graph takes pixels of uint8 as they are; leave --scale, --mean and --std out")
    elif max(mean) > 255 / scale:
        most = f"{255 / scale:g}"
        raise UsageError(f"--mean {max(mean):g}: pixels are 0 to {most} after --scale {scale:g}; give --scale 1")
    return Adapter(found.layout, said.channels or "rgb", scale, mean, std, "probabilities")


def _probed(path: Path, graph: Graph, adapter: Adapter, width: int, height: int) -> Answers:
    """Give what a graph says of noise of three contrasts, 3 × classes, before any softmax. Raises `ModelError`."""
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    answers = rows(path, graph, adapter)(np.stack([noise, noise // 2, noise // 4]))
    if not np.isfinite(answers).all():
        raise ModelError(f"{path}: its graph gives what are no numbers; convert it again, or look at --scale and --std")
    return answers


def _check_count(path: Path, values: int, labels: int) -> None:
    if values == labels:
        return
    hint = "give the labels that it was trained with"
    if values == 1:
        hint = "a graph of two classes has to give two"
    elif values == labels + 1:
        hint = "if it begins with a class for the background, begin the labels with a line for it"
    elif values == labels - 1:
        hint = "if the labels begin with a line for the background, take it out"
    raise UsageError(f"{path}: its graph gives {values} values, and there are {labels} labels; {hint}")


def _output(path: Path, gives: Tensor, answers: Answers, asked: Output) -> Given:
    """Find out what a graph gives, and hold what is asked for to that. Raises `UsageError`."""
    sums = answers.sum(axis=1, dtype=np.float64)
    said = f"{answers.min():.3g} to {answers.max():.3g}, in sums of {sums.min():.3g} to {sums.max():.3g}"
    within = answers.min() >= 0 and answers.max() <= 1 + _ROUNDING
    found: Given = "probabilities" if within and _sum_to_one(gives, sums, answers.shape[1]) else "logits"
    if asked == "logits" and found == "probabilities":
        raise UsageError(f"{path}: it gives {said}, so softmax is in it already; leave --output out")
    if asked == "probabilities" and found == "logits":
        raise UsageError(f"{path}: it gives {said}, which are no probabilities of one class each; leave --output out")
    if asked == "auto" and found == "logits" and within:
        raise UsageError(
            f"{path}: it gives {said}: sigmoids, each for itself, which no command here reads; if they are logits, "
            "give --output logits"
        )
    return found


def _sum_to_one(gives: Tensor, sums: npt.NDArray[np.float64], classes: int) -> bool:
    if not gives.step:
        return bool((abs(sums - 1) <= _ROUNDING).all())
    # In steps so coarse, most of a thousand small probabilities are 0.
    return gives.step == _LAST_STEP and bool((sums <= 1 + classes * gives.step / 2).all())


def _precision(inside: Inside, path: Path) -> Precision:
    """Give the precision of most weights; fp32 where that cannot be told."""
    counts = {name: size / np.dtype(name).itemsize for name, size in inside.weights(path).items() if name in _WEIGHTS}
    return _WEIGHTS[max(counts, key=counts.__getitem__)] if counts else "fp32"


def _provenance(graph: Graph) -> Provenance:
    """Say what is known of where a model of others comes from, which is little."""
    name, _, version = graph.engine.partition(" ")
    return Provenance(
        recipe="none of facectl's: a model of others",
        seed=0,
        data_fingerprint=None,
        backbone="not known",
        weights_sha256=None,
        weights_licence=None,
        packages={"facectl": __version__, name: version},
        created=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
    )
