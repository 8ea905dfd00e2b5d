"""`facectl data search`."""

from collections import Counter
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from facectl_runtime.cli.options import JsonOption, QuietOption
from facectl_runtime.errors import ImageError, one_line
from facectl_trainer.data.openverse import API, CATEGORIES, PATIENCE

if TYPE_CHECKING:
    from facectl_trainer.data.openverse import Question
    from facectl_trainer.data.search import Outcome


def search(
    words: Annotated[str, typer.Argument(metavar="KEYWORDS", help="What the photographs should show.")],
    to: Annotated[Path, typer.Option(help="The folder to put them into, which may be one of the same search.")],
    count: Annotated[int, typer.Option(min=1, help="Photographs to have in it at the end.")] = 100,
    license_: Annotated[
        str | None, typer.Option("--license", help="Only these, with commas, such as cc0,pdm,by.", show_default="all")
    ] = None,
    category: Annotated[
        str, typer.Option(metavar="|".join((*CATEGORIES, "any")), help="Kind of picture.")
    ] = CATEGORIES[0],
    patience: Annotated[float, typer.Option(min=0, help="Seconds to wait for Openverse at a time.")] = PATIENCE,
    api: Annotated[str, typer.Option(help="Where Openverse is.")] = API,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> int:
    """Collect openly licensed photographs by keyword, from Openverse.

    sources.csv beside them says of each whom to name and under which licence. Run again with the same words, it goes on
    where it stopped: a photograph that you removed does not come again. The exit code is 3 where fewer came.
    """
    from facectl_trainer.data.search import ask_for
    from facectl_trainer.data.search import search as fill

    question = ask_for(words, license_, category)
    done = fill(question, to.expanduser(), count, api=api, patience=patience, quiet=quiet)
    if json:
        _print_json(question, to, count, done)
    elif done.rows:
        _print(question, to, done)
    if len(done.rows) >= count:
        return 0
    typer.echo(one_line(f"facectl: {_shortage(question, count, done)}"), err=True)
    return ImageError.exit_code


def _print(question: "Question", to: Path, done: "Outcome") -> None:
    licences = ", ".join(f"{name} {number}" for name, number in _licences(done).most_common())
    typer.echo(one_line(f"{to}: {len(done.rows)} photographs of {question.words!r}, {done.new} of them new"))
    typer.echo(one_line(f"licences: {licences}; sources.csv says whom to name"))
    if done.left_out:
        typer.echo(one_line(f"left out: {_reasons(done)}"))
    beside = to.parent
    typer.echo(
        one_line(
            f"next: another keyword beside it: facectl data search KEYWORD --to {quote(str(beside / 'KEYWORD'))}; "
            f"then facectl data check {quote(str(beside))}"
        )
    )


def _print_json(question: "Question", to: Path, count: int, done: "Outcome") -> None:
    import msgspec

    about = {
        "to": str(to),
        "query": question.words,
        "licences": question.licences,
        "category": question.category,
        "asked": count,
        "photographs": len(done.rows),
        "new": done.new,
        "by_licence": _licences(done),
        "left_out": done.left_out,
        "postponed": done.postponed,
        "ended": done.ended,
    }
    typer.echo(msgspec.json.format(msgspec.json.encode(about)).decode())


def _shortage(question: "Question", count: int, done: "Outcome") -> str:
    """Say why there are fewer than were asked for, and what to do."""
    why = [f"{len(done.rows)} of {count} photographs of {question.words!r}"]
    if done.left_out:
        why.append(f"left out: {_reasons(done)}")
    if done.postponed:
        why.append(f"{done.postponed} could not be downloaded now: run it again to try them again")
    if done.ended:
        why.append(f"{done.ended}: search for other words, into another folder")
    return "; ".join(why)


def _licences(done: "Outcome") -> Counter[str]:
    return Counter(row["license"] for row in done.rows)


def _reasons(done: "Outcome") -> str:
    return ", ".join(f"{number} {why}" for why, number in done.left_out.most_common())
