"""End a command with one line where the user's input is at fault."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from repre_mm.datasets import ImageReadError
from repre_mm.utils.errors import plain_message


@contextmanager
def one_line_errors() -> Iterator[None]:
    """End the process with one line, not a traceback, when what is set up inside is wrong."""
    try:
        yield
    except (ValueError, KeyError, FileNotFoundError, ImageReadError) as error:
        sys.exit(f'error: {plain_message(error)}')
    except RuntimeError as error:
        # torch makes one of every error of a loading process whose class takes more than a message.
        if not str(error).startswith(f'Caught {ImageReadError.__name__} '):
            raise
        sys.exit(f'error: {plain_message(error)}')
