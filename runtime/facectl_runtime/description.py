"""What is said of a model of others on the command line: its labels, how its pictures are made, what it gives."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from facectl_runtime.errors import UsageError, counted, did_you_mean
from facectl_runtime.spec import CenterCrop, Letterbox, Squash

OPTIONS = "--labels, --resize, --size, --scale, --mean, --std, --channels, --output"

Three = tuple[float, float, float]
Channels = Literal["rgb", "bgr"]
Output = Literal["auto", "probabilities", "logits"]
Resize = Squash | CenterCrop | Letterbox
_T = TypeVar("_T")
_RESIZES: dict[str, Resize] = {"squash": Squash(), "center_crop": CenterCrop(), "letterbox": Letterbox()}
_CHANNELS: dict[str, Channels] = {"rgb": "rgb", "bgr": "bgr"}
_OUTPUTS: dict[str, Output] = {"auto": "auto", "probabilities": "probabilities", "logits": "logits"}
_MOST_BYTES = 10_000_000  # of a file of labels
_LONGEST = 200  # characters of a label, as the spec has it
_MOST_SIDE = 4096  # pixels, as the spec has it


class Description(msgspec.Struct, frozen=True):
    """What is said of a model; None where nothing is."""

    labels: tuple[str, ...] | None = None
    resize: Resize | None = None
    size: tuple[int, int] | None = None
    """Width and height."""
    scale: float | None = None
    mean: Three | None = None
    std: Three | None = None
    channels: Channels | None = None
    output: Output | None = None

    @property
    def asked(self) -> bool:
        """Whether anything is said."""
        return self != Description()


def description_of(
    labels: Path | None,
    resize: str | None,
    size: str | None,
    scale: float | None,
    mean: str | None,
    std: str | None,
    channels: str | None,
    output: str | None,
) -> Description:
    """Read the words of the options of these names. Raises `UsageError`."""
    if scale is not None and not (math.isfinite(scale) and scale > 0):
        raise UsageError(
            f"--scale {scale:g}: use 255 for a model that wants pixels of 0 to 1, or 1 for one of 0 to 255"
        )
    return Description(
        None if labels is None else read_labels(labels),
        None if resize is None else _resize(resize),
        None if size is None else _size(size),
        scale,
        None if mean is None else _three("--mean", mean),
        None if std is None else _three("--std", std),
        None if channels is None else _one_of("--channels", channels, _CHANNELS),
        None if output is None else _one_of("--output", output, _OUTPUTS),
    )


def read_labels(path: Path) -> tuple[str, ...]:
    """Read labels in output order: one a line in UTF-8, or a JSON list.

    A name that comes again, as ImageNet's `crane` does, is given with its number: `crane (2)`. Raises `UsageError`.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UsageError(f"--labels {path}: larger than {_MOST_BYTES} bytes; give a text with one label a line")
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"--labels {path}: {error.strerror}; give a text with one label a line") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"--labels {path}: not a text in UTF-8; save it as one, with one label a line") from error
    if text.lstrip().startswith("{"):
        raise UsageError(f"--labels {path}: a JSON object; give a list of labels in output order, or one a line")
    names = _json_list(path, text) if text.lstrip().startswith("[") else [line.strip() for line in _lines(text)]
    for number, name in enumerate(names, 1):
        if not name or not name.isprintable() or name != name.strip() or len(name) > _LONGEST:
            what = f"{name[:40]!r} is no label" if name else "there is no label"
            raise UsageError(f"--labels {path}: {what} in place {number}; use 1 to {_LONGEST} printable characters")
    if len(names) < 2:
        raise UsageError(f"--labels {path}: it has {counted(len(names), 'label')}; at least 2 are needed, one a line")
    labels = _numbered(names)
    if twice := [label for label, times in Counter(labels).items() if times > 1]:
        raise UsageError(f"--labels {path}: {twice[0]!r} is there twice; give every label a name of its own")
    return tuple(labels)


def _lines(text: str) -> list[str]:
    return text.rstrip().replace("\r\n", "\n").replace("\r", "\n").split("\n") if text.strip() else []


def _json_list(path: Path, text: str) -> list[str]:
    try:
        return msgspec.json.decode(text, type=list[str])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise UsageError(f"--labels {path}: not a JSON list of texts ({error}); or give one label a line") from error


def _numbered(names: Sequence[str]) -> list[str]:
    """Give each name that came before its number."""
    met: Counter[str] = Counter()
    given = []
    for name in names:
        met[name] += 1
        given.append(name if met[name] == 1 else f"{name} ({met[name]})")
    return given


def _resize(text: str) -> Resize:
    kind, colon, fraction = text.partition(":")
    if kind == "center_crop" and colon:
        value = _number(fraction)
        if not 0 < value <= 1:
            raise UsageError(f"--resize {text}: {fraction!r} is no fraction above 0 and up to 1; such as 0.875")
        return CenterCrop(value)
    return _one_of("--resize", text, _RESIZES, "center_crop:FRACTION")


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,4})[x×](\d{1,4})", text, re.ASCII | re.IGNORECASE)
    if not found or not all(1 <= int(side) <= _MOST_SIDE for side in found.groups()):
        raise UsageError(f"--size {text}: give WIDTHxHEIGHT, each 1 to {_MOST_SIDE}, such as 224x224")
    return int(found[1]), int(found[2])


def _three(option: str, text: str) -> Three:
    """Read a number a channel, or one for all."""
    values = [_number(part) for part in text.split(",")]
    if len(values) not in (1, 3) or not all(map(math.isfinite, values)):
        raise UsageError(f"{option} {text}: give three numbers, such as 0.5,0.5,0.5, or one for all channels")
    if option == "--std" and min(values) <= 0:
        raise UsageError(f"{option} {text}: pixels are divided by it; give numbers above 0")
    first, second, third = values * 3 if len(values) == 1 else values
    return first, second, third


def _number(text: str) -> float:
    """Read a number; NaN for what is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _one_of(option: str, word: str, known: Mapping[str, _T], *more: str) -> _T:
    if word not in known:
        raise UsageError(f"{option} {word!r} is not known{did_you_mean(word, known)}; use {', '.join([*known, *more])}")
    return known[word]
