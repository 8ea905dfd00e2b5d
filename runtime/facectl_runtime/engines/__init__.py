"""Engines: one table from the kind of a MODEL to its format. Other packages add theirs by entry points.

An entry point of the group `facectl.engines` is named for the suffix it serves, without the dot, or `run` for a run
folder, and gives a `Format`.
"""

import os
from importlib import import_module
from pathlib import Path

from facectl_runtime.engines.base import Engine, Format
from facectl_runtime.errors import ModelError
from facectl_runtime.handed_in import entry_points
from facectl_runtime.sources import display_name

__all__ = ["AUTO", "Engine", "Format", "format_of"]

RUN, AUTO = "run", "auto"
_NAMED = 8  # models of a folder that a message names
_CORE_ML_FORMS = {
    "mlmodelc": "a compiled Core ML model, which may be encrypted too; give the .mlpackage that it was made from",
    "mlmodel": "a file out of a Core ML package, or a model of the older kind; give the .mlpackage folder that it lies "
    "in, or convert it again with convert_to='mlprogram'",
}
FORMATS = {"onnx": "onnx", "tflite": "tflite", "mlpackage": "coreml"}
"""Suffix → the module below, imported where it is asked for, that has its `FORMAT`."""


def format_of(model: Path, engine: str = AUTO) -> Format:
    """Find what reads `model`, and runs it by the engine of that name, or by what is best here.

    Raises `ModelError` for a missing one and a kind that nothing installed can read, `UsageError` for another engine.
    """
    found = _format_of(model)
    return found if engine == AUTO else found.by(engine, model)


def _format_of(model: Path) -> Format:
    if not os.path.exists(model):  # unlike Path.exists, also false for a name that is too long  # noqa: PTH110
        raise ModelError(f"{model}: no such model; give an exported file or a run folder")
    kind = model.suffix.lower().removeprefix(".")
    if kind not in FORMATS and model.is_dir() and (model / "spec.json").exists():
        kind = RUN
    if kind in FORMATS:
        own: Format = import_module(f"{__name__}.{FORMATS[kind]}").FORMAT
        return own
    others = entry_points("facectl.engines")
    if kind in others:
        return _loaded(others[kind].load())
    known = ", ".join(sorted(f".{name}" for name in {*FORMATS, *others} - {RUN}))
    if inside := _models_in(model):
        raise ModelError(f"{model}: a folder of models, not one; give one of those in it: {', '.join(inside)}")
    if kind in _CORE_ML_FORMS:
        raise ModelError(f"{model}: {_CORE_ML_FORMS[kind]}")
    what = "a folder without a spec.json" if model.is_dir() else f"a {model.suffix or 'suffixless'} file"
    raise ModelError(f"{model}: {what} is not a model; use {known} or a run folder that `facectl train` wrote")


def _models_in(folder: Path) -> list[str]:
    """Name some models that lie in what was given."""
    found = folder.iterdir() if folder.is_dir() else ()
    names = sorted(display_name(path.name) for path in found if path.suffix.removeprefix(".") in FORMATS)
    more = [f"{len(names) - _NAMED} more"] if len(names) > _NAMED else []
    return names[:_NAMED] + more


def _loaded(candidate: object) -> Format:
    if not isinstance(candidate, Format):
        raise ModelError(f"the engine {candidate!r} from an entry point is not a facectl Format; reinstall its package")
    return candidate
