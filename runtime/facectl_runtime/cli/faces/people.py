"""`facectl faces list` and `facectl faces remove`."""

from typing import Annotated, Any

import typer

from facectl_runtime.cli.faces.options import GalleryArgument
from facectl_runtime.cli.options import JsonOption
from facectl_runtime.errors import UsageError, counted, one_line


def list_(
    gallery: GalleryArgument,
    photographs: Annotated[
        bool, typer.Option("--photographs", help="Show each photograph, by the name it was enrolled under.")
    ] = False,
    json: JsonOption = False,
) -> int:
    """Show who is enrolled, with how many photographs, and whose network the gallery belongs to."""
    import msgspec

    from facectl_runtime.faces.gallery import Gallery
    from facectl_runtime.output import columns
    from facectl_runtime.sources import display_name

    with Gallery.open(gallery) as opened:
        people, embedding_id = opened.people(), opened.embedding_id
        shown: list[Any] = [*opened.photographs()] if photographs else [*people]
    if json:
        document: dict[str, Any] = {"gallery": display_name(gallery), "embedding_id": embedding_id}
        document["photographs" if photographs else "people"] = shown
        typer.echo(msgspec.json.encode(document).decode())
        return 0
    if photographs and shown:
        rows = [(one.name, one_line(one.source), one.enrolled, one.content[:12]) for one in shown]
        typer.echo(columns([("name", "photograph", "enrolled", "content"), *rows]))
    elif shown:
        table = [(one_line(one.name), str(one.photographs), one.first_enrolled) for one in shown]
        typer.echo(columns([("name", "photographs", "first enrolled"), *table], right=(1,)))
    typer.echo(one_line(f"{counted(len(people), 'person', 'people')}; embeddings of {embedding_id}"), err=True)
    return 0


def remove(
    gallery: GalleryArgument,
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Whom to remove.")],
    photograph: Annotated[
        list[str] | None,
        typer.Option(
            metavar="IMAGE",
            help="Only this photograph of the one named, by its name or content; `list --photographs` shows them.",
        ),
    ] = None,
) -> int:
    """Remove people, or photographs of one; nothing about them can be read in the file afterwards."""
    from facectl_runtime.faces.gallery import Gallery

    if photograph and len(names) > 1:
        raise UsageError(f"--photograph is of one person, and {len(names)} are named; give one name")
    with Gallery.open(gallery, write=True) as opened:
        for name in opened.known_names(names):  # all of them or none
            photographs = counted(opened.remove(name, list(dict.fromkeys(photograph or ()))), "photograph")
            typer.echo(
                one_line(f"{photographs} of {name} removed" if photograph else f"{name} is removed, with {photographs}")
            )
    return 0
