"""One line for an error that the user can fix; a traceback for any other."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch.distributed as dist

from repre_mm.datasets import ImageReadError
from repre_mm.utils.errors import UserError, plain_message


@contextmanager
def one_line_errors(stage: str = 'this command', traceback: bool = False) -> Iterator[None]:
    """End the process with one line where the user's input is at fault; let other errors through.

    Of several processes the first that fails speaks, and the others end in silence.

    Args:
        stage: What runs inside; named before the traceback of an error that is not a :class:`UserError`.
        traceback: Show where a :class:`UserError` comes from too, as ``REPRE_TRACEBACK=1`` does.
    """
    try:
        yield
    except Exception as error:
        if dist.is_initialized() and dist.distributed_c10d._get_default_store().add('failed', 1) > 1:
            sys.exit(1)
        if dist.is_initialized() and 'by peer' in str(error):  # gloo's words
            sys.exit('error: another process of the group has ended; torchrun says which, and by what signal')
        if not _is_users(error):
            print(f'error: {stage} failed, with an error that has no short message:', file=sys.stderr)
            raise
        if traceback or os.environ.get('REPRE_TRACEBACK') == '1':
            raise
        sys.exit(f'error: {plain_message(error)}')


def _is_users(error: Exception) -> bool:
    # torch makes a RuntimeError of an error in a loading process whose class takes more than a message.
    return isinstance(error, UserError) or (
        isinstance(error, RuntimeError) and str(error).startswith(f'Caught {ImageReadError.__name__} ')
    )
