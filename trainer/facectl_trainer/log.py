"""The log of a training: a CSV row an epoch, TensorBoard's files beside it and, if asked for, a line on stderr."""

import csv
import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from facectl_trainer.tensorboard import TensorBoard

HISTORY, TENSORBOARD = "history.csv", "tensorboard"
_COLUMNS = ("stage", "epoch", "rate", "loss", "accuracy", "val_loss", "val_accuracy", "seconds")


class Log:
    """Writes what happens in each epoch into a folder."""

    def __init__(self, folder: Path, *, verbose: bool) -> None:
        self._folder, self._verbose = folder, verbose

    def begin(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Start, after the epochs that were done before an interruption."""
        done = {row["stage"]: row["epoch"] for row in history}
        self.board = TensorBoard(self._folder / TENSORBOARD, done)
        self._append("w", ",".join(_COLUMNS) + "\n")
        self._append("a", _rows(history))

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Note an epoch."""
        self._append("a", _rows([row]))
        measures = {key: row[key] for key in ("loss", "accuracy", "val_loss", "val_accuracy", "rate")}
        self.board.scalars(row["stage"], row["epoch"], measures)
        if self._verbose:
            shown = ", ".join(f"{key} {value:.4g}" for key, value in measures.items())
            print(f"{row['stage']}, epoch {row['epoch']}: {shown}; {row['seconds']:.1f} s", file=sys.stderr)

    def confusion(self, folder: Path) -> None:
        """Show the report's confusion matrix in TensorBoard too."""
        self.board.image("confusion", (folder / "report" / "confusion.png").read_bytes(), 0)

    def _append(self, mode: str, text: str) -> None:
        with (self._folder / HISTORY).open(mode, encoding="utf-8", newline="") as file:
            file.write(text)


def _rows(history: Sequence[Mapping[str, Any]]) -> str:
    table = io.StringIO()
    rows = [[_short(row[column]) for column in _COLUMNS] for row in history]
    csv.writer(table, lineterminator="\n").writerows(rows)
    return table.getvalue()


def _short(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value
