"""Run folders as an engine for runtime: the Keras model itself, on the same pixels."""

from pathlib import Path
from typing import Any

import numpy as np

from facectl_runtime.devices import Device
from facectl_runtime.engines.base import Answers, Engine, Format, Pixels
from facectl_runtime.spec import ModelSpec
from facectl_trainer.framework import tensorflow, use_device
from facectl_trainer.run import read_run, read_spec, sign_run

_MANY = 8  # images at once on the CPU, where a call costs as much as several of them


def open_run(folder: Path, spec: ModelSpec, device: Device) -> Engine:  # noqa: ARG001  # the shape of every engine
    """Load a run's Keras model. Raises `ModelError`, `DeviceError`, and `MissingExtraError` without the train extra."""
    tensorflow()
    used = use_device(device)
    return engine_of(read_run(folder).model(), used)


def engine_of(model: Any, used: str) -> Engine:
    """Make an engine of a Keras model on the device `used`: uint8 N × height × width × 3 → float32 N × size."""

    def infer(pixels: Pixels) -> Answers:
        return np.asarray(model.predict_on_batch(pixels), np.float32)

    return Engine(f"tf_keras {tensorflow().__version__}", used, infer, many=None if used.startswith("cuda") else _MANY)


run_folder = Format(read_spec, open_run, sign=sign_run)
