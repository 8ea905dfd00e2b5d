"""TFLite models on LiteRT."""

import importlib
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from facectl_runtime.devices import Device, usable_cores
from facectl_runtime.engines.base import Answers, Engine, Format, Pixels, in_batches, spec_in
from facectl_runtime.errors import DeviceError, MissingExtraError, ModelError, reason
from facectl_runtime.quiet import silent_stderr
from facectl_runtime.sources import display_name
from facectl_runtime.spec import ModelSpec
from facectl_runtime.tflite_metadata import graph_digest, read_metadata


def read_spec(path: Path) -> ModelSpec:
    """Read the spec out of a TFLite file. Raises `ModelError`."""
    return spec_in(read_metadata(path), path, ", or call ai_edge_litert on this one yourself")


def open_interpreter(path: Path, spec: ModelSpec, device: Device) -> Engine:
    """Build a LiteRT interpreter whose input and output are those that `spec` promises."""
    if device.kind == "cuda":
        raise DeviceError(
            f"--device {device}: LiteRT runs a .tflite file on the CPU; use --device cpu, or an .onnx file"
        )
    runtime = _litert()
    interpreter = _interpreter(runtime, path)
    _check_signature(path, interpreter, spec)
    batch = int(interpreter.get_input_details()[0]["shape_signature"][0])
    run = _Runner(path, interpreter)
    release = importlib.import_module("ai_edge_litert").__version__
    name = f"litert {release}"
    return Engine(name, "cpu", run) if batch < 0 else Engine(name, "cpu", in_batches(run, batch), batch)


FORMAT = Format(read_spec, open_interpreter, graph_digest)


class _Runner:
    """Answers as many images at once as the interpreter has room for, which grows with them where its batch is open."""

    def __init__(self, path: Path, interpreter: Any) -> None:
        self._path, self._interpreter, self._lock = path, interpreter, Lock()
        self._input = interpreter.get_input_details()[0]["index"]
        self._output = interpreter.get_output_details()[0]["index"]
        self._count = int(interpreter.get_input_details()[0]["shape"][0])

    def __call__(self, pixels: Pixels) -> Answers:
        """Give float32 N × output size. Raises `ModelError`."""
        try:
            with self._lock:  # an interpreter holds one computation
                if len(pixels) != self._count:
                    self._interpreter.resize_tensor_input(self._input, pixels.shape)
                    self._interpreter.allocate_tensors()
                    self._count = len(pixels)
                self._interpreter.set_tensor(self._input, pixels)
                self._interpreter.invoke()
                return np.asarray(self._interpreter.get_tensor(self._output), np.float32)
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"{self._path}: LiteRT fails on it ({reason(error)}); export it again") from error


def _litert() -> Any:
    try:
        return importlib.import_module("ai_edge_litert.interpreter")
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and (error.name or "").startswith("ai_edge_litert"):
            raise MissingExtraError(
                "a .tflite file needs LiteRT; install it with: pip install 'facectl[tflite]'"
            ) from error
        raise MissingExtraError(
            f"ai-edge-litert is installed but does not start ({reason(error)}); install it again"
        ) from error


def _interpreter(runtime: Any, path: Path) -> Any:
    # LiteRT takes no path that is not UTF-8, but a file's content as well.
    model = {"model_path": str(path)} if display_name(path) == str(path) else {"model_content": path.read_bytes()}
    try:
        with silent_stderr():
            interpreter = runtime.Interpreter(**model, num_threads=usable_cores())
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ModelError(f"{path}: LiteRT cannot load it ({reason(error)}); copy or export it again") from error
    return interpreter


def _check_signature(path: Path, interpreter: Any, spec: ModelSpec) -> None:
    """Hold the graph to its spec. Raises `ModelError`."""
    inputs = [_tensor(details) for details in interpreter.get_input_details()]
    outputs = [_tensor(details) for details in interpreter.get_output_details()]
    batch = inputs[0][1][0] if inputs and inputs[0][1] else "N"
    wanted_inputs = [("uint8", [batch, spec.input.height, spec.input.width, 3])]
    wanted_outputs = [("float32", [batch, spec.output.size])]
    if (inputs, outputs) != (wanted_inputs, wanted_outputs):
        raise ModelError(
            f"{path}: its graph takes {inputs} and gives {outputs}, its spec promises {wanted_inputs} and "
            f"{wanted_outputs}; export the model again"
        )


def _tensor(details: dict[str, Any]) -> tuple[str, list[int | str]]:
    """Give type and shape, an open first dimension as `N`."""
    shape: list[int | str] = [int(side) for side in details["shape_signature"]]
    if shape and shape[0] == -1:
        shape[0] = "N"
    return np.dtype(details["dtype"]).name, shape
