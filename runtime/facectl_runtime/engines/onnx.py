"""ONNX models on ONNX Runtime."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from facectl_runtime.devices import Device, usable_cores
from facectl_runtime.engines.base import Answers, Engine, Format, Pixels
from facectl_runtime.errors import DeviceError, MissingExtraError, ModelError
from facectl_runtime.onnx_metadata import read_metadata
from facectl_runtime.spec import SPEC_KEY, ModelSpec, decode

_CUDA = "CUDAExecutionProvider"


def read_spec(path: Path) -> ModelSpec:
    """Read the spec out of an ONNX file. Raises `ModelError`."""
    text = read_metadata(path).get(SPEC_KEY)
    if text is None:
        raise ModelError(
            f"{path}: it carries no {SPEC_KEY}, so its labels and the resize it was trained with are unknown and no "
            "answer could be trusted; use a file that `facectl export` wrote, or call onnxruntime on this one yourself"
        )
    return decode(text, str(path))


def open_session(path: Path, spec: ModelSpec, device: Device) -> Engine:
    """Build an ONNX Runtime session whose input and output are those that `spec` promises."""
    runtime = _onnxruntime()
    session = _session(runtime, path, device)
    _check_signature(path, session, spec)
    used = f"cuda:{device.index}" if session.get_providers()[0] == _CUDA else "cpu"
    name = session.get_inputs()[0].name

    def infer(pixels: Pixels) -> Answers:
        return np.asarray(session.run(None, {name: pixels})[0], np.float32)

    return Engine(f"onnxruntime {runtime.__version__}", used, infer)


FORMAT = Format(read_spec, open_session)


def _onnxruntime() -> Any:
    try:
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise MissingExtraError(
            "running an .onnx file needs ONNX Runtime; install it with: pip install 'facectl[cpu]', or 'facectl[gpu]'"
        ) from error


def _session(runtime: Any, path: Path, device: Device) -> Any:
    """Build a session on the device asked for; `auto` takes CUDA where it really runs, and the CPU elsewhere."""
    on_gpu = device.kind != "cpu" and _CUDA in runtime.get_available_providers()
    if device.kind == "cuda" and not on_gpu:
        raise DeviceError(
            f"--device {device}: this ONNX Runtime has no CUDA; install `facectl[gpu]` in an environment without "
            "onnxruntime, or use --device cpu"
        )
    if on_gpu:
        runtime.preload_dlls()
    providers: list[Any] = [(_CUDA, {"device_id": device.index})] if on_gpu else []
    try:
        session = runtime.InferenceSession(path, _options(runtime), [*providers, "CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own classes share no base but Exception
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"{path}: ONNX Runtime cannot load it ({reason}); copy or export it again") from error
    # A provider that fails to start is left out with a warning at most: only the session knows what it got.
    if device.kind == "cuda" and session.get_providers()[0] != _CUDA:
        raise DeviceError(f"--device {device}: CUDA did not start; check the driver, or use --device cpu")
    return session


def _options(runtime: Any) -> Any:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = usable_cores()
    options.log_severity_level = 4  # what goes wrong is said by our own errors
    # Threads that spin while they wait would take the cores from the decoders.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _check_signature(path: Path, session: Any, spec: ModelSpec) -> None:
    """Hold the graph to its spec. Raises `ModelError`."""
    inputs = [(node.type, node.shape[1:]) for node in session.get_inputs()]
    outputs = [(node.type, node.shape[1:]) for node in session.get_outputs()]
    wanted_inputs = [("tensor(uint8)", [spec.input.height, spec.input.width, 3])]
    wanted_outputs = [("tensor(float)", [spec.output.size])]
    if (inputs, outputs) != (wanted_inputs, wanted_outputs):
        raise ModelError(
            f"{path}: its graph takes {inputs} and gives {outputs}, its spec promises {wanted_inputs} and "
            f"{wanted_outputs}; export the model again"
        )
