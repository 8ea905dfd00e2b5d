"""What every download of photographs shares: a session that says who asks."""

from typing import TYPE_CHECKING

from facectl_runtime import __version__
from facectl_runtime.errors import MissingExtraError

if TYPE_CHECKING:
    import requests

AGENT = f"facectl/{__version__}"
REDIRECTS = 5
"""Most of them in a row."""


def open_session() -> "requests.Session":
    """Give a session to ask with. Raises `MissingExtraError` where requests is not installed."""
    try:
        import requests
    except ImportError as error:
        raise MissingExtraError(f"downloads need requests ({error}): pip install 'facectl[train]'") from error
    session = requests.Session()
    session.headers["User-Agent"] = AGENT
    session.max_redirects = REDIRECTS
    return session
