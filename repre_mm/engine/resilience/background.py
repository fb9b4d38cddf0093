"""Run tasks in a background thread, one after another; the process waits for the last before it ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future

_latest: threading.Thread | None = None


def run_in_background(work: Callable[[], object]) -> Future:
    """Run a task in a thread, after all earlier ones.

    Python waits for such threads when it ends, whatever ends it short of a kill.

    Args:
        work: Must not touch what the training changes.

    Returns:
        A future with its result or error.
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
    """Wait until all tasks given so far have finished, successfully or not."""
    if _latest is not None:
        _latest.join()
