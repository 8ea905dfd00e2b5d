"""What other packages hand to runtime: the entry points of an installed distribution, read without importlib.metadata.

That module takes as long to import as numpy (it parses e-mail headers), and `facectl --help` would wait for it.
"""

import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple


class EntryPoint(NamedTuple):
    """An object that a package offers, by name."""

    name: str
    reference: str
    """`module:object`."""

    def load(self) -> Any:
        """Import the module, and give the object."""
        module, _, name = self.reference.partition(":")
        return getattr(import_module(module), name)


@cache
def entry_points(group: str) -> dict[str, EntryPoint]:
    """Give the entry points of `group` by name; where a name comes twice, the first on the path counts."""
    found: dict[str, EntryPoint] = {}
    for folder in sys.path:
        for file in sorted(Path(folder or ".").glob("*.dist-info/entry_points.txt")):
            for name, reference in _section(file, group).items():
                found.setdefault(name, EntryPoint(name, reference))
    return found


def _section(file: Path, group: str) -> dict[str, str]:
    text = file.read_text(encoding="utf-8", errors="replace")
    if f"[{group}]" not in text:
        return {}
    from configparser import ConfigParser

    parser = ConfigParser(delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # names keep their case
    parser.read_string(text)
    return dict(parser[group])
