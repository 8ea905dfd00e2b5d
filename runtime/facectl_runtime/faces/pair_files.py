"""Pairs of photographs that a file lists: as LFW's protocol does, or as triplets in a CSV."""

import csv
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path, PurePosixPath, PureWindowsPath

import msgspec

from facectl_runtime.errors import UsageError, few, one_line, reason
from facectl_runtime.text import read_text

COLUMNS = ("Anchor", "Positive", "Negative")
"""Of a file of triplets: paths of an anchor, of another photograph of that person, and of one of somebody else."""


class Pair(msgspec.Struct, frozen=True):
    """Two photographs to compare."""

    a: str
    """A path below the data folder, with / between its parts."""
    b: str
    same: bool
    """Whether both are of one person."""
    fold: int
    """From 0; 0 for all of a file that is one set."""


def read_pairs(path: Path) -> list[Pair]:
    """Read pairs in the form of LFW's `pairs.txt` (10 folds), `pairsDevTrain.txt` and `pairsDevTest.txt` (one set).

    The first line says how many folds, and how many pairs of one person each has; one number alone is of a single
    set. A fold is so many lines `Name i j`, then as many `Name i Other j`: photograph i of Name is
    `Name/Name_%04d.jpg`. Raises `UsageError` where the file cannot be read or a line is not as it should be.
    """
    lines = read_text(path, "a list of pairs such as LFW's pairs.txt").rstrip().splitlines()
    if not lines:
        raise UsageError(f"{path}: empty; its first line must say how many pairs there are, such as 10 300")
    folds, each = _header(path, lines[0])
    expected = 2 * folds * each
    if len(lines) - 1 != expected:
        raise UsageError(
            f"{path}: {len(lines) - 1:,} lines of pairs, where its first line, '{_shown(lines[0])}', says "
            f"{expected:,}; the file may be cut off"
        )
    pairs = []
    for number, line in enumerate(lines[1:]):
        fold, place = divmod(number, 2 * each)
        try:
            pairs.append(_pair(line, place < each, fold))
        except ValueError as error:
            raise UsageError(f"{path}: line {number + 2}: '{_shown(line)}' {error}") from error
    return pairs


def _shown(line: str) -> str:
    return one_line(" ".join(line.split()))[:100]


def _header(path: Path, line: str) -> tuple[int, int]:
    """Give (folds, pairs of one person in each) of a first line."""
    fields = line.split()
    numbers = [int(field) for field in fields if _is_number(field)]
    if not 1 <= len(fields) <= 2 or len(numbers) < len(fields):
        raise UsageError(
            f"{path}: line 1: '{_shown(line)}' does not say how many pairs there are; such as 10 300 for 10 "
            "folds of 300 of one person and 300 of two, or 500 for one set"
        )
    return (numbers[0], numbers[1]) if len(numbers) == 2 else (1, numbers[0])


def _pair(line: str, same: bool, fold: int) -> Pair:
    """Read a line of a pair. Raises `ValueError` that says what it is not."""
    fields = line.split()
    if len(fields) != (3 if same else 4):
        raise ValueError(f"has {len(fields)} fields; 'Name i j' is needed here" if same else _not_different(fields))
    name, first = fields[0], fields[1]
    other, second = (name, fields[2]) if same else (fields[2], fields[3])
    if not _is_number(first) or not _is_number(second):
        raise ValueError("has no number of a photograph, 1 or more, where one belongs")
    if same and int(first) == int(second):
        raise ValueError("pairs a photograph with itself")
    if not same and name == other:
        raise ValueError("names one person twice; two different people are needed here")
    if any(set(word) & set("/\\:\0") or word in (".", "..") for word in (name, other)):
        raise ValueError("has a name that cannot be a folder's")
    return Pair(_lfw_path(name, first), _lfw_path(other, second), same, fold)


def _not_different(fields: Sequence[str]) -> str:
    return f"has {len(fields)} fields; 'Name i Other j' is needed here"


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 9 and int(text) > 0


def _lfw_path(name: str, number: str) -> str:
    return f"{name}/{name}_{int(number):04d}.jpg"


def read_triplets(path: Path, data: Path) -> list[Pair]:
    """Read triplets, a CSV with the columns `COLUMNS` and paths below `data`, as two decisions each.

    The anchor and the positive are of one person, the anchor and the negative of two: the pairs 2i and 2i + 1 of
    triplet i. Raises `UsageError` where the file cannot be read or has not these columns, where a row is not three
    different paths, and where an image is missing.
    """
    pairs = []
    for number, (anchor, positive, negative) in _triplets(path):
        fields = (anchor, positive, negative)
        if not all(fields):
            raise UsageError(f"{path}: line {number}: a path is missing; {', '.join(COLUMNS)} are needed in each row")
        if outside := [field for field in fields if not _is_below(field)]:
            raise UsageError(
                f"{path}: line {number}: {one_line(outside[0])[:100]!r} is not a path below the data folder"
            )
        anchor, positive, negative = (PurePosixPath(field).as_posix() for field in fields)
        if len({anchor, positive, negative}) < len(fields):
            raise UsageError(
                f"{path}: line {number}: it names {one_line(anchor)[:100]!r} with a photograph twice; three different "
                "ones are needed"
            )
        pairs += [Pair(anchor, positive, True, 0), Pair(anchor, negative, False, 0)]
    check_images(path, data, pairs)
    return pairs


def check_images(listed: Path, data: Path, pairs: Sequence[Pair], most: int = 3) -> None:
    """Raise `UsageError`, naming the first few, where images of `pairs` are not below `data`."""
    paths = dict.fromkeys(path for pair in pairs for path in (pair.a, pair.b))
    missing = [path for path in paths if not (data / path).is_file()]
    if missing:
        names = few([one_line(path)[:100] for path in missing], most)
        raise UsageError(
            f"{listed}: {len(missing):,} of its {len(paths):,} images are not below {data}: {names}; give the "
            "folder that their paths begin in"
        )


def _triplets(path: Path) -> Iterator[tuple[int, tuple[str, str, str]]]:
    """Give (number of the line, the three fields) of each row that is not blank."""
    # Strict: a quotation mark that is never closed would swallow the rows after it.
    reader = csv.reader(StringIO(read_text(path, "a CSV of triplets"), newline=""), strict=True)
    places: list[int] | None = None
    found = False
    try:
        for fields in reader:
            if not any(field.strip() for field in fields):
                continue
            if places is None:
                places = _places(path, [field.strip() for field in fields])
                continue
            found = True
            anchor, positive, negative = ((fields[place] if place < len(fields) else "") for place in places)
            yield reader.line_num, (anchor.strip(), positive.strip(), negative.strip())
    except csv.Error as error:
        raise UsageError(f"{path}: not a table, line {reader.line_num}: {reason(error)}") from error
    if not found:
        raise UsageError(f"{path}: it has no triplets; facectl data triplets writes such a file")


def _places(path: Path, header: Sequence[str]) -> list[int]:
    """Give the places of the columns of a file of triplets."""
    wrong = [column for column in COLUMNS if header.count(column) != 1]
    if wrong:
        met = ", ".join(one_line(name)[:40] or "(no name)" for name in header[:8])
        raise UsageError(f"{path}: no single column {wrong[0]} among {met}; it must have {', '.join(COLUMNS)}")
    return [header.index(column) for column in COLUMNS]


def _is_below(path: str) -> bool:
    posix, windows = PurePosixPath(path), PureWindowsPath(path)
    return not posix.is_absolute() and not windows.drive and ".." not in posix.parts
