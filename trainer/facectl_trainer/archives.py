"""What tarfile and zipfile raise of an archive that cannot be read, in one line."""

import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from gzip import BadGzipFile
from lzma import LZMAError

from facectl_runtime.errors import FacectlError, reason


@contextmanager
def readable(name: str, error_class: type[FacectlError]) -> Iterator[None]:
    """Raise `error_class` where what is read inside turns out to be damaged, encrypted or packed in another way."""
    try:
        yield
    except FacectlError:
        raise
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, LZMAError, BadGzipFile, EOFError) as error:
        raise error_class(f"{name} is damaged ({reason(error)})") from error
    except (NotImplementedError, RuntimeError, ValueError) as error:  # the first is zipfile's of other compressions
        raise error_class(f"{name} cannot be read ({reason(error)})") from error
