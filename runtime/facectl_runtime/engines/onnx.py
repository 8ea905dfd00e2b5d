"""ONNX models on ONNX Runtime."""

import importlib
import io
import os
import re
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from facectl_runtime.devices import Device
from facectl_runtime.engines import graph_cache
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
from facectl_runtime.installed import again, cuda_cure
from facectl_runtime.onnx_metadata import graph_digest, read_metadata, weights, write_spec
from facectl_runtime.sources import display_name
from facectl_runtime.spec import ModelSpec

_CUDA, _CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
# y = Identity(x) of one float32, by IR version 8 and opset 13
_IDENTITY = (
    b'\x08\x08:7\n\x10\n\x01x\x12\x01y"\x08Identity\x12\x01gZ\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01'
    b"b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\r"
)

# ONNX Runtime's own builds report each session to their maker, unless this is set before the first import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def read_spec(path: Path) -> ModelSpec:
    """Read the spec out of an ONNX file. Raises `ModelError`."""
    return spec_in(read_metadata(path), path, DESCRIBE)


def open_session(path: Path, spec: ModelSpec, device: Device, graph: bytes | None = None) -> Engine:
    """Build an ONNX Runtime session whose input and output are those that `spec` promises.

    `graph` is the model where it does not lie at `path`, but was made of what does.
    """
    return engine_of(path, open_graph(path, device, graph, spec.graph_sha256), spec)


def open_graph(path: Path, device: Device, graph: bytes | None = None, digest: str | None = None) -> Graph:
    """Build an ONNX Runtime session of any ONNX file, as `open_session` does of facectl's own.

    `digest` is the SHA-256 of its graph where that is known, and was checked.
    """
    runtime = _onnxruntime()
    session, no_gpu = _session(runtime, path, device, graph, digest)
    used = f"cuda:{device.index}" if session.get_providers()[0] == _CUDA else "cpu"
    inputs, outputs = (tuple(map(_tensor, nodes)) for nodes in (session.get_inputs(), session.get_outputs()))

    def run(values: Values) -> Values:
        try:
            return np.asarray(session.run(None, {inputs[0].name: values})[0])
        except Exception as error:  # ONNX Runtime's own classes share no base but Exception
            raise failing(path, "ONNX Runtime", error) from error

    # Threads of one computation wait for one another; those of another then have something to do.
    lanes = 2 if used == "cpu" and device.cores > 1 else 1
    return Graph(f"onnxruntime {runtime.__version__}", used, inputs, outputs, run, no_gpu, lanes)


def load(path: Path, threads: int | None = None) -> Any:
    """Load any ONNX file, of whatever inputs and outputs, on the CPU. Raises `ModelError`, `MissingExtraError`."""
    return _session(_onnxruntime(), path, Device("cpu", threads=threads), None)[0]


def start(device: Device) -> None:
    """Start ONNX Runtime on a device with a graph that gives back what it is given.

    Raises `MissingExtraError` and `DeviceError` where it does not.
    """
    _session(_onnxruntime(), Path("a graph of one node"), device, _IDENTITY)


def _onnxruntime() -> Any:
    try:
        runtime = importlib.import_module("onnxruntime")
        if hasattr(runtime, "InferenceSession"):
            return runtime
        why = "its folder is there without its files"  # what the other of its two packages leaves when it is removed
    except ImportError as error:
        if getattr(error, "name", None) == "onnxruntime" and isinstance(error, ModuleNotFoundError):
            raise MissingExtraError(
                "an .onnx file needs ONNX Runtime; install it with: pip install 'facectl[cpu]' or 'facectl[gpu]'"
            ) from error
        if isinstance(error.__cause__, KeyboardInterrupt):  # which struck while its C++ was initialized
            raise KeyboardInterrupt from error
        why = reason(error)
    raise MissingExtraError(f"onnxruntime is installed but does not start ({why}); install it again: {again()}")


def _session(
    runtime: Any, path: Path, device: Device, graph: bytes | None, digest: str | None = None
) -> tuple[Any, str | None]:
    """Build a session on the device asked for; `auto` takes CUDA where it really runs, and the CPU elsewhere.

    Gives with it why CUDA does not run, where this ONNX Runtime has it and `auto` would have taken it.
    """
    why = None
    on_gpu = device.kind != "cpu" and _CUDA in runtime.get_available_providers()
    if device.kind == "cuda" and not on_gpu:
        raise DeviceError(f"--device {device}: this ONNX Runtime has no CUDA; {cuda_cure()}, or use --device cpu")
    if on_gpu:
        missing = _preload(runtime)
        try:
            session = _load(runtime, device, [(_CUDA, {"device_id": device.index}), _CPU], graph or path)
            why = missing or "CUDA did not start"
        except Exception as error:
            session, why = None, reason(error)
        # A provider that fails to start may be left out without an error: only the session knows.
        if session is not None and session.get_providers()[0] == _CUDA:
            return session, None
        if device.kind == "cuda":
            raise DeviceError(f"--device {device}: {why}; {cuda_cure()}, or use --device cpu")
    build = partial(_load, runtime, device, [_CPU])
    try:
        return (build(graph) if graph else graph_cache.session(runtime, path, digest, build)), why
    except Exception as error:
        raise ModelError(f"{path}: ONNX Runtime cannot load it ({reason(error)}); copy or export it again") from error


def _preload(runtime: Any) -> str:
    """Load CUDA's libraries; give the first line of what ONNX Runtime would print of missing ones among the answers."""
    runtime.set_default_logger_severity(4)  # a provider that does not start is said by our own errors, or no matter
    with redirect_stdout(io.StringIO()) as said:
        runtime.preload_dlls()
    return said.getvalue().partition("\n")[0]


def _load(runtime: Any, device: Device, providers: list[Any], model: Path | bytes, **settings: Any) -> Any:
    # ONNX Runtime takes no path that is not UTF-8, but a file's content as well.
    if isinstance(model, Path) and display_name(model) != str(model):
        model = model.read_bytes()
    options = _options(runtime, device)
    for name, value in settings.items():
        setattr(options, name, value)
    # Its own fallback to the CPU would announce itself on stdout, among the answers.
    return runtime.InferenceSession(model, options, providers, enable_fallback=0)


def _options(runtime: Any, device: Device) -> Any:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = device.cores
    options.log_severity_level = 4  # what goes wrong is said by our own errors
    # Threads that spin while they wait would take the cores from the decoders.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _tensor(node: Any) -> Tensor:
    named = re.fullmatch(r"tensor\((\w+)\)", node.type)
    dtype = named[1] if named else node.type
    shape = tuple(side if isinstance(side, int) and side >= 0 else None for side in node.shape)
    return Tensor(node.name, {"float": "float32", "double": "float64"}.get(dtype, dtype), shape)


INSIDE = Inside(open_graph, read_metadata, weights, write_spec)
FORMAT = Format(read_spec, open_session, graph_digest, inside=INSIDE, sign=signing(write_spec), library=_onnxruntime)
