"""What is imported, and when: nothing that an answer does not need, and nothing of the packages above."""

import json
import sys

import numpy as np
import pytest

from facectl_runtime.faces.gallery import Gallery

HEAVY = {
    "tensorflow",
    "tf_keras",
    "keras",
    "rich",
    "pydantic",
    "onnx",
    "scipy",
    "sklearn",
    "matplotlib",
    "PIL.ImageCms",
}
OF_FACES = {
    "sqlite3",
    "facectl_runtime.cli.faces",
    "facectl_runtime.draw",
    "facectl_runtime.evaluate",
    "facectl_runtime.faces",
    "facectl_runtime.threshold",
}
ABOVE = {"facectl_trainer", "facectl_export"}
# The process ends by os._exit, so what was imported is told as the command returns.
PROGRAM = """
import json, sys
from facectl_runtime.cli import run
code = run(sys.argv[1:])
print(json.dumps([code, sorted(sys.modules)]), file=sys.stderr)
"""


@pytest.fixture
def imported(spawn):
    """Give a function that runs a command line and gives the names of the modules that it imported."""

    def call(*words) -> set[str]:
        ran = spawn(*words, before=[sys.executable, "-c", PROGRAM])
        code, modules = json.loads(ran.err.splitlines()[-1])
        assert code == 0, ran.err
        return set(modules)

    return call


def test_predict_on_one_file_imports_what_its_answer_needs(imported, model, paint):
    modules = imported("predict", model, paint("a.png"))
    assert {"numpy", "onnxruntime", "PIL"} <= modules
    assert not modules & (HEAVY | ABOVE | OF_FACES)


@pytest.mark.parametrize("command", ["verify", "inspect"])
def test_verify_and_inspect_import_no_more(imported, model, command):
    assert not imported(command, model) & (HEAVY | ABOVE)


def test_inspect_does_not_start_the_engine(imported, model):
    assert "onnxruntime" not in imported("inspect", model)


def test_evaluate_imports_no_more(imported, model, classes):
    assert not imported("evaluate", model, "--data", classes) & (HEAVY | ABOVE)


def test_a_list_of_people_is_read_without_an_engine(imported, tmp_path):
    with Gallery.open(tmp_path / "a.gallery", "m", 2, write=True) as gallery:
        gallery.add("Anna", np.array([0, 1], np.float32), "a.jpg", "0" * 64)
    modules = imported("faces", "list", tmp_path / "a.gallery")
    assert "sqlite3" in modules
    assert not modules & (HEAVY | ABOVE | {"onnxruntime", "PIL", "facectl_runtime.image"})


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["--version"],
        ["predict", "--help"],
        ["evaluate", "--help"],
        ["faces", "--help"],
        ["faces", "identify", "--help"],
        ["faces", "calibrate", "--help"],
    ],
)
def test_help_imports_nothing_that_computes(imported, words):
    assert not imported(*words) & (HEAVY | {"numpy", "onnxruntime", "PIL"})


def test_a_usage_error_imports_nothing_that_computes(spawn):
    ran = spawn("predict", before=[sys.executable, "-c", PROGRAM])
    code, modules = json.loads(ran.err.splitlines()[-1])
    assert code == 2
    assert not set(modules) & (HEAVY | ABOVE | {"numpy", "onnxruntime", "PIL"})


@pytest.mark.skipif(sys.platform != "linux", reason="counts its threads in /proc")
def test_numpy_starts_no_threads_beside_the_engine(spawn, model):
    program = "import os, sys; from facectl_runtime.cli import run; run(sys.argv[1:]); import numpy; " + (
        "print(len(os.listdir('/proc/self/task')), file=sys.stderr)"
    )
    assert spawn("inspect", model, before=[sys.executable, "-c", program]).err.split()[-1] == "1"
