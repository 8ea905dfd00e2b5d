"""A runtime-only install, `facectl[cpu]`, in its own environment: MB downloaded, MB on disk, what is not in it."""

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from common import ROOT, keep
from facectl_runtime.output import columns

ABSENT = ("tensorflow", "tf_keras", "coremltools", "sklearn", "matplotlib", "scipy", "onnx", "pydantic")


def main() -> None:
    """Download, install and look."""
    with tempfile.TemporaryDirectory() as folder:
        wheels, environment = Path(folder, "wheels"), Path(folder, "venv")
        constraints = ROOT / "constraints.txt"
        _pip(sys.executable, "wheel", "--no-deps", "--wheel-dir", wheels, ROOT)
        facectl = next(wheels.glob("facectl-*.whl"))
        _pip(sys.executable, "download", "--dest", wheels, "-c", constraints, f"{facectl}[cpu]")
        downloaded = sum(file.stat().st_size for file in wheels.iterdir()) / 1e6
        venv.create(environment, with_pip=True)
        packages = next(environment.glob("lib/python*/site-packages"))
        before = _size(packages)
        python = environment / "bin" / "python"
        _pip(python, "install", "--no-index", "--find-links", wheels, "--no-compile", f"{facectl}[cpu]")
        installed = _size(packages) - before
        present = [name for name in ABSENT if (packages / name).exists()]
        subprocess.run([environment / "bin" / "facectl", "--version"], check=True, stdout=subprocess.DEVNULL)
    rows = [("facectl[cpu]", "MB"), ("downloaded", f"{downloaded:.0f}"), ("installed", f"{installed:.0f}")]
    print(columns(rows, right=(1,)))
    print(f"of {', '.join(ABSENT)}: {', '.join(present) or 'none'}")
    keep("install_size", {"downloaded_mb": downloaded, "installed_mb": installed, "present": present})


def _pip(python: str | Path, *arguments: object) -> None:
    subprocess.run([str(python), "-m", "pip", "--quiet", *map(str, arguments)], check=True)


def _size(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and file.suffix != ".pyc") / 1e6


if __name__ == "__main__":
    main()
