"""`facectl faces`."""

import typer

from facectl_runtime.cli.faces.calibrate import calibrate
from facectl_runtime.cli.faces.compare import compare
from facectl_runtime.cli.faces.enroll import enroll
from facectl_runtime.cli.faces.identify import identify
from facectl_runtime.cli.faces.people import list_, remove

faces = typer.Typer(
    help="Faces: enrol people, find out who is who, and how often that goes wrong.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
faces.command("enroll")(enroll)
faces.command("identify")(identify)
faces.command("compare")(compare)
faces.command("list")(list_)
faces.command("remove")(remove)
faces.command("calibrate")(calibrate)


@faces.callback()
def about() -> None:
    """Faces: enrol people, find out who is who, and how often that goes wrong.

    The path: facectl train triplet --variant facenet --data PHOTOS; facectl export runs/triplet-facenet; facectl faces
    calibrate MODEL --data PHOTOS; facectl faces enroll family.gallery Anna anna/*.jpg --model MODEL; facectl faces
    identify family.gallery PARTY.jpg --model MODEL
    """
