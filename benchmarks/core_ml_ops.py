"""coremltools' own tests of ops, by what stands in for Core ML: how many answers are those expected.

coremltools brings these tests along, with inputs and expected outputs; off the Mac it converts each program and
compares nothing. Here the reader runs each (32-bit floats), as Core ML would on a Mac. Tests of recurrent layers,
control flow, lists, random numbers, state and detection are left out: no classifier of one image has those. So are two
files that need PyTorch.
"""

import gc
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

FORMS = (
    "LSTM",
    "GRU",
    "RNN",
    "Cond",
    "While",
    "List",
    "Random",
    "State",
    "NonMaximumSuppression",
    "CropResize",
    "invalid_indices",
)
RESULT = "FACECTL_OPS_RESULT"
_alike: Counter[str] = Counter()
_refused: Counter[str] = Counter()
_other: list[str] = []


def main() -> None:
    """Run the tests in a process of their own, with this module as a plugin; print and keep what came of them."""
    from common import keep

    found = find_spec("coremltools")
    assert found is not None
    assert found.origin is not None
    tests = Path(found.origin).parent / "converters/mil/mil/ops/tests"
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder, "result.json")
        words = ["-q", "-p", "core_ml_ops", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", folder]
        words += [
            "-W",
            "ignore",
            "--tb=no",
            "--continue-on-collection-errors",
            "-k",
            f"not ({' or '.join(FORMS)})",
            str(tests),
        ]
        here = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
        settings = {RESULT: str(result), "PYTHONPATH": here, "PYMIL_TEST_TARGETS": "mlprogram"}
        settings |= {"INCLUDE_MIL_FP32_UNIT_TESTS": "1"}
        subprocess.run([sys.executable, "-m", "pytest", *words], env={**os.environ, **settings}, check=False)
        figures = json.loads(result.read_text(encoding="utf-8"))
    print(f"{figures['alike']} programs answer as expected, of {figures['ops']} kinds of test")
    print(f"refused by name: {figures['refused'] or 'none'}")
    print(f"otherwise: {figures['other'] or 'none'}")
    keep("core_ml_ops", figures)


def pytest_configure() -> None:
    """Put the reader in the place of Core ML, before the tests import what would ask that."""
    import coremltools as ct
    import coremltools.converters.mil.mil.ops.tests.testing_utils as of_ops
    from coremltools.converters.mil import testing_reqs, testing_utils

    gc.collect = lambda *_: 0  # type: ignore[assignment]  # coremltools calls it at each conversion: 0.2 s
    testing_reqs.backends[:] = [one for one in testing_reqs.backends if one[1] == "fp32"]
    own = testing_reqs.backends_internal
    own[:] = [one for one in own if one.precision == "fp32"]
    testing_reqs.compute_units[:] = [ct.ComputeUnit.CPU_ONLY]
    testing_utils.compare_backend = of_ops.compare_backend = compare


def pytest_sessionfinish() -> None:
    """Write what came of the tests."""
    figures = {"alike": sum(_alike.values()), "ops": len(_alike), "refused": dict(_refused), "other": _other}
    Path(os.environ[RESULT]).write_text(json.dumps(figures), encoding="utf-8")


def compare(
    mlmodel: Any, input_key_values: Any, expected_outputs: Any, atol: float = 1e-4, rtol: float = 1e-5, **_: Any
) -> None:
    """Run a program by the reader and compare its outputs; count what came of it. Called as coremltools' own is."""
    from facectl_export.mlprogram.errors import UnsupportedError

    test = os.environ["PYTEST_CURRENT_TEST"].rpartition(" ")[0]
    try:
        answers = run(mlmodel, input_key_values)
    except UnsupportedError as error:
        named = re.search(r"(?:: op|itself runs:) (\w+)", str(error))
        _refused[named[1] if named else str(error)] += 1
        return
    except Exception:
        _other.append(test)
        raise
    found = [answers.get(name, next(iter(answers.values()))) for name in expected_outputs or ()]
    pairs = [(one, np.asarray(wanted)) for one, wanted in zip(found, (expected_outputs or {}).values(), strict=True)]
    if all(near(one, want, max(atol, 1e-4), max(rtol, 1e-4)) for one, want in pairs):
        _alike[test.partition("::")[2].partition("::")[0]] += 1
    else:
        _other.append(test)
        raise AssertionError(test)


def near(found: Any, wanted: Any, atol: float, rtol: float) -> bool:
    """Tell whether two outputs are alike; one that is expected in 16-bit floats is that coarse itself."""
    coarse = 2e-3 if wanted.dtype == np.float16 else 0.0
    if found.size != wanted.size:
        return False
    return np.allclose(found.reshape(wanted.shape), wanted, atol=max(atol, coarse), rtol=max(rtol, coarse))


def run(model: Any, given: Any) -> dict[str, Any]:
    """Save a model, read it back and run it."""
    import onnxruntime

    from facectl_export.mlprogram.onnx import to_onnx

    with tempfile.TemporaryDirectory() as folder:
        model.save(str(Path(folder, "a.mlpackage")))
        graph = to_onnx(Path(folder, "a.mlpackage")).model
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, ["CPUExecutionProvider"])
    kinds = {"tensor(float)": np.float32, "tensor(int32)": np.int32, "tensor(bool)": np.bool_}
    kinds |= {"tensor(int8)": np.int8, "tensor(uint8)": np.uint8}
    fed = {}
    for one in session.get_inputs():
        array = np.asarray(given[one.name]).astype(kinds[one.type])
        fed[one.name] = array.reshape(-1) if array.ndim == 0 and one.shape else array
    names = [one.name for one in session.get_outputs()]
    return dict(zip(names, session.run(None, fed), strict=True))


if __name__ == "__main__":
    main()
