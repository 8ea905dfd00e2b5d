"""Openverse, an index of openly licensed photographs: asked by keyword, without a key, and within its limits.

Source: the description at https://api.openverse.org/v1/, and "Authentication and throttling" there.
"""

import math
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from facectl_runtime.errors import one_line
from facectl_trainer.data.web import TooLongError, receive
from facectl_trainer.transfer import PAUSE, TIMEOUT, TRIES, BrokenError, DownloadError, UnreachableError, broken, host

if TYPE_CHECKING:
    import requests

API = "https://api.openverse.org"
PAGE = 20
"""Results of one answer: the most without a key."""
DEEPEST = 240
"""Results of one question: the most without a key."""
LICENCES = ("by", "by-nc", "by-nc-nd", "by-nc-sa", "by-nd", "by-sa", "cc0", "nc-sampling+", "pdm", "sampling+")
CATEGORIES = ("photograph", "illustration", "digitized_artwork")
PATIENCE = 300.0
"""Seconds that it may let a search wait at a time."""
SPACING = 1.0
"""Seconds from one request to the next, at least."""
_LARGEST = 4 << 20  # bytes of an answer
_PERIODS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}  # Django REST framework looks at the first letter alone
_AVAILABLE, _LIMIT = "x-ratelimit-available-", "x-ratelimit-limit-"


class Question(msgspec.Struct, frozen=True):
    """What is looked for."""

    words: str
    licences: tuple[str, ...] = ()
    """Sorted; none where any will do."""
    category: str | None = CATEGORIES[0]
    """None where any will do."""


class Photo(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the index says of one photograph, as far as it is used."""

    id: Annotated[str, msgspec.Meta(pattern=r"^[0-9A-Za-z-]{1,64}\Z")]
    url: str | None = None
    title: str | None = None
    creator: str | None = None
    creator_url: str | None = None
    license: str | None = None
    license_version: str | None = None
    license_url: str | None = None
    source: str | None = None
    foreign_landing_url: str | None = None
    attribution: str | None = None
    mature: bool | None = None


class Page(msgspec.Struct, frozen=True):
    """One answer."""

    results: list[Photo]
    page_count: int | None = None


class LimitError(DownloadError):
    """What is asked for is not given without a key."""


class WaitError(BrokenError):
    """The index asks for a longer pause than there is patience for."""

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds


class Openverse:
    """The index, asked at most once a second, and not before it allows."""

    def __init__(
        self, session: "requests.Session", api: str = API, patience: float = PATIENCE, quiet: bool = False
    ) -> None:
        """Ask at `api`; wait no longer than `patience` seconds at a time."""
        self._session, self._patience, self._quiet = session, patience, quiet
        self._address, self._name = f"{api.rstrip('/')}/v1/images/", host(api)
        self._free, self._why = 0.0, ""

    def page(self, question: Question, number: int) -> Page:
        """Give a page of results, counted from 1.

        Raises:
            WaitError: it must not be asked for longer than there is patience.
            LimitError: without a key, it gives no more.
            BrokenError: it cannot be reached, or fails; later it may not.
            DownloadError: it refuses the question.
        """
        for tries in range(1, TRIES):
            self._wait()
            try:
                return self._ask(question, number)
            except UnreachableError:
                raise
            except BrokenError as error:
                self._hold(PAUSE * tries, str(error))
        self._wait()
        return self._ask(question, number)

    def _wait(self) -> None:
        left = self._free - time.monotonic()
        if left > self._patience:
            raise WaitError(f"{self._name}: {self._why}", left)
        if left > SPACING and not self._quiet:
            print(f"{self._name}: {self._why}; waiting {in_words(left)}", file=sys.stderr)
        if left > 0:
            time.sleep(left)

    def _hold(self, seconds: float, why: str) -> None:
        """Ask nothing for so long; the longest counts."""
        until = time.monotonic() + seconds
        if until > self._free:
            self._free, self._why = until, why

    def _ask(self, question: Question, number: int) -> Page:
        import requests

        asked = {"q": question.words, "page_size": str(PAGE), "page": str(number), "mature": "false"}
        if question.licences:
            asked["license"] = ",".join(question.licences)
        if question.category:
            asked["category"] = question.category
        try:
            with self._session.get(self._address, params=asked, stream=True, timeout=TIMEOUT) as answer:
                content = receive(answer, _LARGEST)
        except requests.RequestException as error:
            raise broken(self._name, error) from error
        except TooLongError as error:
            raise DownloadError(str(error)) from error
        finally:
            self._free = time.monotonic() + SPACING
        self._judge(answer, content)
        try:
            return msgspec.json.decode(content, type=Page)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise BrokenError(f"{self._name}: answers something else than a page of results") from error

    def _judge(self, answer: "requests.Response", content: bytes) -> None:
        """Note how long to wait for the next request; raises where this one was not answered."""
        status = answer.status_code
        said = f"{self._name}: answers {status} {one_line(answer.reason or '')}{_detail(content)}"
        if status == 429:
            pause = _seconds(answer.headers.get("Retry-After", ""))
            self._hold(pause, "it has been asked too often")
            raise WaitError(said, pause)
        self._note_limits(answer.headers)
        if status >= 500 or status == 408:
            raise BrokenError(said)
        if status == 401:
            raise LimitError(said)
        if status != 200:
            raise DownloadError(said)

    def _note_limits(self, headers: Mapping[str, str]) -> None:
        """Wait out a period of which no request is left: until when the index does not say."""
        limits = {name.lower(): value for name, value in headers.items()}
        for name, left in limits.items():
            if name.startswith(_AVAILABLE) and left.strip() == "0":
                rate = one_line(limits.get(_LIMIT + name.removeprefix(_AVAILABLE), ""))[:20]
                period = _PERIODS.get(rate.partition("/")[2][:1], 60)
                self._hold(period, f"it allows {rate} requests, and they are used up")


def in_words(seconds: float) -> str:
    """Give a length of time in a unit that suits it, rounded up."""
    if seconds <= 120:
        return f"{math.ceil(seconds)} s"
    if seconds <= 7200:
        return f"{math.ceil(seconds / 60)} min"
    return f"{math.ceil(seconds / 3600)} h"


def _seconds(retry_after: str) -> float:
    """Read `Retry-After`; a minute where it is a date, or not there."""
    return float(retry_after) if retry_after.isascii() and retry_after.isdigit() and len(retry_after) < 9 else 60.0


def _detail(content: bytes) -> str:
    """Give what Django REST framework says of an error, in brackets."""
    try:
        found: Any = msgspec.json.decode(content, type=dict[str, Any]).get("detail", "")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""
    return f" ({one_line(str(found))[:200]})" if found else ""
