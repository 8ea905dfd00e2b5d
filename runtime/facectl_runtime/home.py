"""Where facectl keeps files of its own between runs."""

import os
from pathlib import Path


def home() -> Path:
    """Give the folder for facectl's own files, which need not exist yet.

    `FACECTL_HOME` where set, else `facectl` in the user's cache: `XDG_CACHE_HOME`, or `~/.cache`.
    Source: XDG Base Directory Specification 0.8, by which an empty or a relative `XDG_CACHE_HOME` does not count.
    """
    if chosen := os.environ.get("FACECTL_HOME"):
        return Path(chosen).expanduser()
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (cache if cache.is_absolute() else Path.home() / ".cache") / "facectl"


def weight_folders() -> list[Path]:
    """Give the folders where files of weights are looked for, in this order; either need not exist.

    The folder that `FACECTL_WEIGHTS_DIR` names, where set, then `weights` under `home()`.
    """
    chosen = os.environ.get("FACECTL_WEIGHTS_DIR")
    return [*([Path(chosen).expanduser()] if chosen else []), home() / "weights"]
