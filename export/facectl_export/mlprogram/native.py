"""Core ML itself, which only macOS has."""

import importlib
import platform
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from facectl_runtime.devices import Device
from facectl_runtime.engines.base import Answers, Engine, Pixels, in_batches
from facectl_runtime.engines.coreml import CORE_ML
from facectl_runtime.errors import DeviceError, MissingExtraError, ModelError, reason
from facectl_runtime.spec import ModelSpec


def is_there() -> bool:
    """Tell whether this is a Mac whose coremltools reaches Core ML; it does not on every Python that it installs on."""
    found = find_spec("coremltools") if sys.platform == "darwin" else None
    places = (found.submodule_search_locations or ()) if found else ()
    return any(file for place in places for file in Path(place).glob("libcoremlpython*"))


def open_core_ml(path: Path, spec: ModelSpec, device: Device) -> Engine:
    """Let Core ML compile a package: on the CPU where that is asked for, else on what it chooses.

    Raises `ModelError` where it cannot, and `DeviceError` off the Mac and for a CUDA device.
    """
    if sys.platform != "darwin":
        raise DeviceError(f"--engine {CORE_ML}: Core ML itself is on macOS alone; use --engine reference here")
    if device.kind == "cuda":
        raise DeviceError(f"--device {device}: a Mac has no CUDA; use --device auto, or cpu")
    tools = _coremltools()
    units = tools.ComputeUnit.CPU_ONLY if device.kind == "cpu" else tools.ComputeUnit.ALL
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is raised below
            model = tools.models.MLModel(str(path), compute_units=units)
        if model.__proxy__ is None:  # a model that Core ML refuses is made all the same
            raise RuntimeError(model._framework_error or "it is made for a newer system")
    except Exception as error:  # what Core ML says comes as a RuntimeError, what coremltools says as anything
        raise ModelError(f"{path}: Core ML cannot load it ({reason(error)}); export it again") from error
    run = _Runner(path, model, spec)
    name = f"{CORE_ML} (macOS {platform.mac_ver()[0]})"
    return Engine(name, "cpu" if device.kind == "cpu" else "any", in_batches(run, 1), 1)


class _Runner:
    """Answers one image."""

    def __init__(self, path: Path, model: Any, spec: ModelSpec) -> None:
        description = model.get_spec().description
        self._path, self._model, self._labels = path, model, spec.labels
        self._input = description.input[0].name
        self._output = description.predictedProbabilitiesName or description.output[0].name

    def __call__(self, pixels: Pixels) -> Answers:
        """Give float32 1 × output size. Raises `ModelError`."""
        try:
            answer = self._model.predict({self._input: Image.fromarray(pixels[0])})[self._output]
        except Exception as error:
            raise ModelError(f"{self._path}: Core ML fails on it ({reason(error)}); export it again") from error
        row = [answer[label] for label in self._labels] if self._labels else answer
        return np.asarray(row, np.float32).reshape(1, -1)


def _coremltools() -> Any:
    try:
        return importlib.import_module("coremltools")
    except ImportError as error:
        raise MissingExtraError(
            "Core ML is reached through coremltools; install it with: pip install 'facectl[export]'"
        ) from error
