"""How answers are written: one function a format, each taking rows as they come."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TextIO

import msgspec

from facectl_runtime.errors import one_line
from facectl_runtime.spec import UNKNOWN, ModelSpec

if TYPE_CHECKING:
    from facectl_runtime.classifier import Answered, Row
    from facectl_runtime.engines import Engine
    from facectl_runtime.video.live import Live


class About(msgspec.Struct, frozen=True):
    """What every result says of where it comes from."""

    model: str
    spec: ModelSpec
    engine: "Engine"
    device_requested: str
    topk: int
    streams: "Sequence[Live]" = ()
    """The live sources that are answered."""

    def fields(self) -> dict[str, str]:
        """Give the fields that every JSON and CSV result carries."""
        return {
            "model": self.model,
            "engine": self.engine.name,
            "device": self.engine.device,
            "device_requested": self.device_requested,
        }


def write_table(rows: "Iterable[Row]", about: About, out: TextIO) -> None:
    """Write a line an image: the likeliest labels with their probabilities, then the source."""
    width = max(map(len, (*about.spec.labels, UNKNOWN)))
    for row in rows:
        if row.error is not None:
            line = f"error    {_where(row)}: {one_line(row.error)}"
        else:
            first = row.top[0]
            cells = [f"{first.probability:7.1%}  {row.label:<{width}}"]
            cells += [f"{other.probability:7.1%}  {other.label:<{width}}" for other in row.top[1:]]
            line = "  ".join([*cells, _where(row)])
        out.write(line + "\n")
        out.flush()


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
    """Write a header and a line an image; the k-th likeliest label is in `label_k`, from 2 on."""
    import csv

    common = about.fields()
    most = min(about.topk, len(about.spec.labels))
    k_columns = [f"{kind}_{k}" for k in range(2, most + 1) for kind in ("label", "probability")]
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["source", "frame", "time", "at", "label", "probability", *k_columns, "age", "error", *common])
    for row in rows:
        others: list[Any] = [value for ranked in row.top[1:] for value in (ranked.label, ranked.probability)]
        others += [""] * (len(k_columns) - len(others))
        where = [row.source, row.frame, row.time, row.at]
        writer.writerow([*where, row.label, row.probability, *others, row.age, row.error, *common.values()])
        out.flush()


FORMATS: dict[str, Callable[["Iterable[Row]", About, TextIO], None]] = {
    "table": write_table,
    "json": write_json,
    "jsonl": write_jsonl,
    "csv": write_csv,
}


def changes(answered: "Iterable[Answered]") -> "Iterator[Answered]":
    """Pass on each error, and each answer whose label is not that of the answer before it from the same source."""
    labels: dict[str, str | None] = {}
    for source, row in answered:
        if row.error is not None or labels.get(row.source) != row.label:
            yield source, row
        if row.error is None:
            labels[row.source] = row.label


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
