"""`facectl data check`."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facectl_runtime.cli.options import JsonOption, QuietOption
from facectl_runtime.errors import UsageError

if TYPE_CHECKING:
    from facectl_trainer.data.check.clean import Cleaned
    from facectl_trainer.data.check.report import Report


def check(
    data: Annotated[
        Path | None,
        typer.Argument(metavar="DIR", help="Photographs in a folder a class, in train, val and test, or in none."),
    ] = None,
    labels: Annotated[
        str | None, typer.Option(metavar="CSV", help="A table of file names and classes, inside the data folder.")
    ] = None,
    split: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A split file, as of `facectl data split` or of a run.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="PAGE", help="Write a page with the photographs side by side.")
    ] = None,
    fix: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write a cleaned copy; the photographs here stay as they are.")
    ] = None,
    ignore: Annotated[
        str | None, typer.Option(metavar="KIND,…", help="Kinds of findings that do not matter, such as mode,rotated.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count as problems.")] = False,
    min_side: Annotated[int, typer.Option(min=1, help="Fewer pixels on the shorter side are tiny.")] = 64,
    force: Annotated[bool, typer.Option("--force", help="Replace the page that is there.")] = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> int:
    """Say what is wrong with photographs before anything is trained on them: exit code 0, or 1 where something is.

    Damaged files, copies and near copies (within a class, under two labels, in two parts of a split), tiny, blurred and
    turned photographs, odd pixels, classes of unequal size. Reads only, but for --html and --fix.
    """
    from json import dumps

    import msgspec

    from facectl_runtime.progress import progress
    from facectl_runtime.sources import display_name
    from facectl_trainer.data.check import clean, report
    from facectl_trainer.data.check.findings import Limits
    from facectl_trainer.data.check.listing import list_data
    from facectl_trainer.reports.output import check_out

    ignored = report.parse_ignored(ignore)
    listed = list_data(data, labels, split)
    shown = partial(progress, quiet=quiet)
    if html:
        check_out(html, force, "--html")
    if html and fix and html.resolve() == fix.resolve():
        raise UsageError(f"{html}: is given for both --html and --fix; give each a place of its own")
    if fix:
        clean.check_target(listed, fix)
    found = report.check(listed, Limits(min_side), ignored, shown)
    written = clean.write(listed, found, fix, shown) if fix else None
    if html:
        from facectl_trainer.data.check.page import write_page

        write_page(found, html)
    if json:
        plain = {**msgspec.to_builtins(found), "fixed": msgspec.to_builtins(written)}
        typer.echo(display_name(dumps(plain, ensure_ascii=False)))  # a path need not be text
    else:
        typer.echo("\n".join(filter(None, [report.text(found), _next(found, html, fix, written)])))
    return report.exit_code(found, strict)


def _next(found: "Report", html: Path | None, fix: Path | None, written: "Cleaned | None") -> str:
    """Say what was written, and what to do next."""
    lines = [f"{html} is ready; open it"] if html else []
    if written:
        lines.append(
            f"{fix} is ready: {written.written:,} photographs, {len(written.left_out):,} left out, "
            f"{len(written.saved_anew):,} saved anew; next: facectl data split {fix}"
        )
    elif found.findings and not html:
        lines.append(f"to see them: facectl data check {found.root} --html check.html; a cleaned copy: --fix DIR")
    elif not found.findings:
        lines.append(f"next: facectl data split {found.root} --to split.json")
    return "\n".join(lines)
