"""Core ML packages off the Mac: how near they answer to Keras, how fast they are read and run, which ops are known.

`python benchmarks/core_ml.py [NAME…]` measures these networks alone, and leaves the other figures as they are. Ends
with exit code 1 where a float32 program is further from Keras, or slower, than is wanted.
"""

import json
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from common import OUT, facectl, keep, test_data
from facectl_export.gate import compare
from facectl_export.mlprogram.constexpr import DENSE
from facectl_export.mlprogram.onnx import CLASSIFY, to_onnx
from facectl_export.mlprogram.ops import OPS
from facectl_runtime.bench import latency
from facectl_runtime.devices import Device
from facectl_runtime.engines import Engine, format_of
from facectl_runtime.engines.coreml import DECLARED_TYPES, REFERENCE
from facectl_runtime.evaluate import answer_labelled
from facectl_runtime.labelled import read_split
from facectl_runtime.output import columns
from facectl_runtime.spec import ModelSpec

PRECISIONS = "fp32,fp16,int8-weights,palette8,palette6,palette4"
CPU = Device("cpu")
SLOWEST, FURTHEST = 1.2, 1e-3
"""What is wanted of a float32 program: its time against the same run's ONNX export, its largest |Δp| from Keras."""
NETWORKS = {
    "EfficientNet-Lite0": ("zoo", f"{PRECISIONS},pruned", "zoo"),
    "MobileNetV2": ("zoo", PRECISIONS, "zoo", "--backbone", "mobilenet_v2"),
    "ResNet50": ("zoo", PRECISIONS, "zoo", "--backbone", "resnet50"),
    "VGG16": ("zoo", PRECISIONS, "zoo", "--backbone", "vgg16"),
    "InceptionV3": ("zoo", PRECISIONS, "zoo", "--backbone", "inception_v3"),
    "FaceNet": ("lfw", PRECISIONS, "lfw10", "--variant", "facenet"),
    "MobileNetV3, from scratch": ("zoo", PRECISIONS, "mobilenet_v3"),
    "convnet": ("shapes", PRECISIONS, "shapes"),
}
"""By name: photographs, precisions, the recipe and options of `facectl train`."""
FROM_SCRATCH = """
backbone = "{}"
weights = "none"
resize = {{ kind = "squash" }}
split = {{ test = 0.2, val = 0.15 }}
stages = [{{ train = "all", optimizer = "adam", rate = 1e-3, epochs = 4, patience = 4 }}]
"""
"""The recipe of a network whose weights are not wanted: it need not be good to be compared with itself."""
NO_CLASSIFIER = {
    "control flow": ("cond", "while_loop"),
    "lists": ("list_gather", "list_length", "list_read", "list_scatter", "list_write", "make_list"),
    "recurrent layers": ("gru", "lstm", "rnn"),
    "random numbers": ("random_bernoulli", "random_categorical", "random_normal", "random_uniform"),
    "state": ("read_state", "coreml_update_state"),
    "regions of an image": ("crop_resize", "non_maximum_suppression"),
}
"""What no classifier of one image is made of."""


def main() -> None:
    """Measure what was asked for, or all; print and keep it."""
    path = OUT / "core_ml.json"
    figures: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    figures = {"networks": figures.get("networks", {}), "ops": coverage()}
    for name in sys.argv[1:] or NETWORKS:
        figures["networks"][name] = measure(*NETWORKS[name])
        keep("core_ml", figures)
    print(text(figures["networks"]))
    ops = figures["ops"]
    missing = ", ".join(ops["missing"]) or "none"
    print(f"{ops['known']} of {ops['emitted']} ops that the frontends can emit for a classifier; missing: {missing}")
    slow = [name for name, one in figures["networks"].items() if one["times_onnx"] > SLOWEST]
    far = [name for name, one in figures["networks"].items() if one["files"]["fp32"]["largest"] > FURTHEST]
    if slow or far:
        sys.exit(f"slower than {SLOWEST} × ONNX: {slow or 'none'}; further than {FURTHEST} from Keras: {far or 'none'}")


