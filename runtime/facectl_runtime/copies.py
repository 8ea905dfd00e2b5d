"""Copies of one file, which are no further evidence for anything, and files that stand under two labels."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

import msgspec

from facectl_runtime.errors import UsageError, left_out_clause
from facectl_runtime.labelled import Chosen, content_hash
from facectl_runtime.sources import display_name
from facectl_runtime.spec import UNKNOWN

COPY = "a copy of another one, which counts once"
CONFLICT = "the same picture stands under two labels"


def hashed(chosen: Chosen, advance: Callable[[int], None]) -> Chosen:
    """Give images with the content hashes of all that can be read, those of a split file as they were recorded."""
    hashes = dict(chosen.hashes)
    for image in chosen.images:
        with suppress(OSError):  # who decodes it will say why it cannot be read
            if image.path not in hashes and (chosen.root / image.path).is_file():
                hashes[image.path] = content_hash(chosen.root / image.path)
        advance(1)
    return msgspec.structs.replace(chosen, hashes=hashes)


def under_two_labels(labelled: Iterable[tuple[str, str]]) -> set[str]:
    """Give the contents that stand under more than one label, of (label, content)."""
    labels_of = defaultdict(set)
    for label, content in labelled:
        labels_of[content].add(label)
    return {content for content, labels in labels_of.items() if len(labels) > 1}


def why_not_counted(labels: Sequence[str], contents: Sequence[str | None]) -> list[str | None]:
    """Say of each of N images why it is left out: a copy of one before it, or under two labels; None of the others.

    `contents`: their hashes; None where one has none, and nothing is known of it.
    """
    crossed = under_two_labels((label, one) for label, one in zip(labels, contents, strict=True) if one)
    found: list[str | None] = []
    met: set[str] = set()
    for content in contents:
        found.append(CONFLICT if content in crossed else COPY if content in met else None)
        met |= {content} if content else set()
    return found


def distinct(*sides: Chosen) -> list[tuple[Chosen, dict[str, str]]]:
    """Leave out copies, and what stands under two labels; gives each side with path → why.

    The first side has people, or classes; a second one has other things, all of which are of one label here. Contents
    are those that `hashed` gave. Raises `UsageError` where none is left of a side.
    """
    images = [(side, image) for side in sides for image in side.images]
    labels = [image.label if side is sides[0] else UNKNOWN for side, image in images]
    whys = iter(why_not_counted(labels, [side.hashes.get(image.path) for side, image in images]))
    found = []
    for side in sides:
        why_of = [(image, next(whys)) for image in side.images]
        kept = [image for image, why in why_of if why is None]
        left_out = {display_name(image.path): why for image, why in why_of if why}
        if not kept:
            raise UsageError(f"{side.root}: none of its {len(side.images)} images counts{left_out_clause(left_out)}")
        found.append((msgspec.structs.replace(side, images=kept), left_out))
    return found
