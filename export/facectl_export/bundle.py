"""What an export leaves: a folder in which a checksum accounts for every file, swapped in whole.

- the model files, one a format and precision; of Core ML a folder each
- report.json: the `Export`, all that was measured
- report.html: the same for people
- MODEL_CARD.md
- SHA256SUMS: for `sha256sum -c`, of every file but itself
"""

import io
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import get_args
from zipfile import ZIP_DEFLATED, ZipFile

import msgspec

from facectl_export.measured import Export, Exported
from facectl_export.precision import PRECISIONS, FileFormat
from facectl_runtime.engines import format_of
from facectl_runtime.errors import FacectlError, UsageError, reason
from facectl_runtime.files import swap_in
from facectl_runtime.labelled import content_hash
from facectl_runtime.sums import SUMS, read_sums, written

REPORT, PAGE, CARD = "report.json", "report.html", "MODEL_CARD.md"
_OF_THE_SYSTEM = {".DS_Store"}  # macOS puts it into a folder that was looked at
_DEFLATE = 6  # what zip and Xcode take; of pruned weights, 9 saves one per cent more in seven times the time


def standing(out: Path) -> Export | None:
    """Say whether an export may take the place of `out`, before any work is done, and give the one that stands there.

    Its `files` are those that are still there. `out` may be missing, empty, or an export. Raises `UsageError` for
    anything else: a folder with a file in it that no export wrote, or that was changed since, is left alone.
    """
    try:
        _check_place(out)
        return _read(out)[0]
    except OSError as error:
        raise UsageError(f"{out}: cannot be used ({_why(error)}); give another --out") from error


def of_network(there: Export | None, network_sha256: str, force: bool, out: Path) -> Export | None:
    """Give the export that stands at `out` where it is of this network; of another, raise `UsageError` or give None."""
    if there is None or there.network_sha256 == network_sha256:
        return there
    if not force:
        raise UsageError(
            f"{out}: an export of another network is there ({there.name}, {there.created}); "
            "give another --out, or --force to replace it"
        )
    return None


def calibrated(out: Path) -> list[str]:
    """Name the files in a folder that carry a threshold: it was measured for them, and goes with them."""
    found = []
    for path in sorted(out.iterdir()) if out.is_dir() else ():
        with suppress(FacectlError, OSError):  # of anything but a model, and where nothing here can read it
            if format_of(path).read_spec(path).threshold:
                found.append(path.name)
    return found


def merged(made: Export, earlier: Export | None) -> Export:
    """Add the files of an earlier export that were not made anew, all in the order of formats and precisions."""
    anew = {one.file for one in made.files}
    kept = [one for one in earlier.files if one.file not in anew] if earlier else []
    formats, precisions = get_args(FileFormat), list(PRECISIONS)
    files = sorted((*made.files, *kept), key=lambda one: (formats.index(one.format), precisions.index(one.precision)))
    return msgspec.structs.replace(made, files=tuple(files))


def deliver(
    export: Export,
    files: Mapping[str, Path],
    pages: Mapping[str, str | bytes],
    out: Path,
    scratch: Path,
    force: bool,
) -> None:
    """Put a folder together in `scratch`, and let it take the place of `out`.

    `files`: name to path, of those made anew, which are moved. What else `export` names is carried over from `out`.
    `pages`: name to content, of `PAGE` and `CARD`. `scratch` lies beside `out`, on one file system. Raises
    `UsageError` where what has come to stand in `out` would be lost (a file that no export wrote or that was changed,
    other files of this network, another network's unless `force`), and where the disk is full or `out` cannot be
    written; what stood there is then as it was.
    """
    try:
        there, sums = _read(out)
        _check_merged(export, of_network(there, export.network_sha256, force, out), files, out)
        whole = scratch / "whole"
        whole.mkdir()
        for one in export.files:
            if one.file in files:
                shutil.move(files[one.file], whole / one.file)
            else:
                _carry(one, sums, out, whole)
        _write(whole / REPORT, msgspec.json.format(msgspec.json.encode(export)) + b"\n")
        for name, content in pages.items():
            _write(whole / name, content)
        listed = sorted(_below(whole))
        _write(whole / SUMS, written({name: content_hash(whole / name) for name in listed}))
        if out.exists():
            shutil.copymode(out, whole)
        _sync(whole)
        swap_in(whole, out, replace=True)
    except OSError as error:
        why = f"cannot be written ({_why(error)}); nothing there was changed"
        raise UsageError(f"{out}: {why}; give another --out") from error
    with suppress(OSError):
        _sync_one(out.parent)


def _check_merged(export: Export, there: Export | None, files: Mapping[str, Path], out: Path) -> None:
    """Raise `UsageError` where files have come to stand in `out` since it was looked at."""
    if there is None:
        return
    counted = {(one.file, one.created) for one in export.files}
    if any((one.file, one.created) not in counted for one in there.files if one.file not in files):
        raise UsageError(f"{out}: another export came to stand there meanwhile; export again, or give another --out")


