"""An aarch64 Debian with facectl in it, run by QEMU on another processor; made in a folder, without root or chroot."""

import os
import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from common import ROOT, Measured, measured, pip, printed, size_mb

_SYSTEM = ("python3", "libstdc++6")
_EXTRAS = "cpu,tflite"
_FIRST_GLIBC = 17
"""No wheel for aarch64 is made for a glibc before 2.17."""
_CPUINFO = """\
processor\t: {core}
BogoMIPS\t: 108.00
Features\t: {features}
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: {variant}
CPU part\t: {part}
CPU revision\t: {revision}

"""


@dataclass(frozen=True)
class Board:
    """A board's processor: QEMU's name for it, and what its /proc/cpuinfo says."""

    cpu: str
    features: str
    variant: str
    part: str
    revision: str


_PI4 = "fp asimd evtstrm crc32 cpuid"
_PI5 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
BOARDS = {
    "Raspberry Pi 4": Board("cortex-a72", _PI4, "0x0", "0xd08", "3"),
    "Raspberry Pi 5": Board("cortex-a76", _PI5, "0x4", "0xd0b", "1"),
}


@dataclass(frozen=True)
class Emulated:
    """The userland, facectl in it, and what its install took.

    Attributes:
        qemu: The emulator.
        root: Debian's files.
        site: The Python packages, as pip lays them out in a `--target`.
        python: Python's version, such as "3.11.2".
        downloaded_mb: Size of the wheels.
        installed_mb: Size of `site`, less bytecode.
    """

    qemu: Path
    root: Path
    site: Path
    python: str
    downloaded_mb: float
    installed_mb: float

    def become(self, board: Board) -> None:
        """Let the userland's /proc/cpuinfo be the board's: onnxruntime's import fails where it reads another one's."""
        cores = range(os.cpu_count() or 1)
        text = "".join(_CPUINFO.format(core=core, **vars(board)) for core in cores)
        (self.root / "proc").mkdir(exist_ok=True)
        (self.root / "proc" / "cpuinfo").write_text(text)

    def facectl(self, board: Board, *words: object, allowed: tuple[int, ...] = (0,)) -> Measured:
        """Run a command of facectl as on a board; the seconds and the memory include the emulator's own."""
        python = [*_python(self.qemu, self.root, board.cpu, self.site), self.site / "bin" / "facectl"]
        return measured([*python, *words], env={}, allowed=allowed)


def set_up(folder: Path) -> Emulated:
    """Download and unpack all of it into a folder; ends with one line where that cannot be done here."""
    if platform.machine() == "aarch64":
        sys.exit("this machine is aarch64 itself and needs no emulation: install facectl[cpu,tflite] and measure that")
    if missing := [tool for tool in ("apt-get", "dpkg", "dpkg-deb") if not shutil.which(tool)]:
        sys.exit(f"{', '.join(missing)}: not here; Debian's packages are unpacked, so run it on Debian")
    host = printed(["dpkg", "--print-architecture"]).strip()
    qemu = _unpack(folder / "qemu", host, "qemu-user-static") / "usr" / "bin" / "qemu-aarch64-static"
    root = _unpack(folder / "debian", "arm64", *_SYSTEM)
    asked = "import os, platform; print(platform.python_version(), os.confstr('CS_GNU_LIBC_VERSION'))"
    python, _, glibc = printed([*_python(qemu, root), "-c", asked], env={}).split()
    downloaded, site = _install(folder, python, glibc)
    return Emulated(qemu, root, site, python, downloaded, size_mb(site))


def _unpack(folder: Path, architecture: str, *packages: str) -> Path:
    """Download Debian packages and what they depend on, for any architecture, and unpack them; give where.

    apt keeps its lists and its idea of what is installed in the folder, so that the system's own are left alone.
    """
    for part in ("lists/partial", "archives/partial"):
        (folder / "apt" / part).mkdir(parents=True)
    (folder / "apt" / "status").touch()
    options = {
        "APT::Architecture": architecture,
        "APT::Architectures::": architecture,
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Dir::State": folder / "apt",
        "Dir::State::status": folder / "apt" / "status",
        "Dir::Cache": folder / "apt",
    }
    apt = ["apt-get", "-qq", *(word for name, value in options.items() for word in ("-o", f"{name}={value}"))]
    printed([*apt, "update"])
    printed([*apt, "install", "--download-only", "--no-install-recommends", *packages])
    for package in (folder / "apt" / "archives").glob("*.deb"):
        printed(["dpkg-deb", "-x", package, folder / "root"])
    return folder / "root"


def _python(qemu: Path, root: Path, cpu: str = "max", site: Path | None = None) -> list[object]:
    """Give the words that run the userland's Python."""
    packages = ["-E", f"PYTHONPATH={site}"] if site else []
    return [qemu, "-L", root, "-cpu", cpu, *packages, root / "usr" / "bin" / "python3"]


def _install(folder: Path, python: str, glibc: str) -> tuple[float, Path]:
    """Install the checkout with its runtime extras; give the MB downloaded and the folder of the packages."""
    wheels, site = folder / "wheels", folder / "site"
    newest = int(glibc.split(".")[1])
    tags = ["manylinux2014", *(f"manylinux_2_{minor}" for minor in range(_FIRST_GLIBC, newest + 1))]
    target: list[object] = [word for tag in tags for word in ("--platform", f"{tag}_aarch64")]
    target += ["--python-version", python.rpartition(".")[0], "--implementation", "cp", "--only-binary=:all:"]
    pip("wheel", "--no-deps", "--wheel-dir", wheels, ROOT)
    wanted = f"{next(wheels.glob('facectl-*.whl'))}[{_EXTRAS}]"
    pip("download", "--dest", wheels, "-c", ROOT / "constraints.txt", *target, wanted)
    downloaded = sum(file.stat().st_size for file in wheels.iterdir()) / 1e6
    pip("install", "--target", site, "--no-compile", "--no-index", "--find-links", wheels, *target, wanted)
    return downloaded, site
