"""ML Programs written with coremltools' MIL builder, saved as packages, and run by the reader."""

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
from coremltools.converters.mil import Builder as mb
from coremltools.converters.mil.backend.mil.load import load
from coremltools.converters.mil.mil import types

from facectl_export.mlprogram.onnx import to_onnx

VERSIONS = {"iOS15": 6, "iOS16": 7, "iOS17": 8, "iOS18": 9, "iOS26": 10}
KINDS = {
    np.dtype(np.float32): types.fp32,
    np.dtype(np.float16): types.fp16,
    np.dtype(np.int32): types.int32,
    np.dtype(np.bool_): types.bool,
}


def values(shape: Sequence[int], seed: int = 0, scale: float = 3.0) -> Any:
    """Draw floats of both signs."""
    return np.random.default_rng(seed).normal(0, scale, shape).astype(np.float32)


def save(
    build: Callable[..., Any],
    given: Mapping[str, Any],
    path: Path,
    ios: str = "iOS17",
    without: Sequence[str] = (),
) -> Path:
    """Save what `build`, called with a variable for each array given, returns: one variable or several.

    No pass changes the program on the way: what is saved is what was built. The builder writes every default down;
    parameters named in `without` are taken out again.
    """
    specs = [mb.TensorSpec(shape=array.shape, dtype=KINDS[array.dtype]) for array in given.values()]
    named = f"lambda {', '.join(given)}: build({', '.join(f'{name}={name}' for name in given)})"
    function = eval(named, {"build": build})  # the builder names inputs after the parameters
    program = mb.program(input_specs=specs, opset_version=getattr(ct.target, ios))(function)
    weights = path / "Data" / "com.apple.CoreML" / "weights"
    weights.mkdir(parents=True)
    model = load(program, str(weights), specification_version=VERSIONS[ios])
    (block,) = model.mlProgram.functions["main"].block_specializations.values()
    for op in block.operations:
        for parameter in set(without) & set(op.inputs):
            del op.inputs[parameter]
    (weights.parent / "model.mlmodel").write_bytes(model.SerializeToString())
    items = {
        "model": {"path": "com.apple.CoreML/model.mlmodel", "author": "com.apple.CoreML", "name": "model.mlmodel"},
        "weights": {"path": "com.apple.CoreML/weights", "author": "com.apple.CoreML", "name": "weights"},
    }
    manifest = {"fileFormatVersion": "1.0.0", "itemInfoEntries": items, "rootModelIdentifier": "model"}
    (path / "Manifest.json").write_text(json.dumps(manifest))
    return path


def run(package: Path, given: Mapping[str, Any], declared_types: bool = False) -> list[Any]:
    """Run a package by the reader, and give its outputs in order."""
    import onnx
    import onnxruntime

    model = to_onnx(package, declared_types).model
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    fed = {name: np.float32(array) if array.dtype == np.float16 else array for name, array in given.items()}
    return session.run(None, fed)


def outputs(
    build: Callable[..., Any],
    given: Mapping[str, Any],
    ios: str = "iOS17",
    declared_types: bool = False,
    without: Sequence[str] = (),
) -> list[Any]:
    """Save a program, read it back, and run it."""
    with tempfile.TemporaryDirectory() as folder:
        return run(save(build, given, Path(folder) / "a.mlpackage", ios, without), given, declared_types)


def answers(package: Path, pixels: Any, declared_types: bool = False) -> tuple[Any, list[str]]:
    """Answer images (uint8 N × height × width × 3), each by itself: their rows, and their labels if there are any."""
    import onnxruntime

    session = onnxruntime.InferenceSession(to_onnx(package, declared_types).model.SerializeToString())
    (name,) = [given.name for given in session.get_inputs()]
    found = [session.run(None, {name: image[None]}) for image in pixels]
    rows = np.concatenate([next(one for one in each if one.dtype == np.float32) for each in found])
    return rows, [str(one[0]) for each in found for one in each if one.dtype != np.float32]


def operations(package: Path) -> list[Any]:
    """Give the ops of a package as coremltools reads them back."""
    from coremltools.converters.mil.frontend.milproto.load import load as read
    from coremltools.proto import Model_pb2

    place = package / "Data" / "com.apple.CoreML"
    spec = Model_pb2.Model.FromString((place / "model.mlmodel").read_bytes())
    program = read(spec, spec.specificationVersion, file_weights_dir=str(place / "weights"))
    return list(program.functions["main"].operations)
