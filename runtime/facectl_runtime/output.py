"""How answers are written: one function a format, each taking rows as they come."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

import msgspec

from facectl_runtime.errors import one_line
from facectl_runtime.spec import UNKNOWN

if TYPE_CHECKING:
    from facectl_runtime.engines import Engine
    from facectl_runtime.rows import Answered, FaceAnswer, Match, Ranked, Row
    from facectl_runtime.video.live import Live


class About(msgspec.Struct, frozen=True):
    """What every result says of where it comes from."""

    model: str
    labels: Sequence[str]
    """What an answer may be, beside `unknown`."""
    engine: "Engine"
    device_requested: str
    topk: int
    streams: "Sequence[Live]" = ()
    """The live sources that are answered."""
    measure: str = "probability"
    """What an answer is by: `probability` or `similarity`."""
    faces: bool = False
    """Whether faces are answered, and not whole pictures."""
    more: Mapping[str, str | float] = {}
    """Further fields that every result carries."""

    def fields(self) -> dict[str, str | float]:
        """Give the fields that every JSON and CSV result carries."""
        return {
            "model": self.model,
            "engine": self.engine.name,
            "device": self.engine.device,
            "device_requested": self.device_requested,
            **self.more,
        }


def write_table(rows: "Iterable[Row]", about: About, out: TextIO) -> None:
    """Write a line an image, or a face: the likeliest labels with their probabilities, then the source."""
    width = max(map(len, (*about.labels, UNKNOWN)))
    for row in rows:
        if row.error is not None:
            lines = [f"error    {_where(row)}: {one_line(row.error)}"]
        elif row.faces is None:
            lines = [f"{_cells(row.label, row.top, width, about.topk)}  {_where(row)}"]
        else:
            cells = (_cells(face.label, face.top, width, about.topk) for face in row.faces)
            lines = [f"{text}  {_where(row)}  {_spot(face)}" for text, face in zip(cells, row.faces, strict=True)]
        for line in lines or [f"no face  {_where(row)}"]:
            out.write(line + "\n")
        out.flush()


def _cells(label: str | None, top: "Sequence[Ranked | Match]", width: int, topk: int) -> str:
    """Write the likeliest labels, each after its probability or similarity; `unknown` has none, and they follow it."""
    named = [(_measured(one), one.label) for one in top]
    if label == UNKNOWN:
        named = [("–", UNKNOWN), *named[: topk - 1]]
    return "  ".join(f"{value:>7}  {name:<{width}}" for value, name in named)


def _measured(one: "Ranked | Match") -> str:
    similarity = getattr(one, "similarity", None)
    return f"{one.probability:.1%}" if similarity is None else f"{similarity:.3f}"  # type: ignore[union-attr]


def _spot(face: "FaceAnswer") -> str:
    """Say where a face is: the left upper corner of its box, and how large it is."""
    left, upper, right, lower = face.box
    return f"{right - left} × {lower - upper} at {left}, {upper}"


def _where(row: "Row") -> str:
    """Say what was answered: the source, and of a video or a stream when."""
    name = one_line(row.source)
    if row.age is not None and row.at is not None:
        return f"{name}  {row.at[11:23]}  {1000 * row.age:.0f} ms"
    return name if row.time is None else f"{name}  {clock(row.time)}"


def clock(seconds: float) -> str:
    """Give a time in a video, such as `1:02:03.500`."""
    whole, thousandths = divmod(round(1000 * seconds), 1000)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}:{minutes:02}" if hours else f"{minutes}") + f":{rest:02}.{thousandths:03}"


def write_json(rows: "Iterable[Row]", about: About, out: TextIO) -> None:
    """Write one document: the fields of `About`, and `results`, a list of rows; at the end the counts of `streams`."""
    head = msgspec.json.encode(about.fields()).decode()
    out.write(head[:-1] + ',"results":[')
    try:
        for number, row in enumerate(rows):
            out.write((",\n" if number else "\n") + msgspec.json.encode(row).decode())
    finally:  # whatever ends it, what is there can be read
        streams = [stream.counts() for stream in about.streams]
        out.write("\n]" + (f',"streams":{msgspec.json.encode(streams).decode()}' if streams else "") + "}\n")


def write_jsonl(rows: "Iterable[Row]", about: About, out: TextIO) -> None:
    """Write an object a line: the row, with the fields of `About`."""
    common = about.fields()
    for row in rows:
        out.write(msgspec.json.encode({**msgspec.to_builtins(row), **common}).decode() + "\n")
        out.flush()


def write_csv(rows: "Iterable[Row]", about: About, out: TextIO) -> None:
    """Write a header and a line an image, or a face; the k-th likeliest label is in `label_k`, from 2 on.

    Behind `unknown` come the likeliest, from the first on.
    """
    import csv

    from facectl_runtime.rows import FaceAnswer

    common = about.fields()
    most = min(about.topk, len(about.labels))
    k_columns = [f"{kind}_{k}" for k in range(2, most + 1) for kind in ("label", about.measure)]
    face_columns = ["left", "upper", "right", "lower", "score"] if about.faces else []
    writer = csv.writer(out, lineterminator="\n")
    first = ["source", "frame", "time", "at", *face_columns, "label", about.measure]
    writer.writerow([*first, *k_columns, "age", "error", *common])
    for row in rows:
        # A picture without a face has a line too, and so has one that could not be read.
        for one in row.faces or [row]:
            face = [*one.box, one.score] if isinstance(one, FaceAnswer) else [""] * len(face_columns)
            ranks = one.top[: most - 1] if one.label == UNKNOWN else one.top[1:]
            others: list[Any] = [value for ranked in ranks for value in msgspec.structs.astuple(ranked)]
            others += [""] * (len(k_columns) - len(others))
            where = [row.source, row.frame, row.time, row.at]
            named = [one.label, getattr(one, about.measure, None)]
            writer.writerow([*where, *face, *named, *others, row.age, row.error, *common.values()])
        out.flush()


FORMATS: dict[str, Callable[["Iterable[Row]", About, TextIO], None]] = {
    "table": write_table,
    "json": write_json,
    "jsonl": write_jsonl,
    "csv": write_csv,
}


def changes(answered: "Iterable[Answered]") -> "Iterator[Answered]":
    """Pass on each error, and each answer whose label, or labels, are not those of the one before it of that source."""
    labels: dict[str, list[str]] = {}
    for source, row in answered:
        if row.error is not None or labels.get(row.source) != sorted(row.labels):
            yield source, row
        if row.error is None:
            labels[row.source] = sorted(row.labels)


def columns(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Lay out rows of text in aligned columns, two blanks apart; the columns numbered in `right` are flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(
            cell.rjust(width) if number in right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
    return "\n".join(lines)