def measure(photographs: str, precisions: str, *train: str) -> dict[str, Any]:
    """Train a network, export it, and compare each package with the Keras model."""
    with tempfile.TemporaryDirectory() as folder:
        run, data = Path(folder, "run"), Path(folder, "shapes")
        if photographs == "shapes":
            facectl("data", "shapes", "--to", data, "--quiet")
        else:
            data = test_data(photographs)
        recipe, *options = train
        if recipe == "mobilenet_v3":
            (own := Path(folder, f"{recipe}.toml")).write_text(FROM_SCRATCH.format(recipe), encoding="utf-8")
            recipe = str(own)
        facectl("train", recipe, *options, "--data", data, "--out", run, "--no-report", "--quiet")
        words = ("--allow-degraded", "all", "--quiet", "--json")
        facectl("export", run, "--format", "onnx", *words)
        export = json.loads(facectl("export", run, "--format", "coreml", "--quantize", precisions, *words))
        return compared(run, {row["precision"]: run / "export" / row["file"] for row in export["files"]})


def compared(run: Path, packages: dict[str, Path]) -> dict[str, Any]:
    """Give what was measured of the packages of a run."""
    spec, split = format_of(run).read_spec(run), read_split(run / "split.json")
    root, images = Path(split.root), split.parts["test"]

    def answers(engine: Engine) -> Any:
        return answer_labelled(engine, spec.input, spec.labels, root, images, lambda _: None)

    wanted = answers(format_of(run).open(run, spec, CPU))
    files: dict[str, Any] = {}
    for precision, path in packages.items():
        found = {name: compare(wanted, answers(opened(path, name))) for name in (REFERENCE, DECLARED_TYPES)}
        files[precision] = {
            "largest": found[REFERENCE].largest,
            "agreement": found[REFERENCE].agreement,
            "declared_largest": found[DECLARED_TYPES].largest,
            "declared_agreement": found[DECLARED_TYPES].agreement,
            "read_seconds": read_seconds(path),
            "bytes": sum(file.stat().st_size for file in path.rglob("*") if file.is_file()),
        }
    ratios = times(spec, run / "export" / f"{spec.name}.onnx", packages["fp32"])
    return {"n": len(images), "times_onnx": ratios, "ops": to_onnx(packages["fp32"]).ops, "files": files}


def opened(path: Path, engine: str) -> Engine:
    """Open a package by an engine."""
    form = format_of(path, engine)
    return form.open(path, form.read_spec(path), CPU)


def read_seconds(path: Path) -> float:
    """Give the median seconds, of three, from a package on disk to a graph."""
    took = []
    for _ in range(3):
        started = time.perf_counter()
        to_onnx(path)
        took.append(time.perf_counter() - started)
    return sorted(took)[1]


def times(spec: ModelSpec, onnx: Path, package: Path) -> float:
    """Give the time of a package over that of the run's own ONNX export, the two in turn."""
    own = format_of(onnx)
    engines = [("onnx", own.open(onnx, own.read_spec(onnx), CPU)), ("program", opened(package, REFERENCE))]
    took = latency.measure(engines, spec.input, seconds=10)
    return took["program"].median / took["onnx"].median


def coverage() -> dict[str, Any]:
    """Count the ops that coremltools' TensorFlow and PyTorch frontends, and its compression, can emit."""
    from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

    found = find_spec("coremltools")
    assert found is not None
    assert found.origin is not None
    root = Path(found.origin).parent
    places = ("converters/mil/frontend", "converters/mil/mil/passes", "optimize/coreml")
    sources = (file.read_text(encoding="utf-8") for place in places for file in (root / place).rglob("*.py"))
    named = {name for source in sources for name in re.findall(r"\bmb\.(\w+)", source)}
    others = {name for names in NO_CLASSIFIER.values() for name in names}
    ops = {name for name in SSAOpRegistry.core_ops if not name.startswith("_")}
    emitted = ((named & ops) | {CLASSIFY}) - others
    known = {*OPS, *DENSE, CLASSIFY, "const"}
    return {"emitted": len(emitted), "known": len(emitted & known), "missing": sorted(emitted - known)}


def text(networks: dict[str, Any]) -> str:
    """Lay out every package."""
    header = ("network", "precision", "largest |Δp|", "agrees", "rounded: |Δp|", "agrees", "read, s", "× ONNX", "n")
    rows: list[Sequence[str]] = [header]
    for name, network in networks.items():
        for precision, one in network["files"].items():
            measured = (f"{one['largest']:.2g}", f"{one['agreement']:.4f}")
            rounded = (f"{one['declared_largest']:.2g}", f"{one['declared_agreement']:.4f}")
            ratio = f"{network['times_onnx']:.2f}" if precision == "fp32" else ""
            rows.append((name, precision, *measured, *rounded, f"{one['read_seconds']:.2f}", ratio, str(network["n"])))
    return columns([tuple(row) for row in rows], right=range(2, 9))


if __name__ == "__main__":
    main()
