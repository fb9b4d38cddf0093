"""Work beside the training: one piece after another, and no process ends before the last is done."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future

_latest: threading.Thread | None = None


def run_in_background(work: Callable[[], object]) -> Future:
    """Do a piece of work in a thread, after those that were given before.

    Python waits for such threads when it ends, whatever ends it short of a kill.

    Args:
        work: Must not touch what the training changes.

    Returns:
        What tells whether it is done, and its result or error.
    """
    global _latest
    before, future = _latest, Future()

    def run() -> None:
        if before is not None:
            before.join()
        try:
            future.set_result(work())
        except BaseException as error:  # it belongs to whoever asks for the result
            future.set_exception(error)

    _latest = threading.Thread(target=run, name='repre_mm background')
    _latest.start()
    return future


def wait_for_background() -> None:
    """Come back once all work given so far is done, well or not."""
    if _latest is not None:
        _latest.join()
