"""What a model was trained on, as far as it is known: of a run, and of what was exported into it."""

from collections.abc import Sequence
from pathlib import Path

from facectl_runtime.errors import UsageError, counted
from facectl_runtime.labelled import PARTS, Chosen, Part, content_hash, read_split

_SPLIT, _HISTORY = "split.json", "history.csv"
_MET: tuple[Part, ...] = ("train", "val")


def own_split(run: Path, data: Path | None, parts: Sequence[Part] = ("test",)) -> Path | None:
    """Give the split file of a run folder, where `data` is not given or holds a photograph of those parts of it.

    Its content decides: other photographs may have the same names.
    """
    path = run / _SPLIT
    if not path.is_file() or data is None:
        return path if path.is_file() else None
    recorded = read_split(path)
    mine = (item.path for part in parts for item in recorded.parts.get(part, []))
    return path if any(_has_content(data / name, recorded.hashes.get(name)) for name in mine) else None


def trained_split(model: Path, data: Path | None) -> Path | None:
    """Give the split of the run that a model is, or was exported into, where that was trained and `data` is of it.

    `data` is of it where it holds any of its photographs. None where nothing was trained.
    """
    run = _trained_run(model)
    try:
        return own_split(run, data, PARTS) if run else None
    except UsageError:
        if run == model:
            raise
        return None  # what lies beside a file does not keep it from being used


def is_known(model: Path) -> bool:
    """Tell whether anything is known of what a model was trained on."""
    return _trained_run(model) is not None


def has_left_its_run(model: Path) -> bool:
    """Tell whether nothing lies about a model that says what it was trained on."""
    return not any((run / _SPLIT).is_file() for run in _runs(model))


def flattery(model: Path, chosen: Chosen, parts: Sequence[Part] = _MET) -> str | None:
    """Say how many of the chosen images a model has met in these parts of its split; None where none, or nobody knows.

    Their contents decide, as `chosen` has them: see `copies.hashed`.
    """
    run = _trained_run(model)
    try:
        own = read_split(run / _SPLIT) if run else None
    except UsageError:  # what lies beside a model says nothing about what it answers
        return None
    if own is None:
        return None
    met = {own.hashes.get(image.path) for part in parts for image in own.parts.get(part, [])} - {None}
    if not (known := sum(chosen.hashes.get(image.path) in met for image in chosen.images)):
        return None
    n = counted(len(chosen.images), "image")
    return f"{known:,} of {n} are of its own {' and '.join(parts)} part{'s' if len(parts) > 1 else ''}, and flatter it"


def _trained_run(model: Path) -> Path | None:
    """Give the run that a model is, or was exported into, where something was trained in it.

    An embedding that is used as it is has seen no photograph.
    """
    for run in _runs(model):
        try:
            if (run / _SPLIT).is_file():
                epochs = (run / _HISTORY).read_bytes().splitlines()[1:]  # a line each, below the header
                return run if epochs else None
        except OSError:
            continue
    return None


def _runs(model: Path) -> tuple[Path, Path]:
    """Give where a model's run may be: itself, or where it was exported into."""
    return model, model.resolve().parent.parent


def _has_content(file: Path, content: str | None) -> bool:
    try:
        return content is not None and file.is_file() and content_hash(file) == content
    except OSError:
        return False
