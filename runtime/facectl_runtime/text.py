"""Text that a user hands in: a list or a table."""

from pathlib import Path

from facectl_runtime.errors import UsageError

MAX_BYTES = 64 * 2**20  # of a list or a table: a million rows


def read_text(path: Path, what: str) -> str:
    """Read UTF-8 text, with or without a byte order mark, of at most `MAX_BYTES`.

    `what` says in messages what the file is to be, such as `a CSV of triplets`. Raises `UsageError`.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); give {what}") from error
    if len(content) > MAX_BYTES:
        raise UsageError(f"{path}: over {MAX_BYTES:,} bytes; give {what} alone")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: byte {error.start:,} is not UTF-8 text; save it as UTF-8") from error
    if "\0" in text:
        raise UsageError(f"{path}: not text, for it has zero bytes; save it as UTF-8")
    return text
