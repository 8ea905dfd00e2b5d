"""Things that belong together: each is joined with others, and those with what they are joined to."""

from collections.abc import Hashable, Iterable

import numpy as np
import numpy.typing as npt


class Groups:
    """Groups of things that are numbered from 0; at first each is by itself."""

    def __init__(self, n: int) -> None:
        self._leads_to = np.arange(n)

    def of(self, number: int) -> int:
        """Give the number that stands for a thing's group: its least."""
        while (above := int(self._leads_to[number])) != number:
            self._leads_to[number] = number = int(self._leads_to[above])
        return number

    def all(self) -> npt.NDArray[np.intp]:
        """Give the group of each thing: N."""
        while not np.array_equal(further := self._leads_to[self._leads_to], self._leads_to):
            self._leads_to = further
        return self._leads_to.copy()

    def join(self, first: int, second: int) -> None:
        """Put two things, and all that is with them, together."""
        low, high = sorted((self.of(first), self.of(second)))
        self._leads_to[high] = low

    def join_alike(self, keys: Iterable[Hashable]) -> None:
        """Put things together that share a key, given of each in turn; None is no key."""
        first: dict[Hashable, int] = {}
        for number, key in enumerate(keys):
            if key is not None:
                self.join(number, first.setdefault(key, number))
