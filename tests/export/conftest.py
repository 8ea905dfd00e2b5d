"""A run on drawn photographs, its export at every precision, and what tests do with the command line."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facectl_runtime import image
from helpers import Ran, call

COLOURS = {"red": (205, 60, 50), "green": (60, 170, 70), "blue": (50, 70, 200)}


@dataclass(frozen=True)
class Trained:
    folder: Path
    data: Path
    home: Path


@dataclass(frozen=True)
class Exported:
    folder: Path
    fp32: Path
    int8: Path
    ran: Ran
    calibrated_on: list[str]
    """Paths below the data folder that were read while the model was quantized."""


@pytest.fixture(scope="package", autouse=True)
def quickly_timed() -> Iterator[None]:
    """Time files for a moment only: what they take is not what these tests are about."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("facectl_runtime.bench.latency.SECONDS", 0.02)
        yield


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of fifteen, of several sizes."""
    folder, random = tmp_path_factory.mktemp("photographs"), np.random.default_rng(0)
    for label, colour in COLOURS.items():
        (folder / label).mkdir()
        for number in range(15):
            noise = random.normal(0, 40, (64 + 8 * (number % 3), 80, 3))
            picture = Image.fromarray(np.uint8(np.clip(noise + colour, 0, 255)))
            picture.save(folder / label / f"{number:02}.png")
    return folder


@pytest.fixture(scope="session")
def trained(home: Path, photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train a run that every test may read and none may change."""
    pytest.importorskip("tf_keras")
    folder = tmp_path_factory.mktemp("runs") / "colours"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACECTL_HOME", str(home))
        words = ["train", "zoo", "--data", photographs, "--out", folder, "--epochs", 40, "--device", "cpu", "--quiet"]
        words.append("--no-report")
        done = call(*words)
    assert done.code == 0, done.err
    return Trained(folder, photographs, home)


@pytest.fixture(scope="session")
def exported(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Its export at fp32 and int8, with a watch on which photographs the quantizer saw."""
    for package in ("onnx", "tf2onnx", "onnxruntime"):
        pytest.importorskip(package)
    from facectl_export.formats import WRITERS, onnx

    folder, read, watched = tmp_path_factory.mktemp("exported") / "files", [], []
    load, calibrate = image.load, onnx.calibrate

    def watch(source: Any, spec: Any) -> Any:
        if watched:
            read.append(str(source.relative_to(trained.data)))
        return load(source, spec)

    def watch_calibration(*arguments: Any) -> Any:
        watched.append(True)
        try:
            return calibrate(*arguments)
        finally:
            watched.clear()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image, "load", watch)
        quantizer = replace(WRITERS["onnx"].quantizer, calibrate=watch_calibration)
        patch.setitem(WRITERS, "onnx", replace(WRITERS["onnx"], quantizer=quantizer))
        ran = call("export", trained.folder, "--out", folder, "--quantize", "int8,fp32", "--json", "--quiet")
    assert ran.code == 0, ran.err
    return Exported(folder, folder / "colours.onnx", folder / "colours.int8.onnx", ran, read)
