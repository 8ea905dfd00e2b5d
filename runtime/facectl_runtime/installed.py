"""Which packages are installed, told by the names of their folders, and how ONNX Runtime's two are mended.

importlib.metadata says the same, and takes as long to import as numpy.
"""

import re
import sys
from pathlib import Path

CPU, GPU = "onnxruntime", "onnxruntime-gpu"
"""Two packages with files of the same names: the later overwrites the earlier, and removing either breaks the other."""

_FOLDER = r"(.+?)-(\d[^-]*)(-.*)?\.(dist|egg)-info"


def installed() -> dict[str, str]:
    """Give the version of each package on `sys.path` by its normalized name, such as `onnxruntime-gpu`."""
    found: dict[str, str] = {}
    for folder in sys.path:
        for place in Path(folder or ".").glob("*-info"):
            if parts := re.fullmatch(_FOLDER, place.name):
                found.setdefault(normalized(parts[1]), parts[2])  # the first on the path counts
    return found


def normalized(name: str) -> str:
    """Write a package's name as all of its spellings are compared, by PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def cuda_cure() -> str:
    """Say in one line what would give this environment an ONNX Runtime that starts CUDA."""
    there = onnxruntimes()
    if there == [GPU]:
        return f"check that nvidia-smi lists the GPU, and install the libraries with: pip install '{GPU}[cuda,cudnn]'"
    if there == [CPU, GPU]:
        return f"{CPU} and {GPU} are both installed and overwrite one another: {swap('gpu')}"
    return f"put {GPU} in its place: {swap('gpu')}"


def again() -> str:
    """Give the commands that install ONNX Runtime anew where it does not start."""
    there = onnxruntimes()
    return reinstall(there[0]) if len(there) == 1 else swap("cpu")


def reinstall(name: str) -> str:
    """Give the command that writes the files of an installed package anew."""
    return f"pip install --force-reinstall --no-deps {name}=={installed()[name]}"


def swap(extra: str) -> str:
    """Give the commands that leave what facectl's extra `cpu` or `gpu` brings, and no other ONNX Runtime."""
    there = onnxruntimes()
    return (f"pip uninstall -y {' '.join(there)} && " if there else "") + f"pip install 'facectl[{extra}]'"


def onnxruntimes() -> list[str]:
    """Name those of the two that are installed."""
    return [name for name in (CPU, GPU) if name in installed()]
