"""Names for files of several folders that are brought together in one."""

from facectl_runtime.sources import display_name

_LONGEST = 200  # bytes of a stem: file systems take 255 of a whole name


class Names:
    """Gives each name once: `a`, then `a-2`, `a-3`. In the same order, the same names are given."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}

    def give(self, stem: str, suffix: str) -> str:
        """Give a name that begins with `stem` and that no other has, in whatever case its letters are."""
        stem = display_name(stem).encode()[:_LONGEST].decode("utf-8", "ignore")
        key = f"{stem}{suffix}".casefold()
        number = self._next.get(key, 1)
        while (name := f"{stem}-{number}{suffix}" if number > 1 else f"{stem}{suffix}").casefold() in self._taken:
            number += 1
        self._next[key] = number + 1
        self._taken.add(name.casefold())
        return name
