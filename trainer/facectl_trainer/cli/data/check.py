"""`facectl data check`."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from facectl_runtime.cli.options import JsonOption, QuietOption
from facectl_runtime.errors import UsageError

if TYPE_CHECKING:
    from facectl_trainer.data.check.clean import Cleaned
    from facectl_trainer.data.check.listing import Listed
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
    if html:
        from facectl_trainer.data.check.page import write_page

        write_page(found, html)
    written = clean.write(listed, found, fix, shown) if fix else None
    if json:
        plain = {**msgspec.to_builtins(found), "fixed": msgspec.to_builtins(written)}
        typer.echo(display_name(dumps(plain, ensure_ascii=False)))  # a path need not be text
    else:
        asked = {"--labels": labels, "--split": split, "--ignore": ignore}
        again = _command("facectl data check", data, asked)
        train = {"--data": written.to} if written else {"--split": split} if split else {"--data": data}
        lines = _next(listed, found, html, written, again, _command("facectl train zoo", None, train))
        typer.echo("\n".join([report.text(found), *lines]))
    return report.exit_code(found, strict)


def _next(
    listed: "Listed", found: "Report", html: Path | None, written: "Cleaned | None", again: str, train: str
) -> Iterator[str]:
    """Say what was written, and what to do next."""
    if html:
        yield f"{html} is ready; open it"
    if written:
        anew = f", {len(written.saved_anew):,} saved anew" if written.saved_anew else ""
        yield f"{written.to} is ready: {written.written:,} photographs, {len(written.left_out):,} left out{anew}"
    elif found.findings:
        see = [] if html else [f"to see them: {again} --html check.html"]
        mend = [f"a cleaned copy: {again} --fix DIR"] if found.count("problem") else []
        yield from filter(None, ["; ".join([*see, *mend])])
    if (found.count("problem") and not written) or len(found.classes) < 2:
        return
    if listed.is_split:
        yield f"next: {train}"
    else:
        yield f"next: {_command('facectl data split', written.to if written else listed.root)} --to split.json --near"


def _command(start: str, place: Path | str | None, options: Mapping[str, object] | None = None) -> str:
    words = [word for name, value in (options or {}).items() if value for word in (name, str(value))]
    return " ".join([start, *(quote(str(word)) for word in (*([place] if place else []), *words))])
