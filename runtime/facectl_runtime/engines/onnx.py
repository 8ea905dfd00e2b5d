"""ONNX models on ONNX Runtime."""

import importlib
import os
from pathlib import Path
from typing import Any

import numpy as np

from facectl_runtime.devices import Device, usable_cores
from facectl_runtime.engines.base import Answers, Engine, Format, Pixels, in_batches, spec_in
from facectl_runtime.errors import DeviceError, MissingExtraError, ModelError, reason
from facectl_runtime.onnx_metadata import graph_digest, read_metadata
from facectl_runtime.sources import display_name
from facectl_runtime.spec import ModelSpec

_CUDA = "CUDAExecutionProvider"

# ONNX Runtime's own builds report each session to their maker, unless this is set before the first import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def read_spec(path: Path) -> ModelSpec:
    """Read the spec out of an ONNX file. Raises `ModelError`."""
    return spec_in(read_metadata(path), path, ", or call onnxruntime on this one yourself")


def open_session(path: Path, spec: ModelSpec, device: Device, graph: bytes | None = None) -> Engine:
    """Build an ONNX Runtime session whose input and output are those that `spec` promises.

    `graph` is the model where it does not lie at `path`, but was made of what does.
    """
    runtime = _onnxruntime()
    session = _session(runtime, path, device, graph)
    batch = _check_signature(path, session, spec)
    used = f"cuda:{device.index}" if session.get_providers()[0] == _CUDA else "cpu"
    name = session.get_inputs()[0].name

    def infer(pixels: Pixels) -> Answers:
        try:
            return np.asarray(session.run(None, {name: pixels})[0], np.float32)
        except Exception as error:  # ONNX Runtime's own classes share no base but Exception
            raise ModelError(f"{path}: ONNX Runtime fails on it ({reason(error)}); export it again") from error

    return Engine(f"onnxruntime {runtime.__version__}", used, in_batches(infer, batch) if batch else infer, batch)


def load(path: Path) -> Any:
    """Load any ONNX file, of whatever inputs and outputs, on the CPU. Raises `ModelError`."""
    return _session(_onnxruntime(), path, Device("cpu"), None)


FORMAT = Format(read_spec, open_session, graph_digest)


def _onnxruntime() -> Any:
    try:
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        if getattr(error, "name", None) == "onnxruntime" and isinstance(error, ModuleNotFoundError):
            raise MissingExtraError(
                "an .onnx file needs ONNX Runtime; install it with: pip install 'facectl[cpu]' or 'facectl[gpu]'"
            ) from error
        raise MissingExtraError(
            f"onnxruntime is installed but does not start ({reason(error)}); install it again"
        ) from error


def _session(runtime: Any, path: Path, device: Device, graph: bytes | None) -> Any:
    """Build a session on the device asked for; `auto` takes CUDA where it really runs, and the CPU elsewhere."""
    on_gpu = device.kind != "cpu" and _CUDA in runtime.get_available_providers()
    if device.kind == "cuda" and not on_gpu:
        raise DeviceError(
            f"--device {device}: this ONNX Runtime has no CUDA; install `facectl[gpu]` in an environment without "
            "onnxruntime, or use --device cpu"
        )
    if on_gpu:
        runtime.preload_dlls()
        try:
            session = _load(runtime, path, graph, [(_CUDA, {"device_id": device.index}), "CPUExecutionProvider"])
            why = "CUDA did not start"
        except Exception as error:
            session, why = None, reason(error)
        # A provider that fails to start may be left out without an error: only the session knows.
        if session is not None and session.get_providers()[0] == _CUDA:
            return session
        if device.kind == "cuda":
            raise DeviceError(f"--device {device}: {why}; check the driver, or use --device cpu")
    try:
        return _load(runtime, path, graph, ["CPUExecutionProvider"])
    except Exception as error:
        raise ModelError(f"{path}: ONNX Runtime cannot load it ({reason(error)}); copy or export it again") from error


def _load(runtime: Any, path: Path, graph: bytes | None, providers: list[Any]) -> Any:
    # ONNX Runtime takes no path that is not UTF-8, but a file's content as well.
    model = graph or (path if display_name(path) == str(path) else path.read_bytes())
    # Its own fallback to the CPU would announce itself on stdout, among the answers.
    return runtime.InferenceSession(model, _options(runtime), providers, enable_fallback=0)


def _options(runtime: Any) -> Any:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = usable_cores()
    options.log_severity_level = 4  # what goes wrong is said by our own errors
    # Threads that spin while they wait would take the cores from the decoders.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _check_signature(path: Path, session: Any, spec: ModelSpec) -> int | None:
    """Hold the graph to its spec, and give its batch where that is constant. Raises `ModelError`."""
    inputs = [(node.type, _shape(node)) for node in session.get_inputs()]
    outputs = [(node.type, _shape(node)) for node in session.get_outputs()]
    batch = next((shape[0] for _, shape in inputs if shape and isinstance(shape[0], int) and shape[0] > 0), None)
    wanted_inputs = [("tensor(uint8)", [batch or "N", spec.input.height, spec.input.width, 3])]
    wanted_outputs = [("tensor(float)", [batch or "N", spec.output.size])]
    if (inputs, outputs) != (wanted_inputs, wanted_outputs):
        raise ModelError(
            f"{path}: its graph takes {inputs} and gives {outputs}, its spec promises {wanted_inputs} and "
            f"{wanted_outputs}; export the model again"
        )
    return batch


def _shape(node: Any) -> list[int | str | None]:
    """Give a shape whose first dimension is `N` where it is open."""
    return [dimension if number or isinstance(dimension, int) else "N" for number, dimension in enumerate(node.shape)]
