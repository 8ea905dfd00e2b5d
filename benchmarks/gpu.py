"""On a GPU: images a second of facectl's engine by batch, against a session whose buffers are bound to the device."""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from common import facectl, keep, test_data
from facectl_runtime.bench.latency import answering, in_turn
from facectl_runtime.devices import Device, parse_device
from facectl_runtime.engines import Engine, format_of
from facectl_runtime.engines.onnx import start
from facectl_runtime.errors import FacectlError
from facectl_runtime.output import columns
from facectl_runtime.spec import ModelSpec

MODELS, BATCHES, SECONDS = ("zoo.onnx", "zoo.fp16.onnx"), (1, 8, 32, 128), 5.0
PROVIDERS = {"cuda": "CUDAExecutionProvider", "cpu": "CPUExecutionProvider"}
WAYS = ("infer", "bound", "copied")
"""Pixels in and answers out by facectl; both on the device all the time; pixels copied there, answers left there."""


def main() -> None:
    """Train a model and time its files, or say that there is no GPU."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda", help="cpu tries the script, and keeps no figures")
    device = parse_device(parser.parse_args().device)
    if device.kind not in PROVIDERS:
        sys.exit(f"--device {device}: use cuda, cuda:N or cpu")
    try:
        start(device)
    except FacectlError as error:
        print(f"gpu.py: no GPU, so that nothing is measured: {error}")
        return
    data = test_data("zoo")
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, "zoo")
        facectl("train", "zoo", "--data", data, "--out", run, "--no-report", "--quiet")
        facectl("export", run, "--format", "onnx", "--quantize", "fp32,fp16", "--quiet")
        found = {name: _by_batch(run / "export" / name, device) for name in MODELS}
    rows = [("", "batch", "facectl, images a second", "buffers bound", "ratio", "bound, pixels copied", "ratio")]
    for name, batches in found.items():
        for batch, one in batches.items():
            rates = f"{one['infer']:.0f}", f"{one['bound']:.0f}", f"{one['to_bound']:.3f}", f"{one['copied']:.0f}"
            rows.append((name, str(batch), *rates, f"{one['to_copied']:.3f}"))
    print(columns(rows, right=(1, 2, 3, 4, 5, 6)))
    print("facectl copies pixels to the device and answers back, which buffers that are bound do without")
    if device.kind == "cuda":
        keep("gpu", {"gpu": _name(device), "onnxruntime": onnxruntime.__version__, "models": found})


def _by_batch(model: Path, device: Device) -> dict[int, dict[str, float]]:
    """Time a model in each way with each number of images at once, in turn: images a second, and median ratios."""
    reader = format_of(model)
    spec = reader.read_spec(model)
    engine, session = reader.open(model, spec, device), _session(model, device)
    work: dict[tuple[int, str], Callable[[], object]] = {}
    for batch in BATCHES:
        ways = (answering(engine, spec.input, batch), *_bound(session, spec, device, engine, batch))
        work |= {(batch, way): answer for way, answer in zip(WAYS, ways, strict=True)}
    turns = in_turn(work, SECONDS)
    found = {}
    for batch in BATCHES:
        infer, bound, copied = (np.array([batch / np.median(turn) for turn in turns[batch, way]]) for way in WAYS)
        rates = {way: float(np.median(each)) for way, each in zip(WAYS, (infer, bound, copied), strict=True)}
        found[batch] = {**rates, "to_bound": _ratio(infer, bound), "to_copied": _ratio(infer, copied)}
    return found


def _ratio(infer: Any, other: Any) -> float:
    return float(np.median([one / beside for one, beside in zip(infer, other, strict=False)]))


def _bound(
    session: Any, spec: ModelSpec, device: Device, engine: Engine, batch: int
) -> tuple[Callable[[], object], Callable[[], object]]:
    """Give two functions that run a session with input and output bound: the second copies the pixels there first.

    Ends where they answer otherwise than `engine` does.
    """
    shape = (batch, spec.input.height, spec.input.width, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    value = onnxruntime.OrtValue
    given = value.ortvalue_from_numpy(pixels, device.kind, device.index)
    answers = value.ortvalue_from_shape_and_type((batch, spec.output.size), np.float32, device.kind, device.index)
    binding = session.io_binding()
    binding.bind_ortvalue_input(session.get_inputs()[0].name, given)
    binding.bind_ortvalue_output(session.get_outputs()[0].name, answers)

    def run(copied: bool) -> None:
        if copied:
            given.update_inplace(pixels)
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()

    run(copied=True)
    if not np.allclose(answers.numpy(), engine.infer(pixels), atol=1e-2):
        sys.exit(f"{batch} at once: bound buffers answer otherwise than facectl does")
    return partial(run, copied=False), partial(run, copied=True)


def _session(model: Path, device: Device) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = device.cores
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # as facectl's
    provider = PROVIDERS[device.kind]
    settings = {"device_id": device.index} if device.kind == "cuda" else {}
    session = onnxruntime.InferenceSession(model, options, [(provider, settings)])
    if session.get_providers()[0] != provider:
        sys.exit(f"{model.name}: ONNX Runtime did not take {provider}")
    return session


def _name(device: Device) -> str:
    """Give the GPU's name by NVIDIA's own tool."""
    command = ["nvidia-smi", f"--id={device.index}", "--query-gpu=name", "--format=csv,noheader"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    main()
