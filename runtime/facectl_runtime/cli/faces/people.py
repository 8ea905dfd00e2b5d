"""`facectl faces list` and `facectl faces remove`."""

from typing import Annotated

import typer

from facectl_runtime.cli.faces.options import GalleryArgument
from facectl_runtime.cli.options import JsonOption
from facectl_runtime.errors import counted, one_line


def list_(gallery: GalleryArgument, json: JsonOption = False) -> int:
    """Show who is enrolled, with how many photographs, and whose network the gallery belongs to."""
    import msgspec

    from facectl_runtime.faces.gallery import Gallery
    from facectl_runtime.output import columns
    from facectl_runtime.sources import display_name

    with Gallery.open(gallery) as opened:
        people, embedding_id = opened.people(), opened.embedding_id
    if json:
        rows = [
            {"name": one.name, "photographs": one.photographs, "first_enrolled": one.first_enrolled} for one in people
        ]
        document = {"gallery": display_name(gallery), "embedding_id": embedding_id, "people": rows}
        typer.echo(msgspec.json.encode(document).decode())
        return 0
    if people:
        table = [(one.name, str(one.photographs), one.first_enrolled) for one in people]
        typer.echo(columns([("name", "photographs", "first enrolled"), *table], right=(1,)))
    typer.echo(one_line(f"{counted(len(people), 'person', 'people')}; embeddings of {embedding_id}"), err=True)
    return 0


def remove(
    gallery: GalleryArgument,
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Whom to remove.")],
) -> int:
    """Remove people; nothing about them can be read in the file afterwards."""
    from facectl_runtime.faces.gallery import Gallery

    with Gallery.open(gallery, write=True) as opened:
        opened.check_names(names)  # all of them or none
        for name in dict.fromkeys(names):
            removed = opened.remove(name)
            typer.echo(one_line(f"{name} is removed, with {counted(removed, 'photograph')}"))
    return 0
