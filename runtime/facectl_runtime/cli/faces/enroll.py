"""`facectl faces enroll`."""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facectl_runtime.cli.faces.options import DetectOption, FaceModelOption, GalleryArgument
from facectl_runtime.cli.options import DeviceOption, JsonOption, QuietOption, ThreadsOption
from facectl_runtime.errors import ImageError, UsageError, counted, one_line

if TYPE_CHECKING:
    from facectl_runtime.faces.enroll import Enrolled, Named


def enroll(
    gallery: GalleryArgument,
    words: Annotated[
        list[str],
        typer.Argument(metavar="NAME IMAGE... | FOLDER", help="Whom, and photographs; or a folder with a folder each."),
    ],
    model: FaceModelOption,
    detect: DetectOption = True,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> int:
    """Enrol a person from photographs, or everyone in a folder of folders.

    The gallery is made where there is none. Names stay with what the network makes of the faces; no photograph is kept.
    A photograph without a face is said and left out, and the exit code is then 3.
    """
    from facectl_runtime.devices import parse_device
    from facectl_runtime.faces.detect import shared_detector
    from facectl_runtime.faces.embedder import open_embedder, read_spec
    from facectl_runtime.faces.enroll import enroll_photographs
    from facectl_runtime.faces.gallery import Gallery

    asked, spec = parse_device(device, threads), read_spec(model)
    photographs = _photographs(words)
    if detect:
        shared_detector()
    if _has_content(gallery):  # of another model it is refused now, and not once this one is open
        with Gallery.open(gallery, spec.embedding_id, spec.output.size):
            pass
    embedder = open_embedder(model, asked)
    with Gallery.open(gallery, spec.embedding_id, spec.output.size, write=True) as opened:
        found = enroll_photographs(photographs, embedder, opened, asked.cores, detect=detect)
        rows = _told(found, gallery, json=json, quiet=quiet)
        people = opened.people()
    if not quiet:
        after = f"identify {gallery} IMAGE --model {model}" if spec.threshold else f"calibrate {model} --data PHOTOS"
        typer.echo(one_line(_summary(gallery, rows, len(people), after)), err=True)
    return ImageError.exit_code if any(row.error is not None for row in rows) else 0


def _has_content(gallery: Path) -> bool:
    """Tell whether something is in a file; there is nothing in what a process began to make and was killed over."""
    return gallery.is_file() and gallery.stat().st_size > 0


def _told(found: "Iterator[Enrolled]", gallery: Path, *, json: bool, quiet: bool) -> "list[Enrolled]":
    """Say what becomes of each photograph; whatever ends it, what is enrolled by then is said."""
    from facectl_runtime.progress import progress

    rows: list[Enrolled] = []
    try:
        with progress("enrolled", None, quiet=quiet or not json) as advance:
            for row in found:
                rows.append(row)
                _show(row, json=json, quiet=quiet)
                advance(1)
    except KeyboardInterrupt:
        typer.echo(one_line(f"stopped: {_added(rows)}, and kept in {gallery}; run it again for the others"), err=True)
        raise
    finally:
        if json:
            typer.echo(_document(gallery, rows))
    return rows


def _photographs(words: Sequence[str]) -> "Iterator[Named]":
    """Give (name, source) of what the words name. Raises `UsageError`."""
    from facectl_runtime.faces.gallery import checked_name
    from facectl_runtime.labelled import PARTS, beside_folders, class_folders, presplit
    from facectl_runtime.sources import IMAGE_SUFFIXES, Source, display_name, expand

    name, *sources = words
    if sources:
        if Path(name).suffix.lower() in IMAGE_SUFFIXES:
            raise UsageError(f"{name[:100]}: a photograph, and not a name; give the name first: NAME {name[:100]} ...")
        checked = checked_name(name)
        if _is_no_name(name, sources):
            raise UsageError(
                f"{name}: a folder, and not a name; give the one folder that has a folder a person, or the name first: "
                f"NAME {name} ..."
            )
        if film := next((word for word in sources if _is_video(word)), None):
            raise UsageError(f"{film}: a video; people are enrolled from photographs, such as frames of it")
        return ((checked, source) for source in expand(sources))
    folder = Path(name)
    if not folder.exists() and len(folder.parts) > 1:
        raise UsageError(f"{name[:100]}: no such folder; give one that has a folder a person, or NAME IMAGE...")
    if not folder.is_dir():
        raise UsageError(f"photographs of {name[:100]!r}? give NAME IMAGE..., or one folder that has a folder a person")
    if not any(entry.is_dir() and not entry.name.startswith(".") for entry in folder.iterdir()):
        raise UsageError(
            f"{folder}: it has no folder a person; to enrol one person, give the name first: NAME {folder}"
        )
    if presplit(folder):
        raise UsageError(f"{folder}: its folders are {', '.join(PARTS)}, and not people; give one of them")
    people = [(checked_name(image.label), folder / image.path) for image in class_folders(folder)]
    if strays := beside_folders(folder):
        said = f"{folder}: {counted(len(strays), 'image')} beside the folders of people, not enrolled: whose are they?"
        typer.echo(one_line(f"facectl: {said}"), err=True)
    return ((label, Source(display_name(path), path)) for label, path in people)


def _is_no_name(word: str, sources: Sequence[str]) -> bool:
    """Tell whether a shell has put folders where a name should be: `people/*`, or `*`; `Anna Anna` is her own."""
    if not Path(word).is_dir():
        return False
    others = [Path(source) for source in sources]
    return Path(word).name != word or (all(map(Path.is_dir, others)) and Path(word) not in others)


def _is_video(word: str) -> bool:
    from facectl_runtime.sources import VIDEO_SUFFIXES

    return Path(word).suffix.lower() in VIDEO_SUFFIXES and not Path(word).is_dir()


def _show(row: "Enrolled", *, json: bool, quiet: bool) -> None:
    """Write a line of a photograph as it is dealt with; where a document is asked for, what speaks against it."""
    if json:
        for warning in () if quiet else row.warnings:
            print(one_line(f"facectl: {row.source}: {warning}"), file=sys.stderr)
    elif not quiet or row.outcome == "error":
        said = "; ".join((row.outcome, *row.warnings)) if row.error is None else f"error: {row.error}"
        try:
            print(one_line(f"{row.name}  {row.source}  {said}"), flush=True)
        except BrokenPipeError:  # who reads has had enough, and the photographs are enrolled all the same
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _added(rows: "list[Enrolled]") -> str:
    replaced = sum(row.outcome == "replaced" for row in rows)
    also = f", {replaced:,} replaced" if replaced else ""
    return f"{counted(sum(row.outcome == 'added' for row in rows), 'photograph')} added{also}"


def _summary(gallery: Path, rows: "list[Enrolled]", people: int, after: str) -> str:
    hint = f"; next: facectl faces {after}" if people else ""
    return f"{_added(rows)}; {gallery} has {counted(people, 'person', 'people')} now{hint}"


def _document(gallery: Path, rows: "list[Enrolled]") -> str:
    import msgspec

    from facectl_runtime.sources import display_name

    document: dict[str, Any] = {"gallery": display_name(gallery), "results": rows}
    return msgspec.json.encode(document).decode()
