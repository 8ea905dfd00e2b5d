"""What `facectl predict` and `facectl faces identify` share: sources are answered, and the answers written."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from facectl_runtime.errors import FacectlError, ImageError, UsageError, counted, one_line

if TYPE_CHECKING:
    from facectl_runtime.devices import Device
    from facectl_runtime.draw import Drawing
    from facectl_runtime.reading import Reading
    from facectl_runtime.rows import Answered
    from facectl_runtime.save import Store
    from facectl_runtime.spec import ModelSpec


class Options(NamedTuple):
    """What is asked for on the command line, whoever answers."""

    exclude: Sequence[str] | None
    every: str | None
    start: str | None
    end: str | None
    retries: int | None
    timeout: str | None
    on_change: bool
    save: Path | None
    save_label: Sequence[str] | None
    save_most: int | None
    save_bytes: str | None
    draw: Path | None
    force: bool
    json: bool
    jsonl: bool
    csv: bool
    quiet: bool


class Answering(NamedTuple):
    """Who answers."""

    model: Path
    spec: "ModelSpec"
    device: "Device"
    engine: str
    reading: "Reading[Any, Any]"
    labels: Sequence[str]
    """What the answer may be, but for `unknown`."""
    can_be_unknown: bool
    topk: int
    measure: str = "probability"
    """What an answer is by: `probability` or `similarity`."""
    faces: bool = False
    """Whether faces are answered, and not whole pictures."""
    more: Mapping[str, str | float] = MappingProxyType({})
    """Further fields that every result carries."""


def answer(by: Answering, words: Sequence[str], asked: Options) -> int:
    """Answer what the words name, write it, and give the exit code."""
    from facectl_runtime.cli import INTERRUPTED
    from facectl_runtime.cli.counting import Count, bar, stream_line, told
    from facectl_runtime.cli.signals import ending
    from facectl_runtime.output import FORMATS, About
    from facectl_runtime.reading import answer_sources
    from facectl_runtime.sources import TIMEOUT, display_name, open_sources
    from facectl_runtime.video.selection import parse_length, parse_selection

    form = _form(json=asked.json, jsonl=asked.jsonl, csv=asked.csv)
    selection = parse_selection(asked.every, asked.start, asked.end)
    patience = TIMEOUT if asked.timeout is None else parse_length("--timeout", asked.timeout)

    def say(message: str) -> None:
        if not asked.quiet:
            _warn(message)

    found, streams = open_sources(
        words, exclude=asked.exclude or [], selection=selection, retries=asked.retries, timeout=patience, say=say
    )
    _check_options(asked, live=bool(streams))
    drawing = _drawing(asked.draw, words, _warn, force=asked.force)
    store = _store(by, asked) if asked.save else None
    with ExitStack() as stack:
        opened, rows = answer_sources(
            by.model,
            by.spec,
            by.device,
            found,
            by.reading,
            by.engine,
            live=bool(streams),
            pictures=bool(store or drawing),
        )
        if opened.no_gpu:
            say(f"the GPU is not used: {opened.no_gpu}; {opened.device} computes (facectl doctor says more)")
        count = Count(rows, streams)
        answered = _passed(iter(count), drawing, store, stack, on_change=asked.on_change)
        advance = stack.enter_context(bar(hidden=asked.quiet or bool(streams)))
        interrupted = stack.enter_context(ending(rows.close))
        for stream in streams:
            stack.callback(stream.close)
        name, asked_for = display_name(by.model), str(by.device)
        about = About(name, by.labels, opened, asked_for, by.topk, streams, by.measure, by.faces, by.more)
        FORMATS[form](told(answered, advance), about, sys.stdout)
    if not asked.quiet:
        print(f"{count.said()}, {opened.name} on {opened.device} (asked for: {by.device})", file=sys.stderr)
        for line in [*map(stream_line, streams), *_drawn(drawing, asked.draw)]:
            print(line, file=sys.stderr)
    if store and store.lost:
        _warn(f"--save {asked.save}: {counted(store.lost, 'picture')} could not be written")
    if interrupted():
        return INTERRUPTED
    return ImageError.exit_code if count.errors else FacectlError.exit_code if store and store.lost else 0


def _warn(message: str) -> None:
    print(f"facectl: {one_line(message)}", file=sys.stderr, flush=True)


def _form(**asked: bool) -> str:
    """Give the name of the one output format that is asked for. Raises `UsageError` for several."""
    chosen = [name for name, wanted in asked.items() if wanted]
    if len(chosen) > 1:
        raise UsageError(f"--{' and --'.join(chosen)} exclude one another; give one")
    return chosen[0] if chosen else "table"


def _check_options(asked: Options, *, live: bool) -> None:
    """Raise `UsageError` where an option was given for what is not there, and would change nothing."""
    _check_heeded("a camera or a stream", live, {"--retries": asked.retries, "--timeout": asked.timeout})
    save = {"--save-label": asked.save_label, "--save-most": asked.save_most, "--save-bytes": asked.save_bytes}
    _check_heeded("--save DIR", asked.save, save)
    _check_heeded("--draw OUT", asked.draw, {"--force": asked.force or None})


def _check_heeded(by: str, there: object, options: Mapping[str, object]) -> None:
    given = [option for option, value in options.items() if value is not None]
    if given and not there:
        raise UsageError(f"{given[0]} does nothing without {by}; give that too, or leave it out")


def _store(by: Answering, asked: Options) -> "Store":
    """Give where pictures are kept. Raises `UsageError`."""
    from facectl_runtime.save import MOST, MOST_BYTES, Store, parse_size
    from facectl_runtime.spec import UNKNOWN

    labels = asked.save_label or []
    if UNKNOWN in labels and UNKNOWN not in by.labels and not by.can_be_unknown:
        raise UsageError("--save-label unknown: the model has no threshold, so that nothing is unknown to it")
    most_bytes = MOST_BYTES if asked.save_bytes is None else parse_size("--save-bytes", asked.save_bytes)
    assert asked.save is not None
    return Store(asked.save, by.labels, labels, most=asked.save_most or MOST, most_bytes=most_bytes, say=_warn)


def _drawing(out: Path | None, sources: Sequence[str], say: Callable[[str], None], *, force: bool) -> "Drawing | None":
    """Give where answers are drawn, if they are. Raises `UsageError`."""
    if out is None:
        return None
    from facectl_runtime.draw import PICTURES, Drawing
    from facectl_runtime.draw.video import VIDEOS

    if out.suffix.lower() in PICTURES | VIDEOS and (len(sources) > 1 or Path(sources[0]).is_dir()):
        raise UsageError(f"--draw {out}: holds one picture or video, and there may be several; give a folder")
    return Drawing(out, force=force, say=say)


def _drawn(drawing: "Drawing | None", out: Path | None) -> list[str]:
    """Say where the drawings are."""
    if drawing is None:
        return []
    return [one_line(f"drawn: {out}") if drawing.made else one_line(f"nothing was drawn into {out}")]


def _passed(
    answered: "Iterator[Answered]",
    drawing: "Drawing | None",
    store: "Store | None",
    stack: ExitStack,
    *,
    on_change: bool,
) -> "Iterator[Answered]":
    """Lead answers through what is asked for on their way out; what is begun there is finished with `stack`."""
    if drawing:
        from facectl_runtime.draw import drawn

        stack.callback(drawing.close)
        answered = drawn(answered, drawing)
    if on_change:
        from facectl_runtime.output import changes

        answered = changes(answered)
    if store:
        from facectl_runtime.save import saved

        answered = saved(answered, store)
    return answered
