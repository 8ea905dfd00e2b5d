"""The formats: how each makes a file of every precision that it has, in one table."""

import shutil
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from facectl_export.calibration import Method
from facectl_export.formats import coreml, onnx, tflite
from facectl_export.gate import IntegerShare
from facectl_export.precision import Cell, FileFormat
from facectl_export.ranges import Batches, Ranges
from facectl_runtime.engines import AUTO
from facectl_runtime.engines.coreml import DECLARED_TYPES
from facectl_runtime.spec import ModelSpec, Precision


@dataclass(frozen=True)
class Settings:
    """What is asked for of the files themselves."""

    batch: int | str | None = "default"
    """Images at once: a constant, None for any number, or what each format is best with. Core ML takes one."""
    opset: int = onnx.OPSET
    ios: int = 16
    """Of Core ML: the least iOS that runs it."""

    def target(self, cell: Cell) -> str:
        """Give the least that runs a cell's file."""
        return f"iOS {self.ios}" if cell.format == "coreml" else cell.recipe.targets[cell.format]

    def batch_for(self, default: int | None) -> int | None:
        """Give the batch of a format that does best with `default`."""
        return default if isinstance(self.batch, str) else self.batch


@dataclass(frozen=True)
class Quantizer:
    """How a format's float file becomes int8."""

    calibrate: Callable[[Path, Batches, int, Method], list[Ranges]]
    """Float file, batches (uint8 N × height × width × 3), number of images and method → ranges of its tensors."""
    write: Callable[[Path, Ranges, Path, Collection[str]], None]
    """Float file, ranges, the file to write, the layers that stay float."""
    layers: Callable[[Path], list[str]]
    """The convolutions and matrix products of a float file, by their names in the Keras model."""


@dataclass(frozen=True)
class Writer:
    """One format."""

    suffix: str
    bases: Mapping[Precision, str]
    """By precision, the float file that it is made of: fp32 or fp16."""
    write_base: Callable[[Any, ModelSpec, Path, str, Settings], None]
    """Keras model, spec, the file to write, fp32 or fp16, settings."""
    derive: Mapping[Precision, Callable[[Path, Path], None]]
    """By precision that needs no ranges: from the float file to the file wanted."""
    quantizer: Quantizer | None
    write_spec: Callable[[Path, ModelSpec], None]
    share: Callable[[Path], IntegerShare]
    require_packages: Callable[[], None]
    judge: str = AUTO
    """The engine that its files are judged by; one that is not what apps run says nothing of how fast they are."""


def file_name(spec: ModelSpec, precision: Precision, suffix: str) -> str:
    """Give a file's name: the run's, the precision unless it is fp32, and the suffix."""
    return f"{spec.name}{'' if precision == 'fp32' else f'.{precision}'}{suffix}"


def base_name(network: str, kind: str, suffix: str) -> str:
    """Give the name of a float file that others are made of."""
    return f"base.{network}.{kind}{suffix}"


def copy(base: Path, path: Path) -> None:
    """Take the float file as it is."""
    if base.is_dir():
        shutil.copytree(base, path)
    else:
        shutil.copyfile(base, path)


def _write_onnx(model: Any, spec: ModelSpec, path: Path, kind: str, settings: Settings) -> None:  # noqa: ARG001
    onnx.write_fp32(model, spec, path, settings.batch_for(None), settings.opset)


def _write_tflite(model: Any, spec: ModelSpec, path: Path, kind: str, settings: Settings) -> None:  # noqa: ARG001
    # One image unless asked: what runs TFLite on a phone's accelerators wants to know every shape.
    tflite.write_fp32(model, spec, path, settings.batch_for(1))


def _write_core_ml(model: Any, spec: ModelSpec, path: Path, kind: str, settings: Settings) -> None:
    coreml.write_float(model, spec, path, half=kind == "fp16", ios=settings.ios)


_FLOAT32: Mapping[Precision, str] = dict.fromkeys(
    ("fp32", "fp16", "int8", "int8-weights", "int8-qat", "pruned", "clustered"), "fp32"
)
_HALF: Mapping[Precision, str] = dict.fromkeys(
    ("fp16", "int8-weights", "pruned", "palette8", "palette6", "palette4"), "fp16"
)

WRITERS: dict[FileFormat, Writer] = {
    "onnx": Writer(
        suffix=".onnx",
        bases=_FLOAT32,
        write_base=_write_onnx,
        derive={"fp32": copy, "fp16": onnx.write_fp16},
        quantizer=Quantizer(onnx.calibrate, onnx.write_int8, onnx.layers),
        write_spec=onnx.write_spec,
        share=onnx.integer_share,
        require_packages=onnx.require_packages,
    ),
    "tflite": Writer(
        suffix=".tflite",
        bases=_FLOAT32,
        write_base=_write_tflite,
        derive={
            "fp32": copy,
            "fp16": tflite.write_fp16,
            "int8-weights": tflite.write_int8_weights,
            "pruned": copy,
            "clustered": copy,
        },
        quantizer=Quantizer(tflite.calibrate, tflite.write_int8, tflite.layers),
        write_spec=tflite.write_spec,
        share=tflite.integer_share,
        require_packages=tflite.require_packages,
    ),
    "coreml": Writer(
        suffix=".mlpackage",
        bases={"fp32": "fp32", **_HALF},
        write_base=_write_core_ml,
        derive={
            "fp32": copy,
            "fp16": copy,
            "int8-weights": coreml.write_int8_weights,
            "pruned": coreml.write_sparse,
            "palette8": partial(coreml.write_palette, bits=8),
            "palette6": partial(coreml.write_palette, bits=6),
            "palette4": partial(coreml.write_palette, bits=4),
        },
        quantizer=None,
        write_spec=coreml.write_spec,
        share=coreml.weights_share,
        require_packages=coreml.require_packages,
        judge=AUTO if sys.platform == "darwin" else DECLARED_TYPES,
    ),
}
"""Its keys are the only list of formats."""
