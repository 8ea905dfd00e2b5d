"""A public set of photographs, fetched: the archive, its digest, and a folder a class, whole or not at all."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from facectl_runtime.files import remove_abandoned
from facectl_runtime.labelled import class_folders, content_hash
from facectl_runtime.progress import progress
from facectl_trainer.data.public_sets import PublicSet, Remote
from facectl_trainer.data.tree import check_new, new_folder
from facectl_trainer.data.unpack import Bounds, unpack
from facectl_trainer.data.web import open_session
from facectl_trainer.transfer import BrokenError, DownloadError, Part, host, transfer, unwritable

if TYPE_CHECKING:
    import requests

BOUNDS = Bounds()


@dataclass(frozen=True)
class Fetched:
    """A set that is on this machine now."""

    images: int
    classes: int


def fetch(wanted: PublicSet, to: Path, quiet: bool = False) -> Fetched:
    """Make the folder `to`, with a folder of images a class, out of a public set.

    What is broken off stays beside `to`, and the next call goes on from there. A second process waits for the first.

    Raises:
        UsageError: something stands at `to` already.
        DownloadError: the server does not give it, or gives something else.
        FacectlError: it cannot be written.
        MissingExtraError: requests is not installed.
    """
    check_new(to)
    to = to.resolve()
    remove_abandoned(to)
    with open_session() as session:
        try:
            texts = {text.name: _text(text, to, session) for text in wanted.texts}
            _archive(wanted, to, texts, session, quiet)
        except BrokenError as error:
            again = "run it again, which goes on where it broke off"
            raise DownloadError(f"{wanted.name} was not fetched: {error}; {again}") from error
        except DownloadError as error:
            raise DownloadError(f"{wanted.name} was not fetched: {error}; its page is {wanted.page}") from error
    images = class_folders(to)
    return Fetched(len(images), len({image.label for image in images}))


def _archive(wanted: PublicSet, to: Path, texts: Mapping[str, bytes], session: "requests.Session", quiet: bool) -> None:
    def finish(part: Path) -> None:
        _check(part, wanted.archive)
        with new_folder(to) as folder:
            with progress("unpacking", wanted.images, quiet) as advance:
                unpack(part, wanted.inner, wanted.top, folder, advance, BOUNDS)
            for name, content in texts.items():
                _write(folder / name, content)

    part = Part(_beside(to, wanted.archive), wanted.archive.url, wanted.archive.size)
    transfer(part, session, finish, lambda: to.is_dir() and any(to.iterdir()), quiet)


def _text(text: Remote, to: Path, session: "requests.Session") -> bytes:
    content = b""

    def finish(part: Path) -> None:
        nonlocal content
        _check(part, text)
        content = part.read_bytes()

    part = Part(_beside(to, text), text.url, text.size)
    transfer(part, session, finish, lambda: False, quiet=True)
    return content


def _beside(to: Path, remote: Remote) -> Path:
    return to.with_name(f"{to.name}.{remote.name}.part")


def _check(part: Path, remote: Remote) -> None:
    """Raise `DownloadError` where these are not the bytes that are pinned."""
    if content_hash(part) != remote.sha256:
        raise DownloadError(f"{host(remote.url)}: sent another {remote.name}: its SHA-256 is not {remote.sha256}")


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise unwritable(path, error) from error
