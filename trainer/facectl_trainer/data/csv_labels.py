"""Labels from a table: one row an image, one column its file, one its class."""

import csv
from collections import defaultdict
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path

from facectl_runtime.errors import UsageError, describe, did_you_mean, one_line, reason
from facectl_runtime.labelled import Image
from facectl_runtime.sources import display_name
from facectl_runtime.text import read_text
from facectl_trainer.data.files_below import FilesBelow

_FILE = "file filename file_name path filepath file_path image image_path image_name img photo photograph picture"
FILE_COLUMNS = (*_FILE.split(), "image_id", "id", "name")
"""What the column of files may be called, likeliest first; where none is there, it is the first column."""
LABEL_COLUMNS = ("class", "label", "category", "target", "class_name", "label_name")
_DELIMITERS = ",;\t"
NOT_IN_TABLE = "not in the table"
"""Why an image is left out that no row names."""

_Rows = list[tuple[str, str]]
"""File and label, as they stand in the table."""


def read_labels(
    data: Path, table: Path, file_column: str | None = None, label_column: str | None = None
) -> tuple[list[Image], dict[str, str]]:
    """Give (images sorted by path, {file or name in the table: why it is left out}).

    A file may be named by its path below `data` or by the end of it, with or without its suffix; a name that fits two
    files is left out, as is a file under two labels. A row that stands there twice counts once, and is said. The order
    of the rows makes no difference. Encoding: UTF-8; between columns: comma, semicolon or tab. Columns that are not
    named are told by `FILE_COLUMNS` and `LABEL_COLUMNS`.

    Raises `UsageError` where the table or the folder cannot be read, where the columns cannot be told, and where no
    row is left.
    """
    if not data.is_dir():
        raise UsageError(f"{data}: no such folder; give the one in which the images of {table} lie")
    rows, left_out = _rows(table, file_column, label_column)
    known = FilesBelow(data)
    labels: dict[Path, list[str]] = defaultdict(list)
    for name, label in rows:
        found = known.find(name)
        if isinstance(found, Path):
            labels[found].append(label)
        else:
            left_out[name] = found
    images = []
    for path in known.paths:
        if why := _why_not(labels[path]):
            left_out.setdefault(display_name(path), why)
        if len(set(labels[path])) == 1 and labels[path][0]:
            images.append(Image(str(path), labels[path][0]))
    if not images:
        given = {name: why for name, why in left_out.items() if why != NOT_IN_TABLE} or left_out
        there = f"; images are called such as {one_line(display_name(known.paths[0]))[:100]}" if known.paths else ""
        raise UsageError(f"{table}: no row names an image below {data}: {describe(given)}{there}")
    return sorted(images, key=lambda image: image.path), left_out


def _why_not(labels: Sequence[str]) -> str | None:
    different = sorted(set(labels))
    if not labels:
        return NOT_IN_TABLE
    if different == [""]:
        return "no label"
    if len(different) > 1:
        return f"under {len(different)} labels, {one_line(' and '.join(label or 'none' for label in different)[:100])}"
    return None


def _rows(table: Path, file_column: str | None, label_column: str | None) -> tuple[_Rows, dict[str, str]]:
    """Give (file and label of each row, {file: why} of the rows that are no rows)."""
    header, rest = _read(table)
    file, label = _columns(table, header, file_column, label_column)
    rows: _Rows = []
    left_out = {}
    for fields in rest:
        if not any(fields):
            continue  # a blank line, or what a spreadsheet leaves at the end
        padded = fields + [""] * (len(header) - len(fields))
        if any(padded[len(header) :]):
            left_out[padded[file]] = f"more fields than the {len(header)} columns; quote what has commas"
        else:
            rows.append((padded[file], padded[label]))
    return rows, left_out


def _read(table: Path) -> tuple[list[str], Iterator[list[str]]]:
    """Give (the names of the columns, the fields of each row), stripped."""
    text = read_text(table, "a CSV of files and classes")
    first = text.lstrip("\r\n").partition("\n")[0]
    delimiter = max(_DELIMITERS, key=first.count)
    # Strict: a quotation mark that is never closed would swallow the rows after it.
    reader = csv.reader(StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)

    def rows() -> Iterator[list[str]]:
        try:
            yield from ([field.strip() for field in fields] for fields in reader)
        except csv.Error as error:
            raise UsageError(f"{table}: not a table, line {reader.line_num}: {reason(error)}") from error

    stripped = rows()
    header = next((fields for fields in stripped if any(fields)), None)
    if header is None:
        raise UsageError(f"{table}: empty; its first line must name the columns, such as ID,Class")
    return header, stripped


def _columns(table: Path, header: Sequence[str], file: str | None, label: str | None) -> tuple[int, int]:
    """Give the places of the column of files and that of labels: those named, or else told by their names."""
    named_file = None if file is None else _named(table, header, file)
    named_label = None if label is None else _named(table, header, label)
    label_at = _label_column(table, header, named_file) if named_label is None else named_label
    file_at = _file_column(table, header, label_at) if named_file is None else named_file
    if file_at == label_at:
        raise UsageError(
            f"{table}: the column {header[file_at]!r} cannot hold both files and classes; name two columns"
        )
    return file_at, label_at


def _named(table: Path, header: Sequence[str], name: str) -> int:
    """Find a column that is asked for by its name, in whatever case."""
    asked = name.strip()
    exact = [index for index, there in enumerate(header) if there == asked]
    fitting = exact or [index for index, there in enumerate(header) if there.casefold() == asked.casefold()]
    if not fitting:
        meant = did_you_mean(asked, header)
        raise UsageError(f"{table}: no column {asked!r} among {_shown(header)}{meant or '; name one of these'}")
    if len(fitting) > 1:
        raise UsageError(f"{table}: {len(fitting)} columns are called {asked!r}; rename all but one")
    return fitting[0]


def _label_column(table: Path, header: Sequence[str], taken: int | None) -> int:
    """Tell the column of labels by its name; `taken` is known to be another."""
    names = _names(header)
    known = (
        f"name the columns in its first line; a class may be called {', '.join(LABEL_COLUMNS)}, or what --label-column "
        "of facectl data from-csv says"
    )
    labels = [index for index, name in enumerate(names) if name in LABEL_COLUMNS and index != taken]
    if not labels:
        meant = "".join(sorted({did_you_mean(name, LABEL_COLUMNS) for name in names[:12]})[-1:])
        raise UsageError(f"{table}: no column of classes among {_shown(header)}{meant}; {known}")
    if len(labels) > 1:
        raise UsageError(
            f"{table}: more than one column of classes among {_shown(header)}; leave one of these names; {known}"
        )
    return labels[0]


def _file_column(table: Path, header: Sequence[str], label: int) -> int:
    """Tell the column of files by its name, or take the first that is not that of labels."""
    names = _names(header)
    others = [index for index in range(len(names)) if index != label]
    files = [index for wanted in FILE_COLUMNS for index in others if names[index] == wanted] or others
    if not files:
        known = ", ".join(FILE_COLUMNS)
        raise UsageError(f"{table}: no column of files beside {_shown(header)}; one may be called {known}")
    if names.count(names[files[0]]) > 1:
        raise UsageError(f"{table}: two columns are called {header[files[0]]!r}; rename one")
    return files[0]


def _names(header: Sequence[str]) -> list[str]:
    return [name.casefold().replace(" ", "_") for name in header]


def _shown(header: Sequence[str]) -> str:
    return ", ".join(one_line(name)[:40] or "(no name)" for name in header[:12]) + (", …" if len(header) > 12 else "")
