"""What to export: the cells of formats × precisions, out of the words of the command line."""

from collections.abc import Iterator, Sequence

from facectl_export.formats import WRITERS
from facectl_export.precision import PRECISIONS, Cell
from facectl_runtime.errors import UsageError, did_you_mean
from facectl_runtime.spec import Precision

ALL = "all"


def cells(formats: str, precisions: str) -> list[Cell]:
    """Read two comma-separated lists, `all` among their words, and give their product.

    A format that lacks a precision named is refused with the reason; `all` means all there are. Raises `UsageError`.
    """
    wanted_formats = _words(formats, "--format", list(WRITERS))
    wanted = _words(precisions, "--quantize", list(PRECISIONS))
    chosen = []
    for one in wanted_formats:
        for precision in wanted:
            cell = Cell(one, precision)  # type: ignore[arg-type]  # the words were checked
            if reason := cell.recipe.refused.get(cell.format):
                if ALL in _split(formats) or ALL in _split(precisions):
                    continue
                others = ", ".join(other for other in WRITERS if other not in cell.recipe.refused)
                asked = f"--format {one} --quantize {precision}"
                raise UsageError(f"{asked}: there is no such file ({reason}), but with --format {others}")
            chosen.append(cell)
    if not chosen:
        raise UsageError(
            f"--format {formats} --quantize {precisions}: no such files; facectl export --list says which are"
        )
    return chosen


def rows() -> Iterator[Sequence[str]]:
    """Give the table of `--list`: a row a precision, a cell a format, with the least that runs the file."""
    yield ("precision", *WRITERS, "what it does")
    for name, recipe in PRECISIONS.items():
        yield (name, *(recipe.targets.get(one, "–") for one in WRITERS), recipe.about)


def refusals() -> Iterator[str]:
    """Say of each cell that cannot be why."""
    for name, recipe in PRECISIONS.items():
        for one, reason in recipe.refused.items():
            yield f"{one} {name}: {reason}"


def precisions_named(text: str, option: str) -> list[Precision]:
    """Read a comma-separated list of precisions; empty where the text is. Raises `UsageError`."""
    return _words(text, option, list(PRECISIONS)) if text else []  # type: ignore[return-value]  # the words were checked


def _words(text: str, option: str, known: list[str]) -> list[str]:
    words = _split(text)
    if wrong := [word for word in words if word not in (*known, ALL)]:
        raise UsageError(
            f"{option} {text!r}: {wrong[0]!r} is not known{did_you_mean(wrong[0], known)}; "
            f"use {', '.join(known)} or {ALL}"
        )
    return [word for word in known if word in words or ALL in words]


def _split(text: str) -> list[str]:
    return [word.strip().lower() for word in text.split(",")]
