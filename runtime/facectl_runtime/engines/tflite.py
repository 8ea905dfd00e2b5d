"""TFLite models on LiteRT."""

import importlib
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from facectl_runtime.devices import Device
from facectl_runtime.engines.adapter import engine_of
from facectl_runtime.engines.base import (
    DESCRIBE,
    Engine,
    Format,
    Graph,
    Inside,
    Tensor,
    Values,
    failing,
    signing,
    spec_in,
)
from facectl_runtime.errors import DeviceError, MissingExtraError, ModelError, reason
from facectl_runtime.quiet import silent_stderr
from facectl_runtime.sources import display_name
from facectl_runtime.spec import ModelSpec
from facectl_runtime.tflite_metadata import graph_digest, read_metadata, weights, write_spec


def read_spec(path: Path) -> ModelSpec:
    """Read the spec out of a TFLite file. Raises `ModelError`."""
    return spec_in(read_metadata(path), path, DESCRIBE)


def open_interpreter(path: Path, spec: ModelSpec, device: Device) -> Engine:
    """Build a LiteRT interpreter whose input and output are those that `spec` promises."""
    return engine_of(path, open_graph(path, device), spec)


def open_graph(path: Path, device: Device) -> Graph:
    """Build a LiteRT interpreter of any TFLite file, as `open_interpreter` does of facectl's own."""
    if device.kind == "cuda":
        raise DeviceError(
            f"--device {device}: LiteRT runs a .tflite file on the CPU; use --device cpu, or an .onnx file"
        )
    runtime = _litert()
    interpreter = _interpreter(runtime, path, device)
    details = interpreter.get_input_details(), interpreter.get_output_details()
    inputs, outputs = (tuple(map(_tensor, of_each)) for of_each in details)
    release = importlib.import_module("ai_edge_litert").__version__
    return Graph(f"litert {release}", "cpu", inputs, outputs, _Runner(path, interpreter))


class _Runner:
    """Answers as many images at once as the interpreter has room for, which grows with them where its batch is open."""

    def __init__(self, path: Path, interpreter: Any) -> None:
        self._path, self._interpreter, self._lock = path, interpreter, Lock()
        takes, gives = interpreter.get_input_details(), interpreter.get_output_details()
        self._input, self._output = (next((tensor["index"] for tensor in each), -1) for each in (takes, gives))
        self._shape: tuple[int, ...] | None = next((tuple(tensor["shape"]) for tensor in takes), ())

    def __call__(self, values: Values) -> Values:
        """Give the values of the first output for those of the first input. Raises `ModelError`."""
        try:
            with self._lock:  # an interpreter holds one computation
                if values.shape != self._shape:
                    self._shape = None  # what fails from here on leaves no room for the former number either
                    self._interpreter.resize_tensor_input(self._input, values.shape)
                    self._interpreter.allocate_tensors()
                    self._shape = values.shape
                self._interpreter.set_tensor(self._input, values)
                self._interpreter.invoke()
                return np.asarray(self._interpreter.get_tensor(self._output))
        except (ValueError, RuntimeError) as error:
            raise failing(self._path, "LiteRT", error) from error


def _litert() -> Any:
    try:
        return importlib.import_module("ai_edge_litert.interpreter")
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and (error.name or "").startswith("ai_edge_litert"):
            raise MissingExtraError(
                "a .tflite file needs LiteRT; install it with: pip install 'facectl[tflite]'"
            ) from error
        if isinstance(error.__cause__, KeyboardInterrupt):  # which struck while its C++ was initialized
            raise KeyboardInterrupt from error
        raise MissingExtraError(
            f"ai-edge-litert is installed but does not start ({reason(error)}); install it again"
        ) from error


def _interpreter(runtime: Any, path: Path, device: Device) -> Any:
    # LiteRT takes no path that is not UTF-8, but a file's content as well.
    model = {"model_path": str(path)} if display_name(path) == str(path) else {"model_content": path.read_bytes()}
    try:
        with silent_stderr():
            interpreter = runtime.Interpreter(**model, num_threads=device.cores)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ModelError(f"{path}: LiteRT cannot load it ({reason(error)}); copy or export it again") from error
    return interpreter


def _tensor(details: dict[str, Any]) -> Tensor:
    shape = tuple(None if side < 0 else int(side) for side in details["shape_signature"])
    step, zero = details["quantization"]
    return Tensor(details["name"], np.dtype(details["dtype"]).name, shape, float(step), int(zero))


INSIDE = Inside(open_graph, read_metadata, weights, write_spec)
FORMAT = Format(read_spec, open_interpreter, graph_digest, inside=INSIDE, sign=signing(write_spec), library=_litert)
