"""Graphs as ONNX Runtime optimized them for this processor, kept between runs: optimizing is most of a model's start.

Each is a file below `graphs` in facectl's own folder: the ONNX model that ONNX Runtime saved, and a field with its
CRC-32. Its name is the SHA-256 over all that the graph depends on, so that none is ever out of date. The folder is its
user's alone: whoever may write there says what every model answers.
"""

import hashlib
import mmap
import os
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from facectl_runtime.errors import ModelError
from facectl_runtime.home import home
from facectl_runtime.onnx_metadata import graph_digest

_LAYOUT = "1"  # of these files
_LARGEST = 1 << 30  # bytes of a model whose graph is kept
_MOST_FILES, _MOST_BYTES = 64, 4 << 30
_OTHERS_WRITE = 0o022  # the mode's bits by which a group or all may
_CRC_FIELD = b"\x7d"  # number 15, of 32 bits, which ONNX's ModelProto has not: the file is a model with it as well
_CRC_LENGTH = len(_CRC_FIELD) + 4
_EXTERNAL = b"\x0a\x08location"  # the key of ONNX's external_data that no entry of it lacks
_PROCESSOR = (
    *("vendor_id", "model name", "flags"),  # x86
    *("CPU implementer", "CPU architecture", "CPU variant", "CPU part", "Features"),  # ARM
)

Build = Callable[..., Any]
"""Makes a session of a model, a path or a file's content, with settings of `SessionOptions` given by name."""


def session(runtime: Any, path: Path, digest: str | None, build: Build) -> Any:
    """Build a session on the CPU of the graph kept for the model at `path`; else of the model, and keep its graph.

    `digest` is the model's `graph_digest` where that is known: who gives it has held the file to it. Where nothing can
    be kept the model runs all the same. Raises what `build` raises of the model itself.
    """
    place = _place(runtime, path, digest)
    if place is None:
        return build(path)
    if _is_whole(place):
        with suppress(OSError):
            os.utime(place)  # used last
        with suppress(Exception):  # ONNX Runtime's own classes share no base but Exception
            return build(place, graph_optimization_level=runtime.GraphOptimizationLevel.ORT_DISABLE_ALL)
    try:
        return _build_and_keep(runtime, path, digest, place, build)
    except Exception:  # of a full disk, a folder that may not be written, a graph that cannot be saved; or of the model
        return build(path)


def is_off() -> bool:
    """Tell whether the user wants no graphs kept."""
    return os.environ.get("FACECTL_GRAPH_CACHE") == "0"


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Describe the processor by all that ONNX Runtime may choose its graph by."""
    lines = []
    with suppress(OSError), cpuinfo.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if not line.strip():  # the first processor ends here
                break
            if line.partition(":")[0].strip() in _PROCESSOR:
                lines.append(line)
    if lines:
        return "".join(lines)
    import platform

    return f"{platform.machine()} {platform.processor()}"


def _place(runtime: Any, path: Path, digest: str | None) -> Path | None:
    """Say where the graph of a model is kept; None where it is not."""
    if is_off():
        return None
    try:
        if path.stat().st_size > _LARGEST:
            return None
        content = digest or _sha256(path)
        parts = (_LAYOUT, content, runtime.__version__, runtime.get_build_info(), processor())
        return home() / "graphs" / hashlib.sha256("\0".join(parts).encode()).hexdigest()
    except (OSError, RuntimeError):
        return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_whole(place: Path) -> bool:
    """Tell whether a graph is there, byte by byte as this user wrote it."""
    try:
        with place.open("rb") as file:
            if not (_is_private(place.parent.stat()) and _is_private(os.fstat(file.fileno()))):
                return False
            size = file.seek(0, os.SEEK_END) - _CRC_LENGTH
            if size <= 0:
                return False
            file.seek(size)
            return file.read() == _crc(file, size)
    except OSError:
        return False


def _is_private(status: os.stat_result) -> bool:
    """Tell whether a file or folder is this user's, and no other may write it; of Windows nothing is known."""
    return os.name != "posix" or (status.st_uid == os.geteuid() and not status.st_mode & _OTHERS_WRITE)


def _crc(file: BinaryIO, size: int) -> bytes:
    """Give the field with the CRC-32 of a file's first `size` bytes.

    A SHA-256 would take up to three times as long, which is most of what a kept graph spares.
    """
    with mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as data:
        return _CRC_FIELD + zlib.crc32(data).to_bytes(4, "little")


def _build_and_keep(runtime: Any, path: Path, digest: str | None, place: Path, build: Build) -> Any:
    from facectl_runtime.files import scratch_beside

    before = _version(path)
    if _has_external_data(path):  # the graph would depend on more than the file at `path`
        return build(path)
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not _is_private(place.parent.stat()):
        return build(path)
    with scratch_beside(_scratch(place)) as scratch:
        file = scratch / "graph"
        found = build(path, optimized_model_filepath=str(file))
        with suppress(OSError, ModelError):
            # A file replaced since its digest was taken would answer in the old one's name for ever.
            now = _place(runtime, path, graph_digest(path) if digest else None)
            if now == place and _version(path) == before:
                _keep(file, place)
    return found


def _version(path: Path) -> tuple[int, ...]:
    """Give what changes with each replacement of a file, and with each writing into it."""
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _keep(file: Path, place: Path) -> None:
    """Sign a graph and move it to its place. Raises `OSError`."""
    with file.open("r+b") as stream:
        crc = _crc(stream, stream.seek(0, os.SEEK_END))
        stream.write(crc)
    file.chmod(0o600)  # whatever the umask
    file.replace(place)
    _bound(place)


def _has_external_data(path: Path) -> bool:
    """Tell whether some of a model's weights may lie in other files."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return data.find(_EXTERNAL) >= 0


def _bound(newest: Path) -> None:
    """Remove what was used least recently where there is too much, and what killed processes left behind."""
    from facectl_runtime.files import remove_abandoned

    remove_abandoned(_scratch(newest))
    files = [(entry.stat(), entry.path) for entry in os.scandir(newest.parent) if entry.is_file(follow_symlinks=False)]
    files.sort(key=lambda file: file[0].st_mtime, reverse=True)
    size = 0
    for number, (stat, file) in enumerate(files):
        size += stat.st_size
        if number >= _MOST_FILES or size > _MOST_BYTES:
            with suppress(OSError):
                os.remove(file)  # noqa: PTH107  # a name that may not be UTF-8


def _scratch(place: Path) -> Path:
    return place.with_name("graph")
