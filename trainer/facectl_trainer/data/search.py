"""Photographs by keyword: found in Openverse, downloaded, checked, and written with where they are from."""

import hashlib
import re
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin

import numpy as np

from facectl_runtime.errors import FacectlError, ImageError, UsageError, did_you_mean
from facectl_runtime.image import decode
from facectl_runtime.progress import progress
from facectl_runtime.sources import images_below
from facectl_trainer.data.check.near import nearest
from facectl_trainer.data.check.perceptual import thumbnail
from facectl_trainer.data.check.scan import close_up, look_closer, scan
from facectl_trainer.data.openverse import (
    API,
    CATEGORIES,
    DEEPEST,
    LICENCES,
    PAGE,
    PATIENCE,
    LimitError,
    Openverse,
    Photo,
    Question,
    WaitError,
    in_words,
)
from facectl_trainer.data.search_folder import Row, SearchFolder, open_search
from facectl_trainer.data.web import TooLongError, is_local, is_web_address, open_session, receive
from facectl_trainer.transfer import TIMEOUT, BrokenError, DownloadError, broken, host

if TYPE_CHECKING:
    import requests
    from PIL.Image import Image

MAX_BYTES = 32 << 20
"""Of a photograph's file."""
STRIKES = 3
"""Failures in a row after which a server is left alone for the rest of a run."""
_LONGEST_QUERY = 200  # characters that Openverse takes
_SUFFIXES = {
    b"\xff\xd8\xff": ".jpg",
    b"\x89PNG": ".png",
    b"GIF8": ".gif",
    b"RIFF": ".webp",
    b"BM": ".bmp",
    b"II": ".tif",
    b"MM": ".tif",
    b"P": ".ppm",
}


@dataclass(frozen=True)
class Outcome:
    """What a search has come to."""

    rows: list[Row]
    """Of the table of sources."""
    new: int
    """Photographs that this run added."""
    left_out: Counter[str]
    """How many for which reason, in all runs."""
    postponed: int
    """Photographs that could not be downloaded now; the next run tries them again."""
    ended: str | None
    """Why there are no further results, where there are none."""


class _RefusedError(FacectlError):
    """A photograph is left out, for good; up to a colon, the reason is one of a few."""


def ask_for(words: str, licences: str | None = None, category: str = CATEGORIES[0]) -> Question:
    """Make a question of keywords, of licences with commas between them, and of a category or `any`.

    Raises `UsageError` where Openverse does not know one.
    """
    words = " ".join(words.split())
    if not words or len(words) > _LONGEST_QUERY or not words.isprintable():
        raise UsageError(f"a search takes 1 to {_LONGEST_QUERY} characters of text; these are {len(words)}: {words!r}")
    asked = sorted({licence.strip().lower() for licence in (licences or "").split(",")} - {""})
    for licence in asked:
        _check_known("--license", licence, LICENCES)
    _check_known("--category", category, (*CATEGORIES, "any"))
    return Question(words, tuple(asked), None if category == "any" else category)


def search(
    question: Question,
    to: Path,
    count: int,
    *,
    api: str = API,
    patience: float = PATIENCE,
    quiet: bool = False,
) -> Outcome:
    """Fill the folder `to` up to `count` photographs, going on where an earlier search for the same stopped.

    What is there already is left out, as the same file or as nearly the same picture. What has come stays whatever
    happens. May wait `patience` seconds for Openverse at a time.

    Raises:
        UsageError: `to` holds something else, or another process is at it; `api` is no address.
        DownloadError: Openverse does not answer, or asks for more patience.
        FacectlError: `to` cannot be written.
        MissingExtraError: requests is not installed.
    """
    if not is_web_address(api):
        raise UsageError(f"--api {api!r} is no address of the web; give one such as {API}")
    with open_session() as session, open_search(to, question) as folder:
        index, photographs = Openverse(session, api, patience, quiet), _Photographs(session, local=is_local(api))
        before, pictures = len(folder.rows), _Pictures(to)
        with progress("photographs", count, quiet) as advance:
            advance(min(before, count))
            try:
                while len(folder.rows) < count:
                    if photo := folder.next():
                        advance(_look_at(photo, question, folder, photographs, pictures))
                    elif folder.ended:
                        break
                    else:
                        _turn(folder, index, question)
            except DownloadError as error:
                raise _told(error, folder, count) from error
        left_out = Counter(why.partition(":")[0] for why in folder.refused)
        return Outcome(folder.rows, len(folder.rows) - before, left_out, folder.postponed, folder.ended)


