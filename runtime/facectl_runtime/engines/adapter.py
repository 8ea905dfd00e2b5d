"""From a graph to an engine: facectl's own as it is, one of others between its adapter's two ends."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from facectl_runtime.engines.base import Answers, Engine, Graph, Pixels, Tensor, Values, in_batches, listed
from facectl_runtime.errors import ModelError
from facectl_runtime.spec import Adapter, ModelSpec

Layout = Literal["nchw", "nhwc"]
Three = tuple[float, float, float]
_CHANNEL_AXIS: dict[Layout, int] = {"nchw": 1, "nhwc": 3}
_FLOATS = ("float32", "float16")
_LEVELS = np.arange(256.0)


class ImageInput(msgspec.Struct, frozen=True):
    """How a graph takes images."""

    layout: Layout
    width: int | None
    """None where it is open, like the height."""
    height: int | None


def engine_of(path: Path, graph: Graph, spec: ModelSpec) -> Engine:
    """Make an engine of the graph in a file. Raises `ModelError` where it is not as `spec` says."""
    if spec.adapter:
        return _adapted(path, graph, spec, spec.adapter)
    found = [[(tensor.dtype, tensor.shape) for tensor in tensors] for tensors in (graph.inputs, graph.outputs)]
    takes = Tensor("", "uint8", (graph.batch, spec.input.height, spec.input.width, 3))
    gives = Tensor("", "float32", (graph.batch, spec.output.size))
    if found != [[(tensor.dtype, tensor.shape)] for tensor in (takes, gives)]:
        raise ModelError(
            f"{path}: its graph takes {listed(graph.inputs)} and gives {listed(graph.outputs)}, its spec promises "
            f"{takes} and {gives}; export the model again"
        )
    infer = in_batches(graph.run, graph.batch) if graph.batch else graph.run
    return Engine(graph.engine, graph.device, infer, graph.batch, graph.no_gpu, graph.lanes)


def image_input(path: Path, graph: Graph) -> ImageInput:
    """Find out how a graph takes images. Raises `ModelError` where it is no classifier of RGB images."""
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise ModelError(
            f"{path}: its graph takes {listed(graph.inputs)} and gives {listed(graph.outputs)}; use a classifier with "
            "one input and one output"
        )
    takes, gives = graph.inputs[0], graph.outputs[0]
    if not (gives.step or gives.dtype.startswith("float")):
        raise ModelError(f"{path}: its graph gives {gives}; use one that gives probabilities or logits")
    if len(takes.shape) == 4 and (takes.dtype in (*_FLOATS, "uint8") or takes.step):
        for layout, axis in _CHANNEL_AXIS.items():
            if takes.shape[axis] == 3:
                height, width = takes.shape[2:] if layout == "nchw" else takes.shape[1:3]
                return ImageInput(layout, width, height)
    raise ModelError(
        f"{path}: its graph takes {takes}; use one that takes RGB images: N × 3 × height × width or N × height × "
        f"width × 3, {', '.join(_FLOATS)}, uint8 or quantized"
    )


def _adapted(path: Path, graph: Graph, spec: ModelSpec, adapter: Adapter) -> Engine:
    found = image_input(path, graph)
    promised = ImageInput(adapter.layout, found.width and spec.input.width, found.height and spec.input.height)
    if found != promised:
        raise ModelError(f"{path}: its graph takes {graph.inputs[0]}, and its spec says otherwise; describe it anew")
    given = rows(path, graph, adapter)

    def infer(pixels: Pixels) -> Answers:
        answers = given(pixels)
        if answers.shape[1] != spec.output.size:
            raise ModelError(f"{path}: it gives {answers.shape[1]} values, not the {spec.output.size} of its spec")
        return _softmax(answers) if adapter.output == "logits" else answers

    return Engine(graph.engine, graph.device, infer, graph.batch, graph.no_gpu, graph.lanes)


def rows(path: Path, graph: Graph, adapter: Adapter) -> Callable[[Pixels], Answers]:
    """Give the function from uint8 RGB, N × height × width × 3, to what the graph gives, float32 N × classes.

    That is no longer quantized, and not yet softmax. The function raises `ModelError` for what is no row of classes.
    """
    table = _table(path, graph.inputs[0], adapter)
    order = (0, 1, 2) if adapter.channels == "rgb" else (2, 1, 0)

    def infer(pixels: Pixels) -> Answers:
        planes = [values.take(pixels[..., channel]) for values, channel in zip(table, order, strict=True)]
        given = graph.run(np.stack(planes, axis=_CHANNEL_AXIS[adapter.layout]))
        return _rows(path, graph.outputs[0], given, len(pixels))

    return in_batches(infer, graph.batch) if graph.batch else infer


def as_they_are(takes: Tensor) -> tuple[float, Three, Three]:
    """Give the scale, mean and standard deviation with which 8-bit pixels reach a graph of 8 bits unchanged."""
    if not takes.step:
        return 1.0, (0.0,) * 3, (1.0,) * 3
    # A quantized graph undoes them by its own step and zero; pixels of int8 are those of uint8 less 128.
    return 1.0, (takes.zero - float(np.iinfo(takes.dtype).min),) * 3, (1 / takes.step,) * 3


@np.errstate(over="ignore")  # what is infinite then shows in the answers
def _table(path: Path, takes: Tensor, adapter: Adapter) -> Values:
    """Give what stands for each level of each of the graph's channels, 3 × 256, in the graph's own type."""
    mean, std = (np.array(values)[:, None] for values in (adapter.mean, adapter.std))
    values = (_LEVELS / adapter.scale - mean) / std
    if takes.step:
        limits = np.iinfo(takes.dtype)
        # In float32 and halves to even, as XNNPACK does: pixels of -1 to 1 in 256 steps are all halves.
        steps = np.rint(values.astype(np.float32) * (1 / np.float32(takes.step)))
        values = np.clip(steps + takes.zero, limits.min, limits.max)
    elif takes.dtype == "uint8" and not (values == _LEVELS).all():
        raise ModelError(f"{path}: its graph takes pixels as they are, and its spec says otherwise; describe it anew")
    table: Values = values.astype(takes.dtype)
    return table


def _rows(path: Path, gives: Tensor, given: Values, count: int) -> Answers:
    classes = [side for side in given.shape[1:] if side != 1]
    if len(given.shape) < 2 or len(given) != count or len(classes) > 1:
        raise ModelError(
            f"{path}: of {count} images its graph gives {' × '.join(map(str, given.shape))} values; use a classifier, "
            "which gives N × classes"
        )
    values: Answers = given.reshape(count, -1).astype(np.float32)
    if gives.step:
        values = (values - np.float32(gives.zero)) * np.float32(gives.step)
    return values


def _softmax(logits: Answers) -> Answers:
    """N × classes → the same, each row of sum 1."""
    powers: npt.NDArray[np.float64] = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    answers: Answers = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
    return answers
