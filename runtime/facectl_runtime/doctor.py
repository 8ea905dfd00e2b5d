"""What is installed here, whether it starts, and the command that mends or brings each thing."""

import os
import platform
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import msgspec

from facectl_runtime import __version__
from facectl_runtime.cgroup import cpu_quota
from facectl_runtime.devices import affinity, usable_cores
from facectl_runtime.engines import graph_cache
from facectl_runtime.errors import UsageError
from facectl_runtime.home import home
from facectl_runtime.installed import CPU, GPU, installed, normalized, onnxruntimes, reinstall, swap
from facectl_runtime.video.rpicam import PROGRAMS
from facectl_runtime.video.stream import OPEN_CAMERAS

_START = "from facectl_runtime.devices import Device; from facectl_runtime.engines.onnx import start; start(Device({}))"
_CUDA_STARTS = _START.format("'cuda', {}")
# Engines that start in a moment; of the others only the version is looked up.
_LIGHT = {
    CPU: _START.format("'cpu'"),
    GPU: _START.format("'cpu'"),
    "ai-edge-litert": "import ai_edge_litert.interpreter",
    "av": "import av",
    "pillow-heif": "import pillow_heif",
}
_SECONDS = 120  # that one may take to start, on a slow card
_DEVELOPMENT = "dev"  # the extra that is of no use to who only uses facectl
_MOST_GPUS = 16
# How the drivers of a Raspberry Pi name what codes pictures, corrects them, or gives them raw to libcamera.
_NO_CAMERA = r"bcm2835-(codec|isp)|pispbe|rpi-?(hevc|vid)|rp1-cfe|unicam"


class Finding(msgspec.Struct, frozen=True):
    """One thing looked at."""

    state: Literal["ok", "missing", "broken"]
    """`missing` is no fault: a thing that is not there, or not set."""
    what: str
    detail: str
    cure: str | None = None
    """The command, or the words, that mend it or bring it."""


class Report(msgspec.Struct, frozen=True):
    """What was found."""

    facectl: str
    """Version."""
    python: str
    """Version."""
    machine: str
    """Operating system and processor architecture."""
    cores: dict[str, float | None]
    """`used`, `affinity`, `quota` (None for none)."""
    findings: list[Finding]

    @property
    def consistent(self) -> bool:
        """Whether nothing is broken."""
        return all(finding.state != "broken" for finding in self.findings)

    def fields(self) -> dict[str, Any]:
        """Give what `--json` prints."""
        return {**msgspec.structs.asdict(self), "consistent": self.consistent}


def examine() -> Report:
    """Look at this installation and this machine. Engines are started in processes of their own."""
    cores = {"used": usable_cores(), "affinity": affinity(), "quota": cpu_quota()}
    python, machine = platform.python_version(), f"{platform.system()} {platform.machine()}"
    findings = [
        Finding("ok", "facectl", f"{__version__}, Python {python}, {machine}"),
        *_extras(),
        *_conflicts(),
        _cpu(cores),
        *gpus(),
        cameras(),
        faces(),
        *_folders(),
    ]
    return Report(__version__, python, machine, cores, findings)


def _extras() -> Iterator[Finding]:
    """Look at what each extra of the installed facectl asks for."""
    try:
        about = metadata.metadata("facectl")
    except metadata.PackageNotFoundError:
        yield Finding("missing", "extras", "facectl runs without being installed", "pip install .")
        return
    for extra in about.get_all("Provides-Extra", []):
        if extra != _DEVELOPMENT:
            yield _extra(extra, required(about.get_all("Requires-Dist", []), extra))


def _extra(extra: str, packages: list[str]) -> Finding:
    what, there = f"facectl[{extra}]", installed()
    absent = [name for name in packages if name not in there]
    if absent == [CPU] and GPU in there:
        return Finding("missing", what, f"not needed: {GPU} computes on the CPU too")
    if absent:
        cure = swap(extra) if absent in ([CPU], [GPU]) else f"pip install '{what}'"
        return Finding("missing", what, f"no {', '.join(absent)}", cure)
    for name in packages:
        if name in _LIGHT and (why := _fails(_LIGHT[name])):
            why = why.partition("; install it again")[0]  # the cure stands beside it
            return Finding("broken", what, f"{name} {there[name]} does not start: {why}", reinstall(name))
    return Finding("ok", what, ", ".join(f"{name} {there[name]}" for name in packages))


def required(lines: list[str], extra: str) -> list[str]:
    """Name the packages that an extra asks for on this machine, of lines of `Requires-Dist`."""
    found = []
    for line in lines:
        requirement, _, marker = line.partition(";")
        name = re.match(r"[\w.-]+", requirement)
        if name and re.search(rf"""extra == ['"]{re.escape(extra)}['"]""", marker) and _is_for_here(marker):
            found.append(normalized(name[0]))
    return found


def _is_for_here(marker: str) -> bool:
    """Tell whether one of the systems and processors that a marker names is this one; true where it names none."""
    here = {"platform_system": platform.system(), "platform_machine": platform.machine()}
    named = re.findall(r"""(platform_system|platform_machine) == ['"](\w+)['"]""", marker)
    return not named or any(here[which] == value for which, value in named)


def _conflicts() -> Iterator[Finding]:
    """Look for packages that spoil one another."""
    if len(onnxruntimes()) == 2:
        versions = " and ".join(f"{name} {installed()[name]}" for name in (CPU, GPU))
        detail = f"{versions} are both installed, and overwrite one another's files; keep one of them"
        yield Finding("broken", "onnxruntime", detail, f"{swap('gpu')}   or   {swap('cpu')}")
    libraries = [name for name in installed() if re.fullmatch(r"nvidia-.+-cu12", name)]
    if GPU in installed() and "tensorflow" in installed() and libraries and _cuda_of_onnxruntime() != "12":
        detail = (
            f"TensorFlow's CUDA libraries are of CUDA 12 ({libraries[0]}), those of {GPU} {installed()[GPU]} are not: "
            "neither is sure to start"
        )
        yield Finding("broken", "cuda libraries", detail, "keep training and facectl[gpu] in separate environments")