class _Photographs:
    """Files from anywhere on the web; a server that fails again and again, or is busy, is left alone.

    Addresses of this machine and of its own network are refused, but where the index is there too (`local`).
    """

    def __init__(self, session: "requests.Session", local: bool) -> None:
        self._session, self._local = session, local
        self._strikes: Counter[str] = Counter()

    def get(self, url: str) -> bytes:
        """Give a file's bytes. Raises `_RefusedError` where it is no use to try again, and else `BrokenError`."""
        if not is_web_address(url):
            raise _RefusedError("no web address")
        self._check_place(url)
        name = host(url)
        if self._strikes[name] >= STRIKES:
            raise BrokenError(f"{name}: is left alone, for it failed {STRIKES} times")
        try:
            content = self._ask(url, name)
        except BrokenError:
            self._strikes[name] += 1
            raise
        self._strikes[name] = 0
        return content

    def _ask(self, url: str, name: str) -> bytes:
        import requests

        try:
            with self._session.get(
                url,
                stream=True,
                timeout=TIMEOUT,
                headers={"Accept-Encoding": "identity"},
                hooks={"response": self._check_redirect},
            ) as answer:
                self._judge(answer, name)
                return receive(answer, MAX_BYTES)
        except (requests.TooManyRedirects, ValueError) as error:  # such as an address with a scheme of its own
            raise _RefusedError("redirected too often, or to no web address") from error
        except requests.RequestException as error:
            raise broken(name, error) from error
        except TooLongError as error:
            raise _RefusedError(f"more than {MAX_BYTES} bytes") from error

    def _check_redirect(self, answer: "requests.Response", **_: object) -> None:
        """Look at where an answer leads before that is asked."""
        if target := self._session.get_redirect_target(answer):
            self._check_place(urljoin(answer.url, target))

    def _check_place(self, url: str) -> None:
        if not self._local and is_local(url):
            raise _RefusedError("an address of this machine or its own network")

    def _judge(self, answer: "requests.Response", name: str) -> None:
        status = answer.status_code
        if status == 429:
            self._strikes[name] = STRIKES
        if status >= 500 or status in (408, 429):
            raise BrokenError(f"{name}: answers {status}")
        if status != 200:
            raise _RefusedError(f"answered {status}")


class _Pictures:
    """What is shown by the photographs that are in the folder."""

    def __init__(self, folder: Path) -> None:
        paths = images_below(folder, lambda _: None)
        known = [str(path.relative_to(folder)) for path in paths]
        scanned = scan(folder, known, partial(progress, quiet=True))
        self._names = [Path(name).stem for name in scanned.looks]
        self._small = scanned.thumbnails
        self._close = [look_closer(folder / name) for name in scanned.looks]

    def has(self, photo: Photo, picture: "Image") -> bool:
        """Say whether another photograph shows nearly the same as this picture (RGB, upright); if not, add it."""
        grey = picture.convert("L")
        small, close = thumbnail(grey), close_up(grey)
        others = np.flatnonzero([name != photo.id for name in self._names])  # itself: of a process that was killed
        if nearest(small, close, self._small[others], lambda number: self._close[others[number]]) is not None:
            return True
        self._names.append(photo.id)
        self._small = np.concatenate([self._small, small[None]])
        self._close.append(close)
        return False


def _look_at(
    photo: Photo, question: Question, folder: SearchFolder, photographs: _Photographs, pictures: _Pictures
) -> int:
    """Keep a photograph, refuse it, or leave it for the next time; gives how many were kept."""
    try:
        _check_terms(photo, question)
        content = photographs.get(photo.url or "")
        sha256 = hashlib.sha256(content).hexdigest()
        if folder.has(photo, sha256):
            raise _RefusedError("here already")
        if pictures.has(photo, _picture(content)):
            raise _RefusedError("nearly the same is here already")
    except _RefusedError as error:
        folder.refuse(photo, str(error))
        return 0
    except BrokenError:
        folder.postpone(photo)
        return 0
    folder.keep(photo, content, _suffix(content), sha256)
    return 1


def _check_terms(photo: Photo, question: Question) -> None:
    if photo.mature:
        raise _RefusedError("marked as mature")
    if not photo.license:
        raise _RefusedError("no licence")
    if question.licences and photo.license not in question.licences:
        raise _RefusedError(f"another licence: {photo.license}")


def _picture(content: bytes) -> "Image":
    try:
        return decode(content)
    except ImageError as error:
        raise _RefusedError(f"no readable picture: {error}") from error
    except MemoryError as error:
        raise _RefusedError("too large for the memory of this machine") from error


def _suffix(content: bytes) -> str:
    """Give the suffix of a picture that could be read, by how it begins."""
    if content[4:8] == b"ftyp":
        return ".avif" if re.search(rb"avi[fs]", content[8 : min(int.from_bytes(content[:4]), 256)]) else ".heic"
    return next(suffix for start, suffix in _SUFFIXES.items() if content.startswith(start))


def _turn(folder: SearchFolder, index: Openverse, question: Question) -> None:
    """Ask for the next page, and note where it is the last."""
    number = folder.page
    try:
        page = index.page(question, number)
    except LimitError as error:
        if number == 1:
            raise
        folder.end(f"without a key, no further results are given; {error}")
        return
    folder.take(page)
    if not page.results or 0 < (page.page_count or 0) <= number:
        folder.end("there are no further results")
    elif (number + 1) * PAGE > DEEPEST:
        folder.end(f"without a key, {DEEPEST} results are given at most")


def _told(error: DownloadError, folder: SearchFolder, count: int) -> DownloadError:
    """Add what has come, and what to do."""
    have = f"{len(folder.rows)} of {count} photographs are in {folder.path}" if not folder.is_bare else ""
    again = ""
    if isinstance(error, WaitError):
        again = f"run it again in {in_words(error.seconds)}, or give more --patience (seconds)"
    elif isinstance(error, BrokenError):
        again = "run it again to go on" if have else "run it again"
    return DownloadError("; ".join(part for part in (str(error), have, again) if part))


def _check_known(option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError(f"{option} {value!r} is not known{did_you_mean(value, known)}; use {', '.join(known)}")
