"""Triplets to judge an embedding by: an anchor, a positive of the same person, a negative of another."""

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path, PurePath

import numpy as np

from facectl_runtime.errors import UsageError
from facectl_runtime.faces.pair_files import COLUMNS
from facectl_runtime.files import scratch_beside
from facectl_runtime.labelled import CHANGED, Chosen, Image
from facectl_trainer.data.contents import Progress, contents
from facectl_trainer.data.split import conflicts

Triplet = tuple[str, str, str]
"""Anchor, positive, negative: paths relative to the data folder."""
_MOST = 2**62  # triplets of a person that can be numbered


def write_triplets(chosen: Chosen, out: Path, count: int, seed: int, progress: Progress) -> dict[str, str]:
    """Write `count` triplets of photographs of known people as a CSV; give {file: why it is left out}.

    Raises `UsageError` where `out` is there or cannot be written, and where there are too few photographs.
    """
    _check_new(out)
    images = chosen.images
    with progress("reading photographs", len(images)) as advance:
        hashes, left_out = contents(chosen.root, (image.path for image in images), advance)
    changed = (path for path, content in hashes.items() if chosen.hashes.get(path, content) != content)
    left_out |= dict.fromkeys(changed, CHANGED)
    usable = [image for image in images if image.path in hashes and image.path not in left_out]
    left_out |= {image.path: "the same picture stands under two people" for image in conflicts(usable, hashes)}
    people = _people([image for image in usable if image.path not in left_out], hashes)
    try:
        triplets = draw(people, count, seed)
    except UsageError as error:
        raise UsageError(f"{chosen.root}: {error}") from error
    _write(out, triplets)
    return left_out


def draw(people: Mapping[str, Sequence[str]], count: int, seed: int) -> list[Triplet]:
    """Draw triplets, no two of which are the same, from each person's different photographs.

    The anchor's person is uniform over those of two photographs or more who have triplets left; anchor, positive and
    negative are uniform over that person's triplets. Who has one photograph is left out, as a negative too. Raises
    `UsageError` where fewer than two people have two photographs, and where there are not so many triplets.
    """
    several = {person: photographs for person, photographs in sorted(people.items()) if len(photographs) > 1}
    if len(several) < 2:
        raise UsageError(
            f"{len(several)} of {len(people)} people have two different photographs or more, and two such people are "
            "needed; add photographs"
        )
    everyone = [photograph for photographs in several.values() for photograph in photographs]
    sizes = [len(photographs) for photographs in several.values()]
    left = [n * (n - 1) * (len(everyone) - n) for n in sizes]
    if count > sum(left) or max(left) > _MOST:
        most = min(sum(left), _MOST)
        raise UsageError(f"--count {count}: its {len(several)} people make {most:,} triplets; ask for at most as many")
    starts = np.cumsum([0, *sizes]).tolist()
    drawn = (_of_person(everyone, starts[who], sizes[who], number) for who, number in _numbers(left, count, seed))
    return list(drawn)


def _numbers(left: list[int], count: int, seed: int) -> Iterator[tuple[int, int]]:
    """Give (person, number of one of that person's triplets), no pair twice; `left` says how many each has.

    A shuffle of which only the swaps are kept, for a person may have more triplets than memory holds.
    """
    random = np.random.default_rng(seed)
    swaps: list[dict[int, int]] = [{} for _ in left]
    able = list(range(len(left)))
    for _ in range(count):
        place = int(random.integers(len(able)))
        who = able[place]
        left[who] -= 1
        number = int(random.integers(left[who] + 1))
        yield who, swaps[who].get(number, number)
        swaps[who][number] = swaps[who].pop(left[who], left[who])
        if not left[who]:
            able.pop(place)


def _of_person(everyone: Sequence[str], start: int, size: int, number: int) -> Triplet:
    """Give the triplet of a number, from 0, of the person whose photographs begin at `start`."""
    pair, negative = divmod(number, len(everyone) - size)
    anchor, positive = divmod(pair, size - 1)
    positive += positive >= anchor  # any but the anchor
    negative += size * (negative >= start)  # any but this person's
    return everyone[start + anchor], everyone[start + positive], everyone[negative]


def _people(images: Sequence[Image], hashes: Mapping[str, str]) -> dict[str, list[str]]:
    """Give each person's photographs, of one content the first by path."""
    people: dict[str, dict[str, str]] = {}
    for image in sorted(images, key=lambda image: image.path):
        people.setdefault(image.label, {}).setdefault(hashes[image.path], image.path)
    return {person: list(units.values()) for person, units in people.items()}


def _check_new(out: Path) -> None:
    if os.path.lexists(out):
        raise UsageError(f"{out}: already there; give another --to, or remove it")


def _write(out: Path, triplets: Sequence[Triplet]) -> None:
    """Write beside, then rename, unless something has come to stand there."""
    text = StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([PurePath(path).as_posix() for path in triplet] for triplet in triplets)
    with scratch_beside(out) as scratch:
        whole = scratch / out.name
        whole.write_text(text.getvalue(), encoding="utf-8", newline="")
        _check_new(out)
        whole.rename(out)
