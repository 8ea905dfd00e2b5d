"""The log of a training: a CSV row an epoch, TensorBoard's files beside it and, if asked for, a line on stderr."""

import csv
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from facectl_runtime.errors import UsageError, reason
from facectl_trainer.tensorboard import TensorBoard

HISTORY, TENSORBOARD = "history.csv", "tensorboard"
_COLUMNS = ("stage", "epoch", "rate", "loss", "accuracy", "val_loss", "val_accuracy", "seconds")
_PLACES = ("stage", "epoch", "seconds")  # of the columns, those that measure nothing


class Log:
    """Writes what happens in each epoch into a folder."""

    def __init__(self, folder: Path, *, verbose: bool) -> None:
        self._folder, self._verbose = folder, verbose

    def begin(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Start, after the epochs that were done before an interruption."""
        done = {row["stage"]: row["epoch"] for row in history}
        self.board = TensorBoard(self._folder / TENSORBOARD, done)
        self._write(history)

    def epoch(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Note the last epoch of a history. A full disk costs the note, not the run: the next one has all of them."""
        row = history[-1]
        measures = {key: row[key] for key in sorted(row, key=_place) if key not in _PLACES}
        try:
            self._write(history)
            self.board.scalars(row["stage"], row["epoch"], measures)
        except (OSError, UsageError) as error:
            print(f"facectl: epoch {row['epoch']} could not be logged ({reason(error)}); going on", file=sys.stderr)
        if self._verbose:
            shown = ", ".join(f"{key} {value:.4g}" for key, value in measures.items())
            print(f"{row['stage']}, epoch {row['epoch']}: {shown}; {row['seconds']:.1f} s", file=sys.stderr)

    def confusion(self, folder: Path) -> None:
        """Show the report's confusion matrix in TensorBoard too."""
        self.board.image("confusion", (folder / "report" / "confusion.png").read_bytes(), 0)

    def _write(self, history: Sequence[Mapping[str, Any]]) -> None:
        columns = [*_COLUMNS, *dict.fromkeys(key for row in history for key in row if key not in _COLUMNS)]
        rows = [[_short(row[column]) for column in columns] for row in history]
        with (self._folder / HISTORY).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([columns, *rows])


def _place(name: str) -> int:
    """Order columns: those of every training first, the rate after what it led to."""
    return _COLUMNS.index(name) if name in _COLUMNS and name != "rate" else len(_COLUMNS)


def _short(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value
