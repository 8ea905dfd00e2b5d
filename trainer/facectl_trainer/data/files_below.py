"""The images below a folder, found by the end of their path."""

import unicodedata
from collections import defaultdict
from pathlib import Path, PurePosixPath, PureWindowsPath

from facectl_runtime.errors import one_line
from facectl_runtime.sources import display_name, images_below

Index = dict[str, list[Path]]
"""The end of a path → the files whose path ends so; a whole path begins with a slash."""
_DEEPEST = 256  # parts of a path from elsewhere that are compared


class FilesBelow:
    """The images below a folder. What is not below it is never given, whatever is asked for."""

    def __init__(self, folder: Path) -> None:
        """List the folder. Raises `UsageError` where it, or a folder in it, cannot be read."""
        self.paths = [path.relative_to(folder) for path in images_below(folder)]
        """Relative to the folder, sorted."""
        self._places = {_plain(str(place)) for place in (folder.absolute(), folder.resolve())}
        self._suffixed: Index = defaultdict(list)
        self._bare: Index = defaultdict(list)
        for path in self.paths:
            for index, name in ((self._suffixed, path), (self._bare, path.with_suffix(""))):
                parts = ("", *_plain(str(name)).split("/"))
                for start in range(len(parts)):
                    index["/".join(parts[start:])].append(path)

    def find(self, name: str) -> Path | str:
        """Give the file that a path below the folder names, or the end of one; or why it is none.

        The suffix may be missing. A path from the root is taken where it leads into the folder.
        """
        asked = PurePosixPath(_plain(name))
        if not asked.parts:
            return "no file name"
        from_root = asked.is_absolute() or PureWindowsPath(name).is_absolute()
        below = self._below(asked) if from_root else str(asked)
        if below is None or ".." in asked.parts:
            return "leads out of the data folder"
        for index in (self._suffixed, self._bare):  # of the files a.jpg and a.jpg.png, a.jpg is the first
            if found := _fitting(index, below):
                return found
        return "no such image"

    def _below(self, path: PurePosixPath) -> str | None:
        """Give a path from the root as a whole one in the folder, or None where it leads elsewhere."""
        for place in self._places:
            if path.is_relative_to(place):
                return f"/{path.relative_to(place)}"
        return None

    def find_tail(self, path: str) -> tuple[Path, int] | str:
        """Give (the file that a path on another machine means, how many of its parts agree), or why there is none.

        Of the path's tails the longest that ends the path of a file here decides.
        """
        parts = [part for part in _plain(path).split("/") if part not in ("", ".")]
        if not parts:
            return "no file name"
        if ".." in parts:
            return "leads out of the data folder"
        for start in range(max(0, len(parts) - _DEEPEST), len(parts)):
            if found := _fitting(self._suffixed, "/".join(parts[start:])):
                return found if isinstance(found, str) else (found, len(parts) - start)
        return "no such image"


def _fitting(index: Index, asked: str) -> Path | str | None:
    """Give the one file that fits, or that several do; None where none does."""
    whole, fitting = index.get(f"/{asked}", []), index.get(asked, [])
    if len(whole) == 1 or len(fitting) == 1:
        return (whole or fitting)[0]
    if fitting:
        some = " and ".join(one_line(display_name(path)) for path in sorted(fitting)[:2])
        return f"fits {len(fitting)} files, {some}"
    return None


def _plain(name: str) -> str:
    """Write a path in one way: macOS takes accents apart, and Windows has its own separator."""
    return unicodedata.normalize("NFC", name).replace("\\", "/")
