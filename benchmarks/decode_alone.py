"""What `facectl data check` is measured against: decode each photograph of a folder on every core, nothing else."""

import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from facectl_runtime.devices import usable_cores
from facectl_runtime.image import decode

CHUNK = 32


def main() -> None:
    """Decode the folder named."""
    paths = sorted(Path(sys.argv[1]).rglob("*.jpg"))
    chunks = [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]
    with ProcessPoolExecutor(usable_cores(), get_context("spawn")) as pool:
        list(pool.map(_decode, chunks))


def _decode(paths: list[Path]) -> None:
    for path in paths:
        decode(path)


if __name__ == "__main__":
    main()
