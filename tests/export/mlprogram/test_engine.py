"""The engine of Core ML packages: which one runs, what it says of itself, and what it refuses."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from facectl_export.mlprogram import engine, native
from facectl_export.mlprogram.onnx import to_onnx
from facectl_runtime.devices import Device
from facectl_runtime.engines import format_of
from facectl_runtime.errors import DeviceError, MissingExtraError, ModelError, UsageError
from helpers import call

pytest.importorskip("coremltools")
pytest.importorskip("tf_keras")
CPU = Device("cpu")
HEAVY = {"tensorflow", "tf_keras", "coremltools", "tf2onnx", "sklearn", "matplotlib"}


def opened(path, engine="auto", device=CPU):
    reader = format_of(path, engine)
    return reader.open(path, reader.read_spec(path), device)


def test_what_stands_in_says_so(package, pixels):
    answers = {}
    for name in ("auto", "reference", "declared-types"):
        ready = opened(package, name)
        answers[ready.name.partition(" (onnxruntime ")[0]] = ready.infer(pixels)
        assert (ready.device, ready.batch) == ("cpu", 1)
    assert list(answers) == ["reference", "reference, declared types"]
    difference = np.abs(answers["reference"] - answers["reference, declared types"]).max()
    assert 0 < difference < 0.01  # the package computes in 16-bit floats


def test_verify_evaluate_and_predict_take_a_package(package, photographs):
    row = json.loads(call("verify", package, "--json").out)[0]
    assert (row["passed"], row["images"]) == (True, 2)
    assert row["engine"].startswith("reference (onnxruntime ")
    for words in (("--engine", "reference"), ("--declared-types",)):
        ran = call("evaluate", package, "--data", photographs, "--json", "--quiet", *words)
        assert ran.code == 0, ran.err
        found = json.loads(ran.out)
        assert found["n"] > 10
        assert found["engine"].startswith("reference")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--engine", "coreml"), 6, "Core ML itself is on macOS alone; use --engine reference"),
        (("--engine", "refrence"), 2, "--engine 'refrence' is not known; did you mean 'reference'"),
        (("--engine", "coreml", "--declared-types"), 2, "Core ML has its own types; leave one out"),
        (("--device", "cuda"), 6, "this ONNX Runtime has no CUDA"),
    ],
)
def test_what_cannot_be_had_is_said(package, photographs, words, code, said):
    picture = next(Path(photographs).rglob("*.png"))
    ran = call("predict", package, picture, *words)
    assert ran.code == code
    assert said in ran.error()


def test_another_kind_of_model_has_one_engine(package, tmp_path):
    call("convert", package, tmp_path / "net.onnx")
    for words in (("--engine", "reference"), ("--declared-types",)):
        ran = call("verify", tmp_path / "net.onnx", *words)
        assert ran.code == 2
        assert "net.onnx: it has one engine; --engine and --declared-types are of an .mlpackage" in ran.error()
    with pytest.raises(UsageError, match="use coreml or reference or declared-types"):
        format_of(package, "another")


def test_other_classes_in_the_program_than_in_the_spec(package):
    reader = format_of(package)
    spec = reader.read_spec(package)
    with pytest.raises(ModelError, match="its program names other classes than its spec"):
        engine.open_reference(package, SimpleNamespace(labels=(*spec.labels[1:], "other")), CPU)


def test_without_onnx_the_extra_is_named(package, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r"an \.mlpackage needs onnx.*pip install 'facectl\[coreml\]'"):
        opened(package)


def test_a_package_is_answered_without_tensorflow_and_coremltools(package, photographs):
    program = "import sys; from facectl_runtime.cli import run; run(sys.argv[1:]); print(*sys.modules)"
    picture = next(Path(photographs).rglob("*.png"))
    words = [sys.executable, "-c", program, "predict", package, picture, "--quiet"]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert "onnxruntime" in ran.stdout.split()
    assert not {name.partition(".")[0] for name in ran.stdout.split()} & HEAVY


class Model:
    """What only macOS has: it answers as a program does, in Core ML's own shapes."""

    def __init__(self, path, compute_units):
        self.units, self._program = compute_units, to_onnx(Path(path))
        self.__proxy__, self._framework_error = object(), None
        self.description = SimpleNamespace(
            input=[SimpleNamespace(name="image")], predictedProbabilitiesName="classLabel_probs", output=[]
        )

    def get_spec(self):
        return SimpleNamespace(description=self.description)

    def predict(self, given):
        import onnxruntime

        session = onnxruntime.InferenceSession(self._program.model.SerializeToString())
        label, row = session.run(None, {"image": np.asarray(given["image"])[None]})
        shuffled = sorted(zip(self._program.labels, row[0].tolist(), strict=True), key=lambda one: one[1])
        return {"classLabel": label[0], "classLabel_probs": dict(shuffled)}


@pytest.fixture
def mac(monkeypatch):
    tools = SimpleNamespace(
        models=SimpleNamespace(MLModel=Model), ComputeUnit=SimpleNamespace(CPU_ONLY="cpu only", ALL="all")
    )
    monkeypatch.setattr(native.sys, "platform", "darwin")
    monkeypatch.setattr(native.platform, "mac_ver", lambda: ("26.1", ("", "", ""), "arm64"))
    monkeypatch.setattr(native, "_coremltools", lambda: tools)
    monkeypatch.setattr(engine, "is_there", lambda: True)
    return tools


@pytest.mark.usefixtures("mac")
def test_on_a_mac_core_ml_runs_and_its_dictionary_becomes_a_row(package, pixels):
    wanted = opened(package, "reference").infer(pixels)
    for name in ("auto", "coreml"):
        ready = opened(package, name)
        assert (ready.name, ready.device) == ("coreml (macOS 26.1)", "cpu")
        assert ready.infer(pixels) == pytest.approx(wanted, abs=1e-6)
    assert opened(package, "coreml", Device("auto")).device == "any"
    with pytest.raises(DeviceError, match="a Mac has no CUDA"):
        opened(package, "coreml", Device("cuda"))


def test_what_core_ml_says_of_a_model_is_one_line(package, pixels, mac):
    def fail(*_, **__):
        raise RuntimeError("Error compiling model:\nmore")

    mac.models.MLModel = fail
    with pytest.raises(ModelError, match=r"Core ML cannot load it \(Error compiling model:\)"):
        opened(package)

    def refuse(*arguments, **more):
        made = Model(*arguments, **more)
        made.__proxy__, made._framework_error = None, RuntimeError("unknown op")
        return made

    mac.models.MLModel = refuse
    with pytest.raises(ModelError, match=r"Core ML cannot load it \(unknown op\)"):
        opened(package)
    mac.models.MLModel = type("Failing", (Model,), {"predict": fail})
    with pytest.raises(ModelError, match=r"Core ML fails on it \(Error compiling model:\)"):
        opened(package).infer(pixels)