def zipped_size(path: Path) -> int:
    """Give the bytes of a file, or of a folder such as Core ML's, as a zip archive (deflate, level 6)."""
    counter = _Counter()
    with ZipFile(counter, "w", ZIP_DEFLATED, compresslevel=_DEFLATE, strict_timestamps=False) as archive:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            archive.write(file, file.relative_to(path.parent))
    return counter.bytes


def size(path: Path) -> int:
    """Give the bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


class _Counter(io.RawIOBase):
    """Takes what is written, and keeps its length alone."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def write(self, data: bytes, /) -> int:  # type: ignore[override]  # zipfile writes bytes alone
        self.bytes += len(data)
        return len(data)


def _check_place(out: Path) -> None:
    """Refuse a place that no folder can be swapped into."""
    if out.is_symlink():
        raise UsageError(f"{out}: a link, which a folder would replace; give what it leads to: --out {out.resolve()}")
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: a file; --out takes a folder")
    if os.path.ismount(out):
        raise UsageError(f"{out}: a mount point, whose place no folder can take; give a folder in it with --out")
    if out.exists() and Path.cwd().is_relative_to(out.resolve()):
        raise UsageError(f"{out}: the folder that you are in, and another one takes its place; go up, or give another")
    if out.exists() and not _writable(out):
        raise UsageError(f"{out}: read-only; make it writable, or give another --out")
    parent = next(folder for folder in out.absolute().parents if folder.exists())
    Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=parent)).rmdir()


def _writable(folder: Path) -> bool:
    """Tell whether a folder may be renamed into another one: that changes its own `..`."""
    return os.access(folder, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def _why(error: OSError) -> str:
    return error.strerror or reason(error)


def _read(out: Path) -> tuple[Export | None, dict[str, str]]:
    """Read the export that stands at `out`, and its checksums: path to SHA-256, of the files that are there.

    Raises `UsageError` for a file that is no part of it, or no longer what it was.
    """
    there = sorted(_below(out)) if out.exists() else []
    if not there:
        return None, {}
    export, sums = _read_report(out / REPORT), read_sums(out / SUMS)
    if export is None or sums is None:
        damaged = [name for name, read in ((REPORT, export), (SUMS, sums)) if read is None and name in there]
        raise _stranger(out / (damaged or there)[0])
    if strange := next((name for name in there if name not in sums and name != SUMS), None):
        raise _stranger(out / strange)
    present = {name: sums[name] for name in there if name in sums}
    if changed := next((name for name, digest in present.items() if content_hash(out / name) != digest), None):
        raise UsageError(f"{out / changed}: changed since it was exported, and would be lost; give another --out")
    files = tuple(one for one in export.files if _complete(one, sums, present, out))
    return msgspec.structs.replace(export, files=files), present


def _stranger(path: Path) -> UsageError:
    return UsageError(f"{path}: no part of an export; give another --out")


def _complete(one: Exported, sums: Mapping[str, str], present: Mapping[str, str], out: Path) -> bool:
    """Tell whether a file is there; raises `UsageError` for a folder of which a part is gone."""
    wanted = [name for name in sums if _belongs(name, one)]
    gone = [name for name in wanted if name not in present]
    if gone and len(gone) < len(wanted):
        raise UsageError(f"{out / gone[0]}: gone, and a part of {one.file}; put it back, or remove all of {one.file}")
    return bool(wanted) and not gone


def _belongs(name: str, one: Exported) -> bool:
    return name == one.file or name.startswith(f"{one.file}/")


def _read_report(path: Path) -> Export | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Export)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _below(folder: Path) -> Iterator[str]:
    """Give the paths of all files below a folder, of links, and of folders with nothing in them, relative to it."""
    for root, folders, files in os.walk(folder, onerror=_raise):
        links = [name for name in folders if Path(root, name).is_symlink()]
        empty = [""] if not folders and not files and Path(root) != folder else []
        for name in (*links, *empty, *(name for name in files if name not in _OF_THE_SYSTEM)):
            yield Path(root, name).relative_to(folder).as_posix()


def _raise(error: OSError) -> None:
    raise error


def _carry(one: Exported, sums: Mapping[str, str], out: Path, whole: Path) -> None:
    """Take a file over from `out`, whose checksums were found right."""
    parts = [name for name in sums if _belongs(name, one)]
    if not parts:
        raise UsageError(f"{out / one.file}: gone since the export began; export again")
    for name in parts:
        (whole / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(out / name, whole / name)
        except OSError:  # not every file system has hard links
            shutil.copy2(out / name, whole / name)


def _write(path: Path, content: str | bytes) -> None:
    path.write_bytes(content.encode("utf-8", "replace") if isinstance(content, str) else content)


def _sync(folder: Path) -> None:
    """Have a folder and all in it written to the disk, so that a power cut after the swap leaves no empty files."""
    for root, _, files in os.walk(folder, topdown=False):
        for name in files:
            _sync_one(Path(root, name))
        with suppress(OSError):  # some file systems do not sync folders
            _sync_one(Path(root))


def _sync_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
