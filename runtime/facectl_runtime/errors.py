"""What can go wrong, as classes that carry the command line's exit code.

Every message is one line that names the value met, what is allowed and what to do.
"""

from collections.abc import Iterable, Mapping, Sequence


def one_line(text: str) -> str:
    """Show control characters as escapes, so that a line stays a line whatever name stands in it."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class FacectlError(Exception):
    """Base of all errors that facectl raises on purpose."""

    exit_code = 1


class UsageError(FacectlError, ValueError):
    """An option, a folder or a recipe asks for what cannot be done."""

    exit_code = 2


class MissingExtraError(UsageError, ImportError):
    """A package that an optional extra brings is not installed."""


class ImageError(FacectlError, ValueError):
    """One input could not be read as an image."""

    exit_code = 3


class ModelError(FacectlError, ValueError):
    """A file or folder is not a usable model."""

    exit_code = 4


class NoEngineError(ModelError):
    """Nothing installed here runs this kind of model."""


class GateError(FacectlError):
    """An exported file does not answer as the trained model does, or no longer as it did."""

    exit_code = 5


class DeviceError(FacectlError, RuntimeError):
    """The device asked for is not there."""

    exit_code = 6


def reason(error: BaseException) -> str:
    """Give the first line of what an error says, or its name where it says nothing."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def counted(number: int, noun: str, several: str | None = None) -> str:
    """Give a number with its noun, such as `1 image` and `1,200 images`; `several` where its plural has more than s."""
    return f"{number:,} {noun if number == 1 else several or f'{noun}s'}"


def describe(left_out: Mapping[str, str], most: int = 3) -> str:
    """Put what is left out into one line: the first few with their reasons, each said once, and how many more."""
    names_of: dict[str, list[str]] = {}
    for name, why in sorted(left_out.items())[:most]:
        names_of.setdefault(one_line(why), []).append(one_line(name)[:100] or "a row")
    more = [f"and {len(left_out) - most:,} more"] if len(left_out) > most else []
    return "; ".join([*(f"{', '.join(names)}: {why}" for why, names in names_of.items()), *more]) or "nothing"


def few(words: Sequence[str], most: int = 10) -> str:
    """Name the first ones, and say how many more there are."""
    more = f" and {len(words) - most:,} more" if len(words) > most else ""
    return f"{', '.join(words[:most])}{more}"


def left_out_line(left_out: Mapping[str, str]) -> str:
    """Say how many were left out, and of the first ten why."""
    return f"left out: {len(left_out):,}: {describe(left_out, most=10)}"


def left_out_clause(left_out: Mapping[str, str]) -> str:
    """Give `; 3 were left out (…)` for the end of a message, where what was left out may be why; else nothing."""
    n = f"{len(left_out):,} {'was' if len(left_out) == 1 else 'were'}"
    return f"; {n} left out ({describe(left_out)})" if left_out else ""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Give `; did you mean 'x'?` where a known word is near, and nothing elsewhere."""
    from difflib import get_close_matches

    matches = get_close_matches(word, list(known), 1)
    return f"; did you mean {matches[0]!r}?" if matches else ""
