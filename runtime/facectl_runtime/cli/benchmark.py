"""`facectl benchmark`."""

import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from facectl_runtime.cli.hashed import say_flattery
from facectl_runtime.cli.options import DeviceOption, JsonOption, QuietOption, ThreadsOption
from facectl_runtime.errors import ImageError, UsageError, counted, left_out_line

_MOST_BATCH, _MOST_SECONDS = 1024, 3600


def benchmark(
    model: Annotated[
        list[Path], typer.Argument(metavar="MODEL...", help="Exported files and run folders.", readable=False)
    ],
    data: Annotated[
        Path | None, typer.Option(help="A folder with one folder of images a class: accuracy and agreement too.")
    ] = None,
    split: Annotated[Path | None, typer.Option(help="A run's split.json: only the images of --part.")] = None,
    part: Annotated[
        str | None, typer.Option(metavar="train|val|test", help="Which part of a split. [default: test]")
    ] = None,
    batch: Annotated[str, typer.Option(metavar="N,N...", help="Images at once.")] = "1,2,4,8,16,32",
    seconds: Annotated[
        float, typer.Option(help="For each model's latency, and again for its throughput; longer where it is slow.")
    ] = 3.0,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="A picture to write, .png or .svg.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the picture that is there.")] = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> int:
    """Measure models side by side.

    Time an image and images a second by batch, the start of a whole process and its memory, the size on disk, and with
    --data what they answer. The models take turns, so that a machine that grows hot or busy slows all alike. It takes
    about ten seconds a file, a minute and more a run folder, and with --data the time to answer each photograph.
    """
    import msgspec

    from facectl_runtime.bench.benchmark import benchmark
    from facectl_runtime.bench.compare import open_all
    from facectl_runtime.bench.table import doubts, text
    from facectl_runtime.devices import parse_device
    from facectl_runtime.labelled import choose_images

    batches, asked = _batches(batch), parse_device(device, threads)
    if not 0 < seconds <= _MOST_SECONDS:
        raise UsageError(f"--seconds {seconds:g}: give more than 0 and at most {_MOST_SECONDS}")
    if plot:
        from facectl_runtime.bench.plot import check_plot

        check_plot(plot, force)
    chosen = choose_images(data, split, part) if data or split or part else None
    opened = open_all(model, asked, labelled=chosen is not None)
    if chosen:
        chosen = say_flattery(model, chosen, quiet=quiet)
    found = benchmark(opened, chosen, batches, seconds, asked, quiet)
    for line in doubts(found):
        print(line, file=sys.stderr)
    if not quiet:
        measured_on = f"{found.data}; " if found.data else ""
        on = f"{found.machine}, {counted(found.threads, 'thread')} (device asked for: {asked})"
        print(f"{measured_on}{on}; {found.seconds:.0f} s", file=sys.stderr)
    typer.echo(msgspec.json.encode(found).decode() if json else text(found))
    if found.unreadable and not json:
        typer.echo("\n" + left_out_line(found.unreadable))
    if plot:  # last: what was measured is not lost with it
        from facectl_runtime.bench.plot import write_plot

        write_plot(plot, found)
    return ImageError.exit_code if found.unreadable else 0


def _batches(text: str) -> list[int]:
    """Read `1,2,4` as sorted numbers. Raises `UsageError`."""
    words = text.split(",")
    if not all(re.fullmatch(r"[0-9]{1,4}", word) and 1 <= int(word) <= _MOST_BATCH for word in words):
        raise UsageError(f"--batch {text!r}: give numbers of 1 to {_MOST_BATCH} with commas between, such as 1,4,16")
    return sorted({int(word) for word in words})