def _cuda_of_onnxruntime() -> str:
    """Give the major version of CUDA that the installed ONNX Runtime was built for, or nothing."""
    for folder in sys.path:
        about = Path(folder or ".", "onnxruntime/capi/build_and_package_info.py")
        if about.is_file():
            found = re.search(r"cuda_version = ['\"](\d+)", about.read_text(encoding="utf-8", errors="replace"))
            return found[1] if found else ""
    return ""


def _cpu(cores: dict[str, float | None]) -> Finding:
    quota = "none" if cores["quota"] is None else f"{cores['quota']:g}"
    return Finding("ok", "cpu", f"{cores['used']} cores in use (affinity {cores['affinity']}, quota {quota})")


def gpus(root: Path = Path("/")) -> Iterator[Finding]:
    """Start ONNX Runtime on one GPU after the other, until one does not start. `root` is where `dev` lies."""
    if not onnxruntimes():
        yield Finding("missing", "cuda:0", "no ONNX Runtime", "pip install 'facectl[gpu]'")
        return
    for number in range(_MOST_GPUS):
        why = _fails(_CUDA_STARTS.format(number))
        if why is None:
            yield Finding("ok", f"cuda:{number}", "starts")
            continue
        if number == 0:
            spoilt = GPU in installed() and any((root / "dev").glob("nvidia[0-9]*"))
            said = why.removeprefix("--device cuda:0: ").removesuffix(", or use --device cpu")
            detail, _, cure = said.rpartition("; ")  # CUDA's own reasons have semicolons too
            yield Finding("broken" if spoilt else "missing", "cuda:0", detail or said, cure if detail else None)
        return


def cameras(root: Path = Path("/")) -> Finding:
    """Name the cameras that can be opened, by device and by program. `root` is where `dev` and `sys` lie."""
    devices = [path for path in sorted((root / "dev").glob("video*")) if not _is_no_camera(root, path.name)]
    programs = [name for name in PROGRAMS if shutil.which(name)]
    shut = [path for path in devices if not os.access(path, os.R_OK | os.W_OK)]
    found = [f"/dev/{path.name}" for path in devices if path not in shut] + programs
    closed = [f"{', '.join(f'/dev/{path.name}' for path in shut)} may not be opened by this user"] if shut else []
    if found:
        return Finding("ok", "cameras", "; ".join([", ".join(found), *closed]))
    if closed:
        return Finding("missing", "cameras", closed[0], OPEN_CAMERAS)
    return Finding("missing", "cameras", f"no camera among /dev/video*, and neither {' nor '.join(PROGRAMS)} on PATH")


def _is_no_camera(root: Path, name: str) -> bool:
    """Tell whether a video device is one that codes or corrects pictures: a Raspberry Pi has a dozen of them."""
    about = root / "sys/class/video4linux" / name / "name"
    return about.is_file() and bool(re.match(_NO_CAMERA, about.read_text(errors="replace")))


def faces() -> Finding:
    """Look for the weights that faces are found by."""
    from facectl_runtime.faces.detect import DETECTOR, BadWeightsError, locate

    pull = f"facectl weights pull {DETECTOR.name}"
    try:
        return Finding("ok", "faces", f"found by {locate()}")
    except BadWeightsError as error:
        return Finding("broken", "faces", str(error).partition("; ")[0], f"{pull} --force")
    except (UsageError, RuntimeError):
        return Finding("missing", "faces", f"{DETECTOR.file} is not here, which finds them in pictures", pull)


def _folders() -> Iterator[Finding]:
    """Look at facectl's own folder and at that of weights."""
    try:
        own = home()
    except RuntimeError as error:
        yield Finding("missing", "cache", f"no folder for it ({error})", "set FACECTL_HOME to one")
    else:
        if _can_be_written(own):
            off = "; no graphs are kept (FACECTL_GRAPH_CACHE=0)" if graph_cache.is_off() else ""
            yield Finding("ok", "cache", f"{own}{off}")
        else:
            detail = f"{own} cannot be written: models start as slowly each time as the first"
            yield Finding("missing", "cache", detail, "set FACECTL_HOME to a folder that can be")
    weights = os.environ.get("FACECTL_WEIGHTS_DIR")
    if not weights:
        yield Finding("ok", "weights", "in the cache's folder weights; FACECTL_WEIGHTS_DIR may name another")
    elif Path(weights).expanduser().is_dir():
        yield Finding("ok", "weights", f"FACECTL_WEIGHTS_DIR={weights}")
    else:
        yield Finding("broken", "weights", f"FACECTL_WEIGHTS_DIR={weights} is no folder", "make it, or unset it")


def _can_be_written(folder: Path) -> bool:
    """Tell whether a folder can be written, or made where it is not there."""
    nearest = next((place for place in (folder, *folder.absolute().parents) if os.path.lexists(place)), folder)
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)


def _fails(program: str) -> str | None:
    """Run a program in a process of its own, which a broken library may take down; say why it fails, or None."""
    paths = os.pathsep.join(filter(None, sys.path))
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", program],
            capture_output=True,
            timeout=_SECONDS,
            env={**os.environ, "PYTHONPATH": paths},
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"not done after {_SECONDS} seconds"
    if done.returncode < 0:
        return f"killed by {signal.Signals(-done.returncode).name}"
    last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
    return re.sub(r"^facectl_runtime\.errors\.\w+: ", "", last[0]) if done.returncode else None
