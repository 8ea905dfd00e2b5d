"""The checksums of an export's folder: a file `SHA256SUMS`, as `sha256sum -c` reads it."""

import re
from collections.abc import Mapping
from pathlib import Path

from facectl_runtime.files import scratch_beside
from facectl_runtime.labelled import content_hash

SUMS = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")


def read_sums(path: Path) -> dict[str, str] | None:
    """Read name → SHA-256; None where it is no such file."""
    try:
        lines = [_LINE.fullmatch(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError):
        return None
    found = [line for line in lines if line]
    return {line[2]: line[1] for line in found} if len(found) == len(lines) else None


def written(sums: Mapping[str, str]) -> str:
    """Give the content of the file."""
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))


def renew(model: Path) -> None:
    """Bring the checksums beside a model, a file or a folder, up to date where they name it; all others stay."""
    path = model.parent / SUMS
    sums = read_sums(path) or {}
    mine = [name for name in sums if name == model.name or name.startswith(f"{model.name}/")]
    if mine:
        sums |= {name: content_hash(model.parent / name) for name in mine}
        with scratch_beside(path) as scratch:
            (scratch / SUMS).write_text(written(sums), encoding="utf-8")
            (scratch / SUMS).replace(path)
