"""Imports run one way: export → trainer → runtime. Runtime names neither, and needs no TensorFlow."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BELOW = {
    "facectl_runtime": set(),
    "facectl_trainer": {"facectl_runtime"},
    "facectl_export": {"facectl_runtime", "facectl_trainer"},
}
FOLDERS = {"facectl_runtime": "runtime", "facectl_trainer": "trainer", "facectl_export": "export"}


def imported(file):
    """Top-level packages that a file imports, wherever in it; a relative import stays in its own."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield (node.module or "").partition(".")[0]


def files(package):
    found = sorted((ROOT / FOLDERS[package] / package).rglob("*.py"))
    assert len(found) > 5
    return found


@pytest.mark.parametrize("package", BELOW)
def test_a_package_imports_only_those_below(package):
    allowed = BELOW[package] | {package}
    wrong = {str(f.relative_to(ROOT)): name for f in files(package) for name in imported(f)
             if name.startswith("facectl") and name not in allowed}  # fmt: skip
    assert wrong == {}


def test_runtime_names_neither_of_the_packages_above():
    wrong = [
        str(file.relative_to(ROOT))
        for file in files("facectl_runtime")
        if any(name in file.read_text(encoding="utf-8") for name in ("facectl_trainer", "facectl_export"))
    ]
    assert wrong == []


def test_runtime_imports_no_training_framework():
    heavy = {"tensorflow", "tf_keras", "keras", "torch", "sklearn", "scipy", "onnx", "tf2onnx"}
    wrong = {str(file.relative_to(ROOT)): name for file in files("facectl_runtime") for name in imported(file)
             if name in heavy}  # fmt: skip
    assert wrong == {}
