"""Calibration of an ONNX file: the range of values of every activation, over training images."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from facectl_export.bias import Means
from facectl_export.calibration import Method
from facectl_export.formats.onnx_bias import ChannelMeans
from facectl_export.formats.quiet import quiet
from facectl_runtime.errors import UsageError

Images = npt.NDArray[np.uint8]

# The softmax is not among them: it stays float.
QUANTIZED_OPS = ("Conv", "MatMul", "Gemm", "Add", "Clip", "Relu", "MaxPool", "AveragePool", "ReduceMean")

_AT_ONCE = 4
"""Images whose activations are held at a time: for one of 224 × 224 they take up to 120 MB."""

_FOR_MEANS = 128
"""Images that means of channels are taken of: they settle sooner than extremes."""

# Percentile: both ends are cut, each by its own values; a symmetric range would waste half of uint8 on what ReLU has
# taken away.
_OPTIONS: dict[Method, dict[str, Any]] = {"minmax": {}, "entropy": {}, "percentile": {"symmetric": False}}
_NAMES: dict[Method, str] = {"minmax": "MinMax", "entropy": "Entropy", "percentile": "Percentile"}


@dataclass(frozen=True)
class Ranges:
    """The calibrated ranges of one fp32 file's activations, for any number of quantizations of it."""

    tensors: Any
    """ONNX Runtime's `TensorsData`: the least and the largest value by tensor, of the graph as `model` has it."""
    means: Means
    model: Any
    """The fp32 file as it is quantized (an ONNX ModelProto): constants folded, batch norms fused, shapes inferred."""


def calibrate(fp32: Path, batches: Iterable[Images], method: Method) -> Ranges:
    """Find the range of every activation over `batches`: uint8 N × height × width × 3 each, of training images.

    `minmax`: all that was met. `percentile`: 99.999 % of it. `entropy`: the range that loses least information (Migacz,
    "8-bit Inference with TensorRT", 2017), as ONNX Runtime has it. Memory does not grow with the number of images.
    Raises `UsageError` where there is no image.
    """
    calibrator, model = _prepared(fp32, method)
    means = ChannelMeans(model)
    pixels = calibrator.infer_session.get_inputs()[0]
    for piece in _pieces(batches, pixels.shape[0]):
        with quiet():
            calibrator.collect_data(_Once({pixels.name: piece}))
        if means.images < _FOR_MEANS:
            means.add(piece)
    if not means.images:
        raise UsageError("there are no images to calibrate with; give some of the training split")
    with quiet():
        return Ranges(calibrator.compute_data(), means.means(), model)


def _prepared(fp32: Path, method: Method) -> tuple[Any, Any]:
    """Give what collects ranges, and the model as it is quantized."""
    from onnxruntime import InferenceSession
    from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator
    from onnxruntime.quantization.quant_utils import load_model_with_shape_infer
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with quiet(), TemporaryDirectory(prefix="facectl.") as folder:
        ready = Path(folder) / fp32.name
        quant_pre_process(fp32, ready, skip_symbolic_shape=True)
        calibrator = create_calibrator(
            ready,
            QUANTIZED_OPS,
            str(ready.with_name("augmented.onnx")),
            CalibrationMethod[_NAMES[method]],
            extra_options=_OPTIONS[method],
        )
        # Its own session optimizes nothing, and takes 1.6 times as long for the same values.
        calibrator.infer_session = InferenceSession(calibrator.augmented_model_path, providers=["CPUExecutionProvider"])
        return calibrator, load_model_with_shape_infer(ready)


def _pieces(batches: Iterable[Images], batch: int | str | None) -> Iterator[Images]:
    """Cut batches to what is held at once; for a file of a constant batch, to that.

    Where the last of those has too few images it has them again, all as often as can be.
    """
    size = batch if isinstance(batch, int) else _AT_ONCE
    held: list[Any] = []
    for image in (image for images in batches for image in images):
        held.append(image)
        if len(held) == size:
            yield np.stack(held)
            held = []
    if held:
        whole = np.stack(held)
        yield whole[np.arange(size if size == batch else len(held)) % len(held)]


class _Once:
    """One batch as ONNX Runtime's `CalibrationDataReader` hands it out."""

    def __init__(self, inputs: dict[str, Images]) -> None:
        self._left = [inputs]

    def get_next(self) -> dict[str, Images] | None:
        """Give the batch at the first call, and None after that."""
        return self._left.pop() if self._left else None
