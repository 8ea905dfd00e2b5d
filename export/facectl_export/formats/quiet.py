"""Silence for the converters: what matters of their work is measured by the gate."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO

from facectl_runtime.quiet import silent_stderr


@contextmanager
def quiet() -> Iterator[None]:
    """Keep remarks off the terminal, be they logged, warned of, or printed by Python or C++."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), silent_stderr():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
