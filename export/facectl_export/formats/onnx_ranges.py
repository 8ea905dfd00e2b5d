"""Calibration of an ONNX file: the range of values of every activation, over training images."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from facectl_export.calibration import Method
from facectl_export.formats.onnx_bias import WITH_BIAS
from facectl_export.formats.quiet import quiet
from facectl_export.ranges import Batches, Floats, Ranges, find, pieces

# The softmax is not among them: it stays float.
QUANTIZED_OPS = ("Conv", "MatMul", "Gemm", "Add", "Clip", "Relu", "MaxPool", "AveragePool", "ReduceMean")

_AT_ONCE = 4
"""Images whose activations are held at a time, where a file takes any number: of one of 224 × 224 up to 120 MB."""


def calibrate(fp32: Path, batches: Batches, count: int, method: Method) -> list[Ranges]:
    """Find the range of every activation over `count` training images, as `ranges.find` does.

    The `graph` of what is found is the file as it is quantized (an ONNX ModelProto): constants folded, batch norms
    fused, shapes inferred.
    """
    model = _prepared(fp32)
    nodes = [node for node in model.graph.node if node.op_type in WITH_BIAS]
    channels = {node.input[0]: 1 for node in nodes}
    run = _Activations(model)
    with quiet():
        return [replace(one, graph=model) for one in find(fp32.name, run, channels, batches, count, method)]


class _Activations:
    """Runs a model, and gives what its ops take and make beside its answers."""

    def __init__(self, model: Any) -> None:
        import onnx
        import onnxruntime

        watched = onnx.ModelProto()
        watched.CopyFrom(model)
        self._names = _activations(model.graph)
        del watched.graph.output[:]
        watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in self._names)
        self._session = onnxruntime.InferenceSession(watched.SerializeToString(), providers=["CPUExecutionProvider"])

    def __call__(self, batches: Batches) -> Iterator[Mapping[str, Floats]]:
        """Give the activations of each image, by tensor."""
        taken = self._session.get_inputs()[0]
        size = taken.shape[0] if isinstance(taken.shape[0], int) else _AT_ONCE
        for pixels, count in pieces(batches, size):
            found = self._session.run(None, {taken.name: pixels})
            for place in range(count):
                yield {name: values[place : place + 1] for name, values in zip(self._names, found, strict=True)}


def _activations(graph: Any) -> list[str]:
    """Name the float tensors that are rounded where what uses or makes them is quantized."""
    import onnx

    known = chain(graph.value_info, graph.input, graph.output)
    floats = {value.name for value in known if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
    names = {name for node in graph.node if node.op_type in QUANTIZED_OPS for name in (*node.input, *node.output)}
    return sorted(names & floats - {tensor.name for tensor in graph.initializer})


def _prepared(fp32: Path) -> Any:
    from onnxruntime.quantization.quant_utils import load_model_with_shape_infer
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with quiet(), TemporaryDirectory(prefix="facectl.") as folder:
        ready = Path(folder) / fp32.name
        quant_pre_process(fp32, ready, skip_symbolic_shape=True)
        return load_model_with_shape_infer(ready)
